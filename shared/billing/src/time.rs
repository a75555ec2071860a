//! Instants, as the tables keep them and as the API reads and writes them.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The instants that the API accepts at all: 2000-01-01 to 2100-01-01. What a
/// meter takes is decided by [`crate::window`]; this only keeps arithmetic and
/// zero-padded keys away from absurd values.
const EARLIEST_UNIX_MS: i64 = 946_684_800_000;
const LATEST_UNIX_MS: i64 = 4_102_444_800_000;

/// A second.
pub const SECOND_MS: i64 = 1_000;
/// A minute.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// An hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A day of UTC.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// An instant in milliseconds since the Unix epoch; stored as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Why a text or number is not an instant that the API accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// Neither RFC 3339 nor a whole number of seconds.
    #[error("must be RFC 3339, such as 2026-01-31T12:00:00Z, or whole unix seconds")]
    Format,
    /// Before 2000 or after 2100, for example milliseconds given as seconds.
    #[error("must lie between the years 2000 and 2100; unix times are in seconds")]
    Range,
}

impl Timestamp {
    /// An instant from milliseconds since the Unix epoch.
    pub const fn from_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms)
    }

    /// An instant from seconds since the Unix epoch, as Stripe gives times.
    pub const fn from_unix_s(unix_s: i64) -> Self {
        Self(unix_s.saturating_mul(SECOND_MS))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn unix_s(self) -> i64 {
        self.0.div_euclid(SECOND_MS)
    }

    /// The start of the hour (UTC) that holds this instant.
    pub const fn start_of_hour(self) -> Self {
        Self(self.0.div_euclid(HOUR_MS) * HOUR_MS)
    }

    /// The midnight (UTC) that begins the day of this instant.
    pub const fn start_of_day(self) -> Self {
        Self(self.0.div_euclid(DAY_MS) * DAY_MS)
    }

    /// This instant moved by `duration_ms`, which may be negative.
    pub const fn plus_ms(self, duration_ms: i64) -> Self {
        Self(self.0.saturating_add(duration_ms))
    }

    /// Milliseconds from `earlier` to this instant; negative when it is later.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads an RFC 3339 time with any offset.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] where the text is none, or outside 2000 to 2100.
    pub fn parse_rfc3339(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp::Format)?;
        let unix_ms = i64::try_from(parsed.unix_timestamp_nanos().div_euclid(1_000_000))
            .map_err(|_| InvalidTimestamp::Range)?;
        Self(unix_ms).in_range()
    }

    /// Reads a time as a query string carries it: RFC 3339 or unix seconds.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] where the text is neither, or outside 2000 to 2100.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        match text.parse::<i64>() {
            Ok(unix_s) => Self::from_unix_s(unix_s).in_range(),
            Err(_) => Self::parse_rfc3339(text),
        }
    }

    fn in_range(self) -> Result<Self, InvalidTimestamp> {
        if (EARLIEST_UNIX_MS..=LATEST_UNIX_MS).contains(&self.0) {
            Ok(self)
        } else {
            Err(InvalidTimestamp::Range)
        }
    }
}

/// RFC 3339 in UTC, with milliseconds where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// A time as it arrives in a JSON body: an RFC 3339 text or whole unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireTime(pub Timestamp);

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WireTimeVisitor;

        impl Visitor<'_> for WireTimeVisitor {
            type Value = WireTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339 or whole unix seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WireTime, E> {
                Timestamp::parse_rfc3339(text)
                    .map(WireTime)
                    .map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, unix_s: i64) -> Result<WireTime, E> {
                Timestamp::from_unix_s(unix_s)
                    .in_range()
                    .map(WireTime)
                    .map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, unix_s: u64) -> Result<WireTime, E> {
                let unix_s =
                    i64::try_from(unix_s).map_err(|_| E::custom(InvalidTimestamp::Range))?;
                self.visit_i64(unix_s)
            }
        }

        deserializer.deserialize_any(WireTimeVisitor)
    }
}

/// Where the present comes from: the system in production, a test's hand in tests.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_wire_forms_name_the_same_instant() {
        let text: WireTime = serde_json::from_str("\"2026-01-31T13:00:00+01:00\"").unwrap();
        let number: WireTime = serde_json::from_str("1769860800").unwrap();
        assert_eq!(text, number);
        assert_eq!(text.0.to_string(), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn fractions_milliseconds_and_prose_are_refused() {
        for wire in [
            "1769860800.5",
            "1769860800000",
            "\"yesterday\"",
            "-1",
            "null",
            "18446744073709551615",
        ] {
            assert!(serde_json::from_str::<WireTime>(wire).is_err(), "{wire}");
        }
    }

    #[test]
    fn an_hour_starts_at_its_first_millisecond() {
        let at = Timestamp::parse_rfc3339("2026-01-31T12:59:59.999Z").unwrap();
        assert_eq!(at.start_of_hour().to_string(), "2026-01-31T12:00:00Z");
        assert_eq!(at.to_string(), "2026-01-31T12:59:59.999Z");
    }
}
