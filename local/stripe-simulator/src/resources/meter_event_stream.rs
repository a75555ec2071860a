//! v2: meter event sessions, the stream, and single events (Stripe API reference: v2 Meter
//! Event Session, Meter Event Stream, Meter Events).

use rusqlite::{OptionalExtension, params};
use serde_json::{Map, Value, json};

use super::meter_events::Incoming;
use super::{Answer, meter_events};
use crate::api::error::{Result, StripeError};
use crate::api::json::text_or_empty;
use crate::calendar::{parse_rfc3339, rfc3339};
use crate::call::Call;
use crate::events;
use crate::store::meter_events as store;

const SESSION_SECONDS: i64 = 15 * 60;
const EVENTS_MAX: usize = 100;
/// How many events of one kind of error a report names.
const SAMPLES_MAX: usize = 5;

/// `POST /v2/billing/meter_event_session`.
pub(crate) fn create_session(call: &Call<'_>) -> Answer {
    let token = format!("mes_test_{}", call.random.text(64));
    let expires_at = call.now() + SESSION_SECONDS;
    call.db
        .prepare_cached("DELETE FROM meter_event_sessions WHERE expires_at < ?1")?
        .execute([call.now() - SESSION_SECONDS])?;
    call.db
        .prepare_cached("INSERT INTO meter_event_sessions (token, expires_at) VALUES (?1, ?2)")?
        .execute(params![token, expires_at])?;
    Ok(json!({
        "id": format!("mes_test_{}", call.random.text(32)),
        "object": "v2.billing.meter_event_session",
        "authentication_token": token,
        "created": rfc3339(call.now_ms),
        "expires_at": rfc3339(expires_at * 1000),
        "livemode": false,
    }))
}

/// Whether a token opens the stream; a session that never was is answered as an expired one.
pub(crate) fn check_session(call: &Call<'_>, token: &str) -> Result<()> {
    let expires_at: Option<i64> = call
        .db
        .prepare_cached("SELECT expires_at FROM meter_event_sessions WHERE token = ?1")?
        .query_row([token], |row| row.get(0))
        .optional()?;
    if expires_at.is_some_and(|expires_at| call.now() < expires_at) {
        return Ok(());
    }
    let message = "The meter event session has expired. Create a new one.";
    Err(StripeError::new(401, "temporary_session_expired", message)
        .code("billing_meter_event_session_expired")
        .not_remembered())
}

/// `POST /v2/billing/meter_event_stream`. What is wrong with an event is found later, and
/// reported by an event; only the request's own shape is checked here.
pub(crate) fn stream(call: &Call<'_>, body: &Value) -> Answer {
    refuse_unknown(body, &["events"])?;
    let Some(events) = body["events"].as_array() else {
        return Err(StripeError::missing("events"));
    };
    if events.is_empty() || events.len() > EVENTS_MAX {
        let message = format!("events must contain between 1 and {EVENTS_MAX} elements.");
        return Err(StripeError::invalid(message).not_remembered());
    }
    let mut incoming = Vec::with_capacity(events.len());
    for event in events {
        incoming.push(read(call, event)?);
    }
    for event in &incoming {
        if !store::is_repeat(call.db, &event.identifier, call.now_ms)? {
            let checked = meter_events::check(call, event)?;
            meter_events::insert(call, event, &checked)?;
        }
    }
    Ok(json!({}))
}

/// `POST /v2/billing/meter_events`.
pub(crate) fn create_event(call: &Call<'_>, body: &Value) -> Answer {
    let incoming = read(call, body)?;
    meter_events::accept(call, &incoming)?;
    Ok(json!({
        "object": "v2.billing.meter_event",
        "created": rfc3339(call.now_ms),
        "event_name": incoming.event_name,
        "identifier": incoming.identifier,
        "livemode": false,
        "payload": incoming.payload,
        "timestamp": rfc3339(incoming.timestamp * 1000),
    }))
}

/// Refuses fields that a v2 body does not have.
pub(crate) fn refuse_unknown(body: &Value, known: &[&str]) -> Result<()> {
    let Some(fields) = body.as_object() else {
        return Err(
            StripeError::invalid("The request body must be a JSON object.").not_remembered(),
        );
    };
    let unknown: Vec<String> = fields
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .cloned()
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(StripeError::unknown(&unknown))
    }
}

fn read(call: &Call<'_>, event: &Value) -> Result<Incoming> {
    refuse_unknown(event, &["event_name", "identifier", "payload", "timestamp"])?;
    let event_name = text_or_empty(event, "/event_name");
    if event_name.is_empty() {
        return Err(StripeError::missing("event_name"));
    }
    let payload: Map<String, Value> = event["payload"]
        .as_object()
        .filter(|payload| payload.values().all(Value::is_string))
        .cloned()
        .ok_or_else(|| StripeError::missing("payload"))?;
    let timestamp = match &event["timestamp"] {
        Value::Null => call.now(),
        Value::String(text) => parse_rfc3339(text).ok_or_else(|| {
            let message = format!("Invalid timestamp: {text}; must be an RFC 3339 date-time.");
            StripeError::invalid_param("timestamp", message)
        })?,
        _ => {
            let message = "Invalid timestamp: must be an RFC 3339 date-time.";
            return Err(StripeError::invalid_param("timestamp", message));
        }
    };
    let given = Some(text_or_empty(event, "/identifier")).filter(|text| !text.is_empty());
    let identifier = given.unwrap_or_else(|| call.random.text(36));
    meter_events::check_identifier(&identifier)?;
    Ok(Incoming {
        event_name,
        identifier,
        payload,
        timestamp,
    })
}

/// Reports the invalid events received by a moment: one event per meter, and one for all that
/// found no meter. Answers how many events it reported.
pub(crate) fn report_errors(call: &Call<'_>, received_by_ms: i64) -> Result<usize> {
    let invalid = store::take_invalid(call.db, received_by_ms)?;
    let mut meters: Vec<Option<&str>> =
        invalid.iter().map(|event| event.meter.as_deref()).collect();
    meters.sort_unstable();
    meters.dedup();
    for meter in meters {
        let of_meter: Vec<&store::Invalid> = invalid
            .iter()
            .filter(|event| event.meter.as_deref() == meter)
            .collect();
        let data = report(&of_meter);
        match meter {
            Some(meter) => {
                let related = json!({
                    "id": meter, "type": "billing.meter",
                    "url": format!("/v1/billing/meters/{meter}"),
                });
                let event_type = "v1.billing.meter.error_report_triggered";
                events::emit_thin(call, event_type, Some(related), data)?;
            }
            None => events::emit_thin(call, "v1.billing.meter.no_meter_found", None, data)?,
        }
    }
    Ok(invalid.len())
}

fn report(invalid: &[&store::Invalid]) -> Value {
    let mut codes: Vec<&str> = invalid.iter().map(|event| event.code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let mut error_types = Vec::new();
    for code in codes {
        let of_code = invalid.iter().filter(|event| event.code == code);
        let samples: Vec<Value> = of_code
            .clone()
            .take(SAMPLES_MAX)
            .map(|event| {
                json!({
                    "error_message": format!("{code} (event name {})", event.event_name),
                    "request": { "identifier": event.identifier },
                })
            })
            .collect();
        error_types.push(json!({
            "code": code, "error_count": of_code.count(), "sample_errors": samples,
        }));
    }
    let count = invalid.len();
    let start = invalid.iter().map(|event| event.received_ms).min();
    let end = invalid.iter().map(|event| event.received_ms).max();
    json!({
        "developer_message_summary": format!("There is {count} invalid event"),
        "reason": { "error_count": count, "error_types": error_types },
        "validation_start": rfc3339(start.unwrap_or_default()),
        "validation_end": rfc3339(end.unwrap_or_default()),
    })
}
