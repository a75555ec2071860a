//! From a file's row to a usage event.
//!
//! Usage from elsewhere gets ids of its own. Events that agents emitted here, and that
//! the audit log has lost, keep theirs, so that it knows them again.

use std::fmt;
use std::str::FromStr;

use billing::time::{InvalidTimestamp, WireTime};
use billing::usage_event::parse_stripe_id;
use billing::{
    ActionType, CustomerId, EventId, EventSource, FieldError, Quantity, Timestamp, UsageEvent,
    UsageStatus,
};
use serde::Deserialize;
use serde_json::{Map, Value};

const SOURCE_LENGTH_MAX: usize = 64;
const RECORD_ID_LENGTH_MAX: usize = 100;
/// The digits of a fraction that make milliseconds.
const MILLISECOND_DIGITS: usize = 3;

/// The name of what the rows come from: part of every event id, so that two
/// sources never meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceName(String);

/// What is no name of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a source's name is 1 to {SOURCE_LENGTH_MAX} letters, digits or any of _ - .")]
pub struct InvalidSourceName;

impl FromStr for SourceName {
    type Err = InvalidSourceName;

    fn from_str(text: &str) -> Result<Self, InvalidSourceName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let is_name = (1..=SOURCE_LENGTH_MAX).contains(&text.len()) && text.chars().all(allowed);
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidSourceName)
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where rows come from, which says under which ids they are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody else's records: an id is derived from source and row.
    Elsewhere(SourceName),
    /// Agents that emitted these events, each as it was sent, and were told that it is
    /// delivered.
    Emitted,
}

/// A row that can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRow {
    /// The row's line, or its rowid.
    pub number: i64,
    /// The event, with the id that its origin gives it.
    pub event: UsageEvent,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Where Stripe has it already.
    pub in_stripe: Option<InStripe>,
}

/// What is known of an event that Stripe has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InStripe {
    /// Stripe's id of it, if it has one: meter events have none.
    pub stripe_record_id: Option<String>,
}

impl ImportRow {
    /// Reads the fields of the row `number` of `origin`. Fields that are none
    /// of a usage event's are passed over: a table may have its own.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn read(
        origin: &Origin,
        number: i64,
        fields: &Map<String, Value>,
    ) -> Result<Self, FieldError> {
        let subscription_item_id = text(fields, "subscription_item_id")?;
        let subscription_item_id = subscription_item_id
            .map(|id| parse_stripe_id("subscription_item_id", &id))
            .transpose()?;
        let stripe_record_id = stripe_record_id(fields)?;
        let (event_id, occurred_at, said, in_stripe) = match origin {
            Origin::Elsewhere(source) => {
                let occurred_at = time(fields, &["timestamp", "occurred_at"])?;
                let in_stripe = stripe_record_id.map(|id| InStripe {
                    stripe_record_id: Some(id),
                });
                let event_id = derived_id(source, number, fields)?;
                (event_id, occurred_at, Some(occurred_at), in_stripe)
            }
            Origin::Emitted => {
                check_delivered(fields)?;
                // What the agent did not say is not part of the event: its repeat
                // would not say it either.
                let said = given(fields, &["occurred_at"]).is_some();
                let occurred_at = time(fields, &["occurred_at", "timestamp"])?;
                let event_id = EventId::parse(&required(fields, "event_id")?)?;
                let in_stripe = InStripe { stripe_record_id };
                (
                    event_id,
                    occurred_at,
                    said.then_some(occurred_at),
                    Some(in_stripe),
                )
            }
        };
        Ok(Self {
            number,
            event: UsageEvent {
                event_id,
                customer_id: CustomerId::parse(&required(fields, "customer_id")?)?,
                subscription_item_id,
                quantity: quantity(fields)?,
                action_type: ActionType::parse(&required(fields, "action_type")?)?,
                occurred_at: said,
                source: event_source(origin, fields)?,
            },
            occurred_at,
            in_stripe,
        })
    }
}

/// `import:{source}:{id}` where the row has an id, else `import:{source}#{number}`.
fn derived_id(
    source: &SourceName,
    number: i64,
    fields: &Map<String, Value>,
) -> Result<EventId, FieldError> {
    let id = match text(fields, "event_id")? {
        Some(id) => Some(id),
        None => text(fields, "id")?,
    };
    EventId::parse(&match id {
        Some(id) => format!("import:{source}:{id}"),
        None => format!("import:{source}#{number}"),
    })
}

/// Where an event that was emitted came from, which a CloudEvent says. Somebody
/// else's records may have a field of that name for anything.
fn event_source(
    origin: &Origin,
    fields: &Map<String, Value>,
) -> Result<Option<EventSource>, FieldError> {
    match origin {
        Origin::Elsewhere(_) => Ok(None),
        Origin::Emitted => {
            let source = text(fields, "source")?;
            source.map(|it| EventSource::parse(&it)).transpose()
        }
    }
}

/// The field's text, or its whole number written out; none where it is null,
/// empty or not there.
fn text(fields: &Map<String, Value>, name: &'static str) -> Result<Option<String>, FieldError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(_) => Err(FieldError::new(name, "must be text")),
    }
}

fn required(fields: &Map<String, Value>, name: &'static str) -> Result<String, FieldError> {
    text(fields, name)?.ok_or_else(|| FieldError::new(name, "is missing"))
}

fn quantity(fields: &Map<String, Value>) -> Result<Quantity, FieldError> {
    let digits = required(fields, "quantity").map_err(|error| match fields.get("quantity") {
        Some(Value::Number(_)) => Quantity::error(),
        _ => error,
    })?;
    let units = digits.parse().map_err(|_| Quantity::error())?;
    Quantity::new(units)
}

fn stripe_record_id(fields: &Map<String, Value>) -> Result<Option<String>, FieldError> {
    let id = text(fields, "stripe_record_id")?;
    let is_id = |id: &String| id.len() <= RECORD_ID_LENGTH_MAX && !id.contains(char::is_control);
    if id.as_ref().is_none_or(is_id) {
        return Ok(id);
    }
    let reason = format!("must be at most {RECORD_ID_LENGTH_MAX} characters long");
    Err(FieldError::new("stripe_record_id", reason))
}

/// Only an agent that was told so can say that Stripe has an event.
fn check_delivered(fields: &Map<String, Value>) -> Result<(), FieldError> {
    if fields.get("status").and_then(Value::as_str) == Some(UsageStatus::Delivered.as_str()) {
        return Ok(());
    }
    let reason = "must be delivered, as its agent was told: of any other event nobody knows here \
                  whether Stripe has it";
    Err(FieldError::new("status", reason))
}

/// The first of `names` that the row has.
fn given<'a>(
    fields: &'a Map<String, Value>,
    names: &[&'static str],
) -> Option<(&'static str, &'a Value)> {
    names.iter().find_map(|name| {
        let value = fields.get(*name)?;
        let is_given = !value.is_null() && value.as_str() != Some("");
        is_given.then_some((*name, value))
    })
}

/// The time in the first of `names` that the row has.
fn time(fields: &Map<String, Value>, names: &[&'static str]) -> Result<Timestamp, FieldError> {
    let Some((name, value)) = given(fields, names) else {
        return Err(FieldError::new("timestamp", "is missing"));
    };
    let read = match value {
        Value::Number(number) => from_unix(&number.to_string()),
        Value::String(text) => match from_unix(text) {
            Ok(at) => Ok(at),
            Err(InvalidTimestamp::Range) => Err(InvalidTimestamp::Range),
            Err(InvalidTimestamp::Format) => Timestamp::parse_rfc3339(text),
        },
        _ => Err(InvalidTimestamp::Format),
    };
    read.map_err(|error| FieldError::new(name, error.to_string()))
}

/// Unix seconds, with a fraction or without: a home-made emitter stores what
/// its language calls the time. Read from its digits, what is over a
/// millisecond cut off.
fn from_unix(digits: &str) -> Result<Timestamp, InvalidTimestamp> {
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !are_digits(seconds) || !are_digits(fraction) {
        return Err(InvalidTimestamp::Format);
    }
    let unix_s: i64 = seconds.parse().map_err(|_| InvalidTimestamp::Range)?;
    let WireTime(at) =
        WireTime::deserialize(Value::from(unix_s)).map_err(|_| InvalidTimestamp::Range)?;
    let milliseconds = fraction
        .chars()
        .chain("000".chars())
        .take(MILLISECOND_DIGITS);
    let milliseconds: String = milliseconds.collect();
    Ok(at.plus_ms(milliseconds.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(fields: &Value) -> Result<ImportRow, FieldError> {
        let source = "nightly".parse().unwrap();
        ImportRow::read(&Origin::Elsewhere(source), 7, fields.as_object().unwrap())
    }

    fn read_emitted(fields: &Value) -> Result<ImportRow, FieldError> {
        ImportRow::read(&Origin::Emitted, 7, fields.as_object().unwrap())
    }

    fn a_row_with(name: &str, value: Value) -> Value {
        let mut row = json!({
            "customer_id": "cus_1", "quantity": 3, "action_type": "read",
            "timestamp": 1_769_860_800,
        });
        row[name] = value;
        row
    }

    #[test]
    fn ids_come_from_source_and_row() {
        let id = |name, value| {
            let row = read(&a_row_with(name, value)).unwrap();
            row.event.event_id.as_str().to_owned()
        };
        assert_eq!(id("event_id", json!("job-1")), "import:nightly:job-1");
        assert_eq!(id("id", json!(7)), "import:nightly:7");
        assert_eq!(id("event_id", json!("")), "import:nightly#7");
        assert_eq!(id("color", json!("red")), "import:nightly#7");
        assert_eq!(id("source", json!("two words")), "import:nightly#7");
        for name in ["", "a b", "a:b", "a#b", &"a".repeat(65)] {
            assert!(name.parse::<SourceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn times_are_seconds_or_rfc3339() {
        let unix_ms = |value| {
            let row = read(&a_row_with("timestamp", value));
            row.map(|row| row.occurred_at.unix_ms())
        };
        for value in [
            json!(1_769_860_800),
            json!("1769860800"),
            json!("2026-01-31T12:00:00Z"),
            json!("2026-01-31T13:00:00+01:00"),
        ] {
            assert_eq!(unix_ms(value.clone()), Ok(1_769_860_800_000), "{value}");
        }
        assert_eq!(unix_ms(json!(1_769_860_800.25)), Ok(1_769_860_800_250));
        assert_eq!(unix_ms(json!("1769860800.5")), Ok(1_769_860_800_500));
        for value in [
            json!(1_769_860_800_000_i64),
            json!("yesterday"),
            json!("2026-01-31 12:00:00"),
            json!(-1),
            json!("1769860800."),
            json!(true),
            json!(null),
        ] {
            assert!(unix_ms(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn an_event_that_was_emitted_is_what_its_agent_sent() {
        let mut row = a_row_with("event_id", json!("job-1"));
        row["status"] = json!("delivered");
        let read = read_emitted(&row).unwrap();
        assert_eq!(read.event.event_id.as_str(), "job-1");
        assert_eq!(read.event.occurred_at, None);
        assert_eq!(read.occurred_at.unix_s(), 1_769_860_800);
        assert_eq!(read.in_stripe, Some(InStripe::default()));

        row["occurred_at"] = json!("2026-01-31T11:00:00Z");
        row["stripe_record_id"] = json!("mbur_1");
        let read = read_emitted(&row).unwrap();
        assert_eq!(read.event.occurred_at, Some(read.occurred_at));
        assert_eq!(read.occurred_at.unix_s(), 1_769_857_200);
        let record_id = read.in_stripe.unwrap().stripe_record_id;
        assert_eq!(record_id.as_deref(), Some("mbur_1"));
        assert_eq!(read.event.source, None);

        row["source"] = json!("/agents/7");
        let read = read_emitted(&row).unwrap();
        assert_eq!(read.event.source.unwrap().as_str(), "/agents/7");

        for (name, value) in [
            ("status", json!("pending")),
            ("status", json!(null)),
            ("event_id", json!("")),
            ("source", json!("two words")),
        ] {
            let mut row = row.clone();
            row[name] = value;
            assert_eq!(read_emitted(&row).unwrap_err().field, name);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, value) in [
            ("customer_id", json!(null)),
            ("customer_id", json!("cus#1")),
            ("quantity", json!(1.5)),
            ("quantity", json!("1.0")),
            ("quantity", json!(0)),
            ("quantity", json!(-3)),
            ("quantity", json!("")),
            ("quantity", json!([3])),
            ("action_type", json!("a b")),
            ("subscription_item_id", json!("si 1")),
            ("stripe_record_id", json!("x".repeat(101))),
            ("event_id", json!("x".repeat(255))),
            ("timestamp", json!("")),
        ] {
            let refused = read(&a_row_with(name, value.clone())).unwrap_err();
            assert_eq!(refused.field, name, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_file_holds_is_a_panic(value in "\\PC{0,40}", field in 0_usize..7) {
            let name = ["event_id", "customer_id", "quantity", "action_type",
                "timestamp", "stripe_record_id", "subscription_item_id"][field];
            let _ = read(&a_row_with(name, json!(value)));
        }
    }
}
