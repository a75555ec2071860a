//! Meter events, v1 (Stripe API reference: Meter Events), and the checks that every way in shares.

use rusqlite::OptionalExtension;
use serde_json::{Map, Value, json};

use super::{Answer, meters};
use crate::api::error::{Result, StripeError};
use crate::api::json::{text, text_or_empty};
use crate::api::params::Params;
use crate::call::Call;
use crate::store::meter_events::{self as store, MeterEvent};

const IDENTIFIER_CHARS_MAX: usize = 100;
const PAST_SECONDS_MAX: i64 = 35 * 86_400;
const AHEAD_SECONDS_MAX: i64 = 5 * 60;
const VALUE_DIGITS_MAX: usize = 15;

/// A meter event as a client sent it.
pub(crate) struct Incoming {
    pub(crate) event_name: String,
    pub(crate) identifier: String,
    pub(crate) payload: Map<String, Value>,
    pub(crate) timestamp: i64,
}

/// Why an event can never count, in the words of Stripe's error reports.
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    message: String,
    param: String,
}

/// What the checks found out.
#[derive(Default)]
pub(crate) struct Checked {
    meter: Option<String>,
    customer: Option<String>,
    value: i64,
    pub(crate) refusal: Option<Refusal>,
}

/// `POST /v1/billing/meter_events`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let event_name = params.required("event_name")?;
    let payload = params
        .texts_by_key("payload")?
        .ok_or_else(|| StripeError::missing("payload"))?;
    let identifier = params.text("identifier")?.filter(|text| !text.is_empty());
    let timestamp = params.moment("timestamp")?;
    params.finish()?;
    let incoming = Incoming {
        event_name,
        identifier: identifier.unwrap_or_else(|| call.random.text(36)),
        timestamp: timestamp.unwrap_or_else(|| call.now()),
        payload,
    };
    accept(call, &incoming)?;
    Ok(json!({
        "object": "billing.meter_event",
        "created": call.now(),
        "event_name": incoming.event_name,
        "identifier": incoming.identifier,
        "livemode": false,
        "payload": incoming.payload,
        "timestamp": incoming.timestamp,
    }))
}

/// Takes an event that is checked in the call, or says what is wrong with it.
pub(crate) fn accept(call: &Call<'_>, incoming: &Incoming) -> Result<()> {
    check_identifier(&incoming.identifier)?;
    let checked = check(call, incoming)?;
    if let Some(refusal) = checked.refusal {
        return Err(refusal.into_error());
    }
    if store::is_repeat(call.db, &incoming.identifier, call.now_ms)? {
        let message = format!(
            "An event already exists with identifier {}.",
            incoming.identifier
        );
        return Err(StripeError::invalid(message).should_retry(false));
    }
    insert(call, incoming, &checked)
}

/// An identifier longer than Stripe takes is refused by every way in.
pub(crate) fn check_identifier(identifier: &str) -> Result<()> {
    if identifier.chars().count() <= IDENTIFIER_CHARS_MAX {
        return Ok(());
    }
    let message =
        format!("Invalid string: {identifier}; must be at most {IDENTIFIER_CHARS_MAX} characters");
    Err(StripeError::invalid_param("identifier", message))
}

/// Stores an event with what the checks found out.
pub(crate) fn insert(call: &Call<'_>, incoming: &Incoming, checked: &Checked) -> Result<()> {
    let event = MeterEvent {
        identifier: &incoming.identifier,
        event_name: &incoming.event_name,
        meter: checked.meter.as_deref(),
        customer: checked.customer.as_deref(),
        value: checked.value,
        timestamp: incoming.timestamp,
        received_ms: call.now_ms,
        error_code: checked.refusal.as_ref().map(|refusal| refusal.code),
    };
    store::insert(call.db, &event)
}

impl Refusal {
    fn new(code: &'static str, param: &str, message: String) -> Self {
        Self {
            code,
            message,
            param: param.to_owned(),
        }
    }

    /// The refusal as the answer of a call. A customer that is not there is an ordinary
    /// missing resource in v1.
    fn into_error(self) -> StripeError {
        let code = match self.code {
            "meter_event_customer_not_found" => "resource_missing",
            code => code,
        };
        StripeError::invalid(self.message)
            .code(code)
            .param(self.param)
    }
}

/// Finds the meter, the customer and the value of an event.
pub(crate) fn check(call: &Call<'_>, incoming: &Incoming) -> Result<Checked> {
    let mut checked = Checked::default();
    checked.refusal = fill(call, incoming, &mut checked)?;
    Ok(checked)
}

fn fill(call: &Call<'_>, incoming: &Incoming, checked: &mut Checked) -> Result<Option<Refusal>> {
    let name = &incoming.event_name;
    let Some(meter) = meters::active_with(call, name)? else {
        let message = format!("No active meter found for event name '{name}'.");
        let code = if meters::is_archived(call, name)? {
            "archived_meter"
        } else {
            "no_meter"
        };
        return Ok(Some(Refusal::new(code, "event_name", message)));
    };
    checked.meter = text(&meter, "/id").map(str::to_owned);
    let customer_key = text_or_empty(&meter, "/customer_mapping/event_payload_key");
    let param = format!("payload[{customer_key}]");
    let Some(customer) = payload_text(&incoming.payload, &customer_key) else {
        let message = format!("The payload must contain the customer under '{customer_key}'.");
        let code = "meter_event_no_customer_defined";
        return Ok(Some(Refusal::new(code, &param, message)));
    };
    let Some(clock) = customer_clock(call, customer)? else {
        let message = format!("No such customer: '{customer}'");
        let code = "meter_event_customer_not_found";
        return Ok(Some(Refusal::new(code, &param, message)));
    };
    checked.customer = Some(customer.to_owned());
    match value_of(&meter, &incoming.payload) {
        Ok(value) => checked.value = value,
        Err(refusal) => return Ok(Some(refusal)),
    }
    check_timestamp(call, clock.as_deref(), incoming.timestamp)
}

fn payload_text<'a>(payload: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    payload.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// The test clock of a customer that exists: `Some(None)` where it lives in the account's time.
fn customer_clock(call: &Call<'_>, customer: &str) -> Result<Option<Option<String>>> {
    let sql = "SELECT clock FROM objects
        WHERE id = ?1 AND kind = 'customer' AND status IS NOT 'deleted'";
    let clock = call
        .db
        .prepare_cached(sql)?
        .query_row([customer], |row| row.get(0))
        .optional()?;
    Ok(clock)
}

/// A whole number, written plainly. A negative one corrects an earlier event.
fn value_of(meter: &Value, payload: &Map<String, Value>) -> std::result::Result<i64, Refusal> {
    let key = text_or_empty(meter, "/value_settings/event_payload_key");
    let param = format!("payload[{key}]");
    let counts = text(meter, "/default_aggregation/formula") == Some("count");
    let Some(value) = payload_text(payload, &key) else {
        if counts {
            return Ok(1);
        }
        let message = format!("The payload must contain a value under '{key}'.");
        return Err(Refusal::new("meter_event_invalid_value", &param, message));
    };
    let digits = value.strip_prefix('-').unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("Invalid value: {value}; the value must be a whole number.");
        return Err(Refusal::new("meter_event_invalid_value", &param, message));
    }
    if digits.len() > VALUE_DIGITS_MAX {
        let message = format!(
            "Invalid value: {value}; the value must have at most {VALUE_DIGITS_MAX} digits."
        );
        let code = "meter_event_value_too_many_digits";
        return Err(Refusal::new(code, &param, message));
    }
    // Fifteen digits always fit.
    Ok(value.parse().unwrap_or_default())
}

/// Within the past 35 days and at most 5 minutes ahead. A customer on a test clock may mean
/// either time; which of them Stripe takes there was not verified.
fn check_timestamp(
    call: &Call<'_>,
    clock: Option<&str>,
    timestamp: i64,
) -> Result<Option<Refusal>> {
    let mut refusal = window(call.now(), timestamp);
    if refusal.is_some() && clock.is_some() {
        refusal = window(call.time_on(clock)?, timestamp);
    }
    Ok(refusal)
}

fn window(now: i64, timestamp: i64) -> Option<Refusal> {
    if timestamp < now - PAST_SECONDS_MAX {
        let message = "The timestamp must be within the past 35 calendar days.".to_owned();
        return Some(Refusal::new(
            "timestamp_too_far_in_past",
            "timestamp",
            message,
        ));
    }
    if timestamp > now + AHEAD_SECONDS_MAX {
        let message = "The timestamp must not be more than 5 minutes in the future.".to_owned();
        return Some(Refusal::new("timestamp_in_future", "timestamp", message));
    }
    None
}
