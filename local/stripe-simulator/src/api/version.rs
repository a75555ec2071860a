//! API versions (Stripe API reference: Versioning).

use super::error::{Result, StripeError};

/// The version that a request without `Stripe-Version` gets, and events are rendered in.
pub(crate) const DEFAULT_VERSION: &str = "2026-06-24.dahlia";

/// The releases' names; before the first, a version was a date alone.
const RELEASES: [&str; 5] = ["acacia", "basil", "clover", "dahlia", "endive"];
const FIRST_RELEASE: &str = "2024-09-30";
const BASIL: &str = "2025-03-31";
const CLOVER: &str = "2025-09-30";

/// A version, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version(String);

impl Version {
    pub(crate) fn newest() -> Self {
        Self(DEFAULT_VERSION.to_owned())
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (date, release) = match text.split_once('.') {
            Some((date, release)) => (date, Some(release)),
            None => (text, None),
        };
        let known = match release {
            Some(release) => {
                date >= FIRST_RELEASE && (RELEASES.contains(&release) || release == "preview")
            }
            None => date < FIRST_RELEASE,
        };
        if is_date(date) && known {
            return Ok(Self(text.to_owned()));
        }
        let message = format!("Invalid Stripe API version: {text}");
        Err(StripeError::invalid(message).not_remembered())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether subscriptions still have the period themselves, and invoices their subscription.
    pub(crate) fn is_before_basil(&self) -> bool {
        self.is_before(BASIL)
    }

    /// Whether the billing mode of a new subscription is still `classic` unless it is named.
    pub(crate) fn is_before_clover(&self) -> bool {
        self.is_before(CLOVER)
    }

    fn is_before(&self, release: &str) -> bool {
        self.0
            .get(..release.len())
            .is_some_and(|date| date < release)
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_dates_with_a_known_name() {
        for good in ["2026-06-24.dahlia", "2025-02-24.acacia", "2023-10-16"] {
            assert!(Version::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "dahlia",
            "2026-06-24",
            "2026-06-24.tulip",
            "",
            "2026-6-24.dahlia",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn acacia_is_before_basil() {
        let acacia = Version::parse("2025-02-24.acacia").unwrap();
        assert!(acacia.is_before_basil());
        assert!(!Version::newest().is_before_basil());
    }
}
