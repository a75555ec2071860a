//! What an agent sent, checked by hand on the JSON value: a refusal names the
//! field and what it must be, in words that a derived parser does not have.

use billing::reservation::{expires_in_s, expires_in_s_error};
use billing::time::{InvalidTimestamp, WireTime};
use billing::usage_event::parse_stripe_id;
use billing::{
    ActionType, CustomerId, EventId, FieldError, Quantity, ReservationId, Timestamp, UsageEvent,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use web::{Problem, ProblemType};

/// The most events of one batch.
pub const BATCH_EVENTS_MAX: usize = 100;

/// An event as an agent sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// What happened.
    pub event: UsageEvent,
    /// The reservation that it settles. It says where the room was held, not what
    /// happened: a repeat that has lost it is the same event.
    pub reservation_id: Option<ReservationId>,
}

impl From<UsageEvent> for Emission {
    fn from(event: UsageEvent) -> Self {
        Self {
            event,
            reservation_id: None,
        }
    }
}

pub(crate) const FIELDS: [&str; 7] = [
    "event_id",
    "customer_id",
    "subscription_item_id",
    "quantity",
    "action_type",
    "occurred_at",
    "reservation_id",
];

pub(crate) const RESERVATION_FIELDS: [&str; 5] = [
    "reservation_id",
    "customer_id",
    "quantity",
    "action_type",
    "expires_in_s",
];

/// Reads one event. `idempotency_key` stands in for an omitted `event_id`. A
/// field that is null counts as omitted.
///
/// # Errors
/// A 400 [`Problem`] that names the first field that is missing or wrong, or
/// that is none of an event's: a misspelt field must not be lost silently.
pub fn usage_event(value: &Value, idempotency_key: Option<&str>) -> Result<Emission, Problem> {
    let fields = object(value, "a usage event")?;
    refuse_unknown(fields, &FIELDS)?;
    let event_id = match optional_text(fields, "event_id")?.or(idempotency_key) {
        Some(event_id) => EventId::parse(event_id)?,
        None => return Err(missing("event_id").into()),
    };
    let subscription_item_id = optional_text(fields, "subscription_item_id")?
        .map(|id| parse_stripe_id("subscription_item_id", id))
        .transpose()?;
    let event = UsageEvent {
        event_id,
        customer_id: CustomerId::parse(text(fields, "customer_id")?)?,
        subscription_item_id,
        quantity: quantity(fields)?,
        action_type: ActionType::parse(text(fields, "action_type")?)?,
        occurred_at: occurred_at(fields)?,
        source: None,
    };
    let reservation_id = optional_text(fields, "reservation_id")?;
    Ok(Emission {
        event,
        reservation_id: reservation_id.map(ReservationId::parse).transpose()?,
    })
}

/// What an agent wants to reserve, and of whose limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationRequest {
    /// The agent's id of it.
    pub reservation_id: ReservationId,
    /// Of whose limit.
    pub customer_id: CustomerId,
    /// Units.
    pub quantity: Quantity,
    /// What they are for.
    pub action_type: ActionType,
    /// For how long.
    pub expires_in_s: i64,
}

/// Reads a reservation. `idempotency_key` stands in for an omitted
/// `reservation_id`. A field that is null counts as omitted.
///
/// # Errors
/// A 400 [`Problem`], as [`usage_event`].
pub fn reservation(
    value: &Value,
    idempotency_key: Option<&str>,
) -> Result<ReservationRequest, Problem> {
    let fields = object(value, "a reservation")?;
    refuse_unknown(fields, &RESERVATION_FIELDS)?;
    let reservation_id = match optional_text(fields, "reservation_id")?.or(idempotency_key) {
        Some(reservation_id) => ReservationId::parse(reservation_id)?,
        None => return Err(missing("reservation_id").into()),
    };
    let named = given(fields, "expires_in_s");
    let named = named.map(|value| value.as_i64().ok_or_else(expires_in_s_error));
    Ok(ReservationRequest {
        reservation_id,
        customer_id: CustomerId::parse(text(fields, "customer_id")?)?,
        quantity: quantity(fields)?,
        action_type: ActionType::parse(text(fields, "action_type")?)?,
        expires_in_s: expires_in_s(named.transpose()?)?,
    })
}

/// The events of a batch, 1 to 100, none of them read yet.
///
/// # Errors
/// A 400 [`Problem`] where there is no such list.
pub fn batch(value: &Value) -> Result<&[Value], Problem> {
    let fields = object(value, "a batch")?;
    refuse_unknown(fields, &["events"])?;
    let events = fields.get("events").and_then(Value::as_array);
    events
        .filter(|events| (1..=BATCH_EVENTS_MAX).contains(&events.len()))
        .map(Vec::as_slice)
        .ok_or_else(|| {
            let reason = format!("must be a list of 1 to {BATCH_EVENTS_MAX} usage events");
            FieldError::new("events", reason).into()
        })
}

pub(crate) fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, Problem> {
    value.as_object().ok_or_else(|| {
        let detail = format!("{what} must be a JSON object");
        Problem::new(ProblemType::InvalidRequest, detail)
    })
}

fn refuse_unknown(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) else {
        return Ok(());
    };
    let reason = format!("is not a field; known are {}", known.join(", "));
    Err(refused_name(unknown, &reason))
}

/// A refusal of the field `name`, of which nothing is known and so much is shown.
pub(crate) fn refused_name(name: &str, reason: &str) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let detail = format!("{shown} {reason}");
    Problem::new(ProblemType::InvalidField, detail).with("field", shown)
}

pub(crate) fn given<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

pub(crate) fn optional_text<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, FieldError> {
    given(fields, name)
        .map(|value| {
            value
                .as_str()
                .ok_or_else(|| FieldError::new(name, "must be a string"))
        })
        .transpose()
}

pub(crate) fn text<'a>(
    fields: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, FieldError> {
    optional_text(fields, name)?.ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> FieldError {
    FieldError::new(name, "is missing")
}

/// `1.0` is refused like `1.5`: a quantity that passed through floating point
/// may have been rounded on its way.
pub(crate) fn quantity(fields: &Map<String, Value>) -> Result<Quantity, FieldError> {
    let value = given(fields, "quantity").ok_or_else(|| missing("quantity"))?;
    value
        .as_u64()
        .ok_or_else(Quantity::error)
        .and_then(Quantity::new)
}

fn occurred_at(fields: &Map<String, Value>) -> Result<Option<Timestamp>, FieldError> {
    let Some(value) = given(fields, "occurred_at") else {
        return Ok(None);
    };
    let is_of_a_kind = value.is_string() || value.is_i64() || value.is_u64();
    match WireTime::deserialize(value) {
        Ok(WireTime(at)) => Ok(Some(at)),
        Err(error) if is_of_a_kind => Err(FieldError::new("occurred_at", error.to_string())),
        Err(_) => Err(FieldError::new(
            "occurred_at",
            InvalidTimestamp::Format.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn an_event() -> Value {
        json!({
            "event_id": "job-7",
            "customer_id": "cus_1",
            "quantity": 3,
            "action_type": "document_processed",
        })
    }

    fn an_event_with(name: &str, value: Value) -> Value {
        let mut event = an_event();
        event[name] = value;
        event
    }

    fn refused_field(event: &Value) -> String {
        let problem = usage_event(event, None).unwrap_err();
        assert_eq!(problem.problem_type(), ProblemType::InvalidField, "{event}");
        let document = serde_json::to_value(problem).unwrap();
        let field = document["field"].as_str().unwrap().to_owned();
        assert!(document["detail"].as_str().unwrap().starts_with(&field));
        field
    }

    #[test]
    fn what_was_sent_is_what_is_read() {
        let Emission {
            event,
            reservation_id,
        } = usage_event(&an_event(), None).unwrap();
        assert_eq!((event.quantity.get(), reservation_id), (3, None));
        assert_eq!(event.occurred_at, None);
        let reserved = an_event_with("reservation_id", json!("run-7"));
        let reserved = usage_event(&reserved, None).unwrap();
        assert_eq!(reserved.event, event);
        assert_eq!(reserved.reservation_id.unwrap().as_str(), "run-7");
        let timed = an_event_with("occurred_at", json!("2026-01-31T12:00:00Z"));
        let timed = usage_event(&timed, None).unwrap().event;
        assert_eq!(
            timed.occurred_at,
            Some(Timestamp::from_unix_s(1_769_860_800))
        );
        let nulls = an_event_with("subscription_item_id", Value::Null);
        assert_eq!(usage_event(&nulls, None).unwrap(), event.into());
    }

    #[test]
    fn only_whole_quantities_from_one_to_a_billion_are_read() {
        for quantity in [
            "0",
            "-1",
            "1.5",
            "1.0",
            "1e3",
            "\"3\"",
            "true",
            "[3]",
            "{}",
            "1000000001",
            "1e400",
            "99999999999999999999999",
        ] {
            let Ok(value) = serde_json::from_str(quantity) else {
                continue;
            };
            assert_eq!(
                refused_field(&an_event_with("quantity", value)),
                "quantity",
                "{quantity}"
            );
        }
    }

    #[test]
    fn every_refusal_names_its_field() {
        for (name, value) in [
            ("event_id", json!("")),
            ("event_id", json!("x".repeat(256))),
            ("event_id", json!(7)),
            ("customer_id", json!("cus#1")),
            ("customer_id", Value::Null),
            ("subscription_item_id", json!("si 1")),
            ("subscription_item_id", json!(["si_1"])),
            ("action_type", json!("a b")),
            ("action_type", json!(null)),
            ("occurred_at", json!("yesterday")),
            ("occurred_at", json!(1_769_860_800.5)),
            ("occurred_at", json!(1_769_860_800_000_i64)),
            ("occurred_at", json!(u64::MAX)),
            ("occurred_at", json!({})),
            ("reservation_id", json!("a/b")),
            ("reservation_id", json!(7)),
            ("quantitiy", json!(3)),
        ] {
            assert_eq!(refused_field(&an_event_with(name, value)), name);
        }
        for name in ["event_id", "customer_id", "quantity", "action_type"] {
            let mut event = an_event();
            event.as_object_mut().unwrap().remove(name);
            assert_eq!(refused_field(&event), name);
        }
    }

    #[test]
    fn the_idempotency_key_stands_in_for_an_omitted_event_id() {
        let mut event = an_event();
        let named = usage_event(&event, Some("key-1")).unwrap();
        assert_eq!(named.event.event_id.as_str(), "job-7");
        event.as_object_mut().unwrap().remove("event_id");
        let keyed = usage_event(&event, Some("key-1")).unwrap();
        assert_eq!(keyed.event.event_id.as_str(), "key-1");
    }

    fn a_reservation_with(name: &str, value: Value) -> Value {
        let mut reservation = json!({
            "reservation_id": "run-7", "customer_id": "cus_1", "quantity": 3,
            "action_type": "document_processed",
        });
        reservation[name] = value;
        reservation
    }

    #[test]
    fn a_reservation_is_read_with_its_time_and_every_refusal_names_its_field() {
        let read = reservation(&a_reservation_with("expires_in_s", Value::Null), None).unwrap();
        assert_eq!((read.expires_in_s, read.quantity.get()), (300, 3));
        let keyed = a_reservation_with("reservation_id", Value::Null);
        let keyed = reservation(&keyed, Some("key-1")).unwrap();
        assert_eq!(keyed.reservation_id.as_str(), "key-1");
        for (name, value) in [
            ("reservation_id", json!("")),
            ("reservation_id", json!("a b")),
            ("customer_id", json!("cus#1")),
            ("quantity", json!(0)),
            ("quantity", json!(1.5)),
            ("action_type", json!("a b")),
            ("expires_in_s", json!(0)),
            ("expires_in_s", json!(3_601)),
            ("expires_in_s", json!(1.5)),
            ("expires_in_s", json!("60")),
            ("expires_in_s", json!(u64::MAX)),
            ("event_id", json!("job-7")),
        ] {
            let problem = reservation(&a_reservation_with(name, value.clone()), None);
            let problem = problem.unwrap_err();
            assert_eq!(problem.problem_type(), ProblemType::InvalidField);
            let document = serde_json::to_value(problem).unwrap();
            assert_eq!(document["field"], name, "{value}");
        }
    }

    #[test]
    fn a_batch_has_one_to_a_hundred_events() {
        assert_eq!(batch(&json!({ "events": [1] })).unwrap().len(), 1);
        for refused in [
            json!([]),
            json!({}),
            json!({ "events": [] }),
            json!({ "events": {} }),
            json!({ "events": vec![1; 101] }),
            json!({ "events": [1], "event": 1 }),
        ] {
            assert!(batch(&refused).is_err(), "{refused}");
        }
    }
}
