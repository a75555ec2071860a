//! What an agent may say about its usage.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The longest event id, in bytes of UTF-8.
pub const EVENT_ID_BYTES_MAX: usize = 255;
/// The longest source of an event, in bytes.
pub const EVENT_SOURCE_BYTES_MAX: usize = 255;
/// The longest action type, in characters.
pub const ACTION_TYPE_LENGTH_MAX: usize = 64;
/// The longest Stripe id that is accepted, in characters.
pub const STRIPE_ID_LENGTH_MAX: usize = 64;
/// The largest quantity of one event. A billion events of it still sum up
/// within 64 bits, and it stays under Stripe's limit on a value's digits
/// (`meter_event_value_too_many_digits`).
pub const QUANTITY_MAX: u64 = 1_000_000_000;

/// A field that was refused, and why, in words for the agent's developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct FieldError {
    /// The field's name in the API.
    pub field: &'static str,
    /// What it must be instead; reads on from the field's name.
    pub reason: String,
}

impl FieldError {
    /// A refusal of `field` because it `reason`.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }
}

/// A customer's id: the id of the Stripe customer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomerId(String);

impl CustomerId {
    /// Takes a Stripe id: letters, digits and underscores.
    ///
    /// # Errors
    /// A [`FieldError`] for `customer_id` for anything else.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        parse_stripe_id("customer_id", text).map(Self)
    }

    /// The id as Stripe wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The agent's own name for one usage event: any characters, 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(String);

impl EventId {
    /// Takes any text that is neither empty nor too long.
    ///
    /// # Errors
    /// A [`FieldError`] for `event_id` for an empty or too long one.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() || text.len() > EVENT_ID_BYTES_MAX {
            let reason = format!("must be 1 to {EVENT_ID_BYTES_MAX} bytes long");
            return Err(FieldError::new("event_id", reason));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as the agent wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where an event comes from, as its emitter names it: a URI-reference of 1 to 255
/// bytes (CloudEvents 1.0.2, "source").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventSource(String);

impl EventSource {
    /// Takes what is made of the characters of a URI-reference (RFC 3986, section 2).
    ///
    /// # Errors
    /// A [`FieldError`] for `source` for anything else.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        if text.is_empty() || text.len() > EVENT_SOURCE_BYTES_MAX || !text.chars().all(allowed) {
            let reason = format!(
                "must be a URI-reference (RFC 3986) of 1 to {EVENT_SOURCE_BYTES_MAX} bytes"
            );
            return Err(FieldError::new("source", reason));
        }
        Ok(Self(text.to_owned()))
    }

    /// The source as its emitter wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was done, such as `document_processed`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionType(String);

impl ActionType {
    /// Takes 1 to 64 of `A-Z a-z 0-9 _ - . :`; the tables' keys use `#` between parts.
    ///
    /// # Errors
    /// A [`FieldError`] for `action_type` for anything else.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        if text.is_empty() || text.len() > ACTION_TYPE_LENGTH_MAX || !text.chars().all(allowed) {
            let reason =
                format!("must be 1 to {ACTION_TYPE_LENGTH_MAX} letters, digits or any of _ - . :");
            return Err(FieldError::new("action_type", reason));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as the agent wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Units used: a whole number from 1 to [`QUANTITY_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Quantity(u64);

impl Quantity {
    /// Takes 1 to [`QUANTITY_MAX`] units.
    ///
    /// # Errors
    /// A [`FieldError`] for `quantity` for zero or more than the maximum.
    pub fn new(units: u64) -> Result<Self, FieldError> {
        if (1..=QUANTITY_MAX).contains(&units) {
            Ok(Self(units))
        } else {
            Err(Self::error())
        }
    }

    /// The number of units.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What is said of a quantity that is none: zero, negative, fractional, huge.
    pub fn error() -> FieldError {
        let reason = format!("must be a whole number from 1 to {QUANTITY_MAX}");
        FieldError::new("quantity", reason)
    }
}

/// One usage event as its agent described it, with every field valid in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEvent {
    /// The agent's id of this event, unique for the customer.
    pub event_id: EventId,
    /// Whose usage it is.
    pub customer_id: CustomerId,
    /// The subscription item that the agent expects to bill, where it said one.
    pub subscription_item_id: Option<String>,
    /// Units used.
    pub quantity: Quantity,
    /// What was done.
    pub action_type: ActionType,
    /// When it happened; the time of its first recording when omitted.
    pub occurred_at: Option<Timestamp>,
    /// Where it comes from, if it came as a CloudEvent.
    pub source: Option<EventSource>,
}

/// Takes a Stripe id for `field`: letters, digits and underscores, 1 to 64.
///
/// # Errors
/// A [`FieldError`] for anything else.
pub fn parse_stripe_id(field: &'static str, text: &str) -> Result<String, FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.len() > STRIPE_ID_LENGTH_MAX || !text.chars().all(allowed) {
        let reason =
            format!("must be a Stripe id: 1 to {STRIPE_ID_LENGTH_MAX} letters, digits or _");
        return Err(FieldError::new(field, reason));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn an_event() -> UsageEvent {
        UsageEvent {
            event_id: EventId::parse("job-7").unwrap(),
            customer_id: CustomerId::parse("cus_1").unwrap(),
            subscription_item_id: None,
            quantity: Quantity::new(1).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        }
    }

    #[test]
    fn ids_that_could_forge_a_key_are_refused() {
        for text in ["", "cus#1", "cus 1", "cus_ä", "../cus_1", &"c".repeat(65)] {
            assert!(CustomerId::parse(text).is_err(), "{text}");
        }
        for text in ["", "a#b", "a b", "a\n", &"a".repeat(65)] {
            assert!(ActionType::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_id_may_hold_any_character() {
        for text in ["a", "#/\\ä\u{202e}\n", &"x".repeat(255)] {
            assert_eq!(EventId::parse(text).unwrap().as_str(), text);
        }
        assert!(EventId::parse(&"ä".repeat(128)).is_err());
    }

    #[test]
    fn a_source_is_made_of_what_a_uri_is_made_of() {
        for text in [
            "/agents/7",
            "https://github.com/cloudevents?a=b#c",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "a%20b",
            &"x".repeat(255),
        ] {
            assert_eq!(EventSource::parse(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", "ä", "a\n", "<a>", "\"", &"x".repeat(256)] {
            assert_eq!(EventSource::parse(text).unwrap_err().field, "source");
        }
    }

    #[test]
    fn quantities_end_at_a_billion() {
        assert!(Quantity::new(0).is_err());
        assert_eq!(Quantity::new(QUANTITY_MAX).unwrap().get(), QUANTITY_MAX);
        assert!(Quantity::new(QUANTITY_MAX + 1).is_err());
    }
}
