//! One CloudEvent as usage: its attributes by their types and constraints
//! ("CloudEvents - Version 1.0.2", "Context Attributes"), and its data.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use billing::time::InvalidTimestamp;
use billing::{
    ActionType, CustomerId, EventId, EventSource, FieldError, Quantity, ReservationId, Timestamp,
    UsageEvent,
};
use mime::Mime;
use serde_json::{Map, Value};
use web::Problem;

use crate::request::{Emission, given, object, optional_text, quantity, refused_name, text};

/// The one version that is read.
pub(crate) const SPEC_VERSION: &str = "1.0";

/// Attributes that say nothing of usage, and are texts all the same.
const TOLERATED: [&str; 2] = ["datacontenttype", "dataschema"];

/// The extension attribute that names a reservation. CloudEvents has no separators in
/// names, and wants extensions to say whose they are.
pub(crate) const RESERVATION: &str = "meterlinereservation";

/// Where a CloudEvent says what Meterline calls `field`.
pub(super) fn attribute(field: &'static str) -> &'static str {
    match field {
        "event_id" => "id",
        "customer_id" => "subject",
        "action_type" => "type",
        "occurred_at" => "time",
        "quantity" => "data.quantity",
        "reservation_id" => RESERVATION,
        other => other,
    }
}

/// Reads the usage of an event that is in the JSON Event Format. An attribute that is
/// null is unset, as that says.
///
/// Attributes that are not known are let pass, as CloudEvents wants, and so are members
/// of the data. But a name that no attribute may have is refused: it is a misspelt one,
/// such as `Time`, and must not be lost silently.
///
/// # Errors
/// A 400 [`Problem`] that names what is missing or wrong: the attribute, or as
/// [`attribute`] has its name.
pub(super) fn usage_event(event: &Value) -> Result<Emission, Problem> {
    let attributes = object(event, "a CloudEvent")?;
    refuse_misnamed(attributes)?;
    if text(attributes, "specversion")? != SPEC_VERSION {
        let reason = format!("must be {SPEC_VERSION}, the version of CloudEvents that is read");
        return Err(FieldError::new("specversion", reason).into());
    }
    for name in TOLERATED {
        optional_text(attributes, name)?;
    }
    let reservation_id = optional_text(attributes, RESERVATION)?;
    let reservation_id = reservation_id.map(ReservationId::parse).transpose()?;
    let event = UsageEvent {
        event_id: EventId::parse(text(attributes, "id")?)?,
        source: Some(EventSource::parse(text(attributes, "source")?)?),
        action_type: ActionType::parse(text(attributes, "type")?)?,
        customer_id: CustomerId::parse(text(attributes, "subject")?)?,
        subscription_item_id: None,
        occurred_at: occurred_at(attributes)?,
        quantity: units(attributes)?,
    };
    Ok(Emission {
        event,
        reservation_id,
    })
}

/// Whether `media_type` is of JSON, as the JSON Event Format has it ("Handling of
/// data"): by its subtype, or by the suffix of that.
pub(super) fn is_json(media_type: &Mime) -> bool {
    media_type.subtype() == mime::JSON || media_type.suffix() == Some(mime::JSON)
}

/// "CloudEvents attribute names MUST consist of lower-case letters ('a' to 'z') or
/// digits ('0' to '9')"; `data_base64` is none, but a member of the JSON.
fn refuse_misnamed(attributes: &Map<String, Value>) -> Result<(), Problem> {
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        name == "data_base64" || (!name.is_empty() && name.bytes().all(allowed))
    };
    match attributes.keys().find(|name| !is_name(name)) {
        Some(name) => Err(refused_name(
            name,
            "cannot be an attribute of a CloudEvent: their names are of lower-case letters and \
             digits",
        )),
        None => Ok(()),
    }
}

fn occurred_at(attributes: &Map<String, Value>) -> Result<Option<Timestamp>, FieldError> {
    let time = optional_text(attributes, "time")?.map(Timestamp::parse_rfc3339);
    time.transpose().map_err(|error| {
        let reason = match error {
            InvalidTimestamp::Format => "must be RFC 3339, such as 2026-01-31T12:00:00Z",
            InvalidTimestamp::Range => "must lie between the years 2000 and 2100",
        };
        FieldError::new("time", reason)
    })
}

/// What the data says, or one unit: an emitter that counts its events needs no data.
fn units(attributes: &Map<String, Value>) -> Result<Quantity, FieldError> {
    let Some(data) = data(attributes)? else {
        return Quantity::new(1);
    };
    let Some(data) = data.as_object() else {
        let reason = "must be a JSON object, whose quantity is the units that were used";
        return Err(FieldError::new("data", reason));
    };
    match given(data, "quantity") {
        Some(_) => quantity(data),
        None => Quantity::new(1),
    }
}

/// The event's data, as JSON: emitters that are handed bytes put them into
/// `data_base64`, whatever they are.
fn data(attributes: &Map<String, Value>) -> Result<Option<Cow<'_, Value>>, FieldError> {
    let encoded = optional_text(attributes, "data_base64")?;
    let data = given(attributes, "data");
    if data.is_none() && encoded.is_none() {
        return Ok(None);
    }
    let media_type = optional_text(attributes, "datacontenttype")?;
    let is_json = media_type.is_none_or(|it| it.parse().is_ok_and(|it| is_json(&it)));
    if !is_json {
        let reason = "must be application/json, or another type of JSON, where there are data";
        return Err(FieldError::new("datacontenttype", reason));
    }
    match (data, encoded) {
        (Some(_), Some(_)) => {
            let reason = "must not be there beside data";
            Err(FieldError::new("data_base64", reason))
        }
        (data, None) => Ok(data.map(Cow::Borrowed)),
        (None, Some(encoded)) => {
            let json = STANDARD.decode(encoded).ok();
            let json = json.and_then(|json| web::from_json::<Value>(&json).ok());
            let reason = "must be Base64 (RFC 4648) of JSON";
            let json = json.ok_or_else(|| FieldError::new("data_base64", reason))?;
            Ok(Some(json).filter(|it| !it.is_null()).map(Cow::Owned))
        }
    }
}
