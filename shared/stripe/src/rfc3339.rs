//! Times of Stripe's second API, which are RFC 3339 texts.

use serde::{Deserialize, Deserializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `unix_ms` in UTC with its milliseconds, such as `2026-01-31T12:00:00.005Z`;
/// none outside the years 0 to 9999, which RFC 3339 cannot write.
pub(crate) fn from_unix_ms(unix_ms: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

pub(crate) fn to_unix_ms(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// For `#[serde(deserialize_with)]`: milliseconds.
pub(crate) fn unix_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    to_unix_ms(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 time"))
}

/// For `#[serde(deserialize_with)]`: whole seconds, rounded down.
pub(crate) fn unix_s<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    unix_ms(deserializer).map(|unix_ms| unix_ms.div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_went() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_769_860_800_005, "2026-01-31T12:00:00.005Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(from_unix_ms(unix_ms).as_deref(), Some(text));
            assert_eq!(to_unix_ms(text), Some(unix_ms));
        }
        assert_eq!(
            to_unix_ms("2026-01-31T13:00:00.0059+01:00"),
            Some(1_769_860_800_005)
        );
        assert_eq!(from_unix_ms(i64::MAX), None);
        assert_eq!(to_unix_ms("yesterday"), None);
    }
}
