//! Usage events as the API takes them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A usage event as the API takes it, and as the spool keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEvent {
    pub(crate) event_id: String,
    pub(crate) customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscription_item_id: Option<String>,
    pub(crate) quantity: u64,
    pub(crate) action_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) occurred_at: Option<WireTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reservation_id: Option<String>,
}

impl WireEvent {
    /// Whether it says what `other` says. An event is the same event with any
    /// reservation, and without one.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        let content = |event: &Self| Self {
            reservation_id: None,
            ..event.clone()
        };
        content(self) == content(other)
    }
}

/// A time, as the API takes it and the spool of any language has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum WireTime {
    Rfc3339(String),
    UnixSeconds(i64),
}

impl WireTime {
    /// To the API's millisecond; as it is written, where it is no time.
    fn unix_ms(&self) -> Result<i128, &str> {
        match self {
            Self::UnixSeconds(unix_s) => Ok(i128::from(*unix_s) * 1000),
            Self::Rfc3339(text) => OffsetDateTime::parse(text, &Rfc3339)
                .map(|time| time.unix_timestamp_nanos().div_euclid(1_000_000))
                .map_err(|_| text.as_str()),
        }
    }
}

/// One time is the same time, however a language writes it.
impl PartialEq for WireTime {
    fn eq(&self, other: &Self) -> bool {
        self.unix_ms() == other.unix_ms()
    }
}

impl Eq for WireTime {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_is_the_same_time_however_it_is_written() {
        let text = |text: &str| WireTime::Rfc3339(text.to_owned());
        let noon = text("2026-01-31T12:00:00.000Z");
        let later = text("2026-01-31T12:00:00.001Z");
        for time in [
            text("2026-01-31T12:00:00Z"),
            text("2026-01-31T13:00:00+01:00"),
            WireTime::UnixSeconds(1_769_860_800),
        ] {
            assert_eq!(noon, time);
            assert_ne!(later, time);
        }
        assert_eq!(text("noon"), text("noon"));
        assert_ne!(text("noon"), noon);
    }
}
