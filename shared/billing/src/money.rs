//! Amounts of money as invoices hold them: whole minor units of a currency.

use std::fmt;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use serde::{Deserialize, Deserializer, Serialize};

/// Currencies without a minor unit (Stripe documentation: Supported
/// currencies, "Zero-decimal currencies").
const ZERO_DECIMAL: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
/// Currencies with thousandths (the same page, "Three-decimal currencies").
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Not a three-letter code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a currency is a three-letter ISO code in lower case, not {0:?}")]
pub struct InvalidCurrency(String);

/// A currency by Stripe's lower-case ISO code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Currency(String);

impl Currency {
    /// Takes a code such as `usd`.
    ///
    /// # Errors
    /// [`InvalidCurrency`] for anything but three lower-case letters.
    pub fn parse(code: &str) -> Result<Self, InvalidCurrency> {
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(Self(code.to_owned()))
        } else {
            Err(InvalidCurrency(code.to_owned()))
        }
    }

    /// The code, such as `usd`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many decimals an amount of it is written with.
    pub fn decimals(&self) -> u8 {
        if ZERO_DECIMAL.contains(&self.as_str()) {
            0
        } else if THREE_DECIMAL.contains(&self.as_str()) {
            3
        } else {
            2
        }
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).map_err(serde::de::Error::custom)
    }
}

/// An amount in whole minor units (cents for `usd`), as invoices hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    minor_units: BigInt,
    currency: Currency,
}

impl Money {
    /// `minor_units` of `currency`, as Stripe gives amounts.
    pub fn from_minor_units(minor_units: i64, currency: Currency) -> Self {
        Self {
            minor_units: BigInt::from(minor_units),
            currency,
        }
    }

    /// An amount of `currency` from a decimal text in major units, such as `20.1`;
    /// none for a text that has a sign, an exponent or more decimals than the
    /// currency.
    pub fn parse(text: &str, currency: Currency) -> Option<Self> {
        // Longer ones are beyond every amount, and a stranger's work to do.
        const DIGITS_MAX: usize = 40;
        let (major, minor) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        let decimals = usize::from(currency.decimals());
        let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
        let is_amount = !major.is_empty() && is_number(major) && is_number(minor);
        if !is_amount || text.len() > DIGITS_MAX || minor.len() > decimals {
            return None;
        }
        let digits = format!("{major}{minor:0<decimals$}");
        Some(Self::new(digits.parse().ok()?, currency))
    }

    pub(crate) const fn new(minor_units: BigInt, currency: Currency) -> Self {
        Self {
            minor_units,
            currency,
        }
    }

    /// The currency.
    pub const fn currency(&self) -> &Currency {
        &self.currency
    }

    /// Both amounts together; none where they are of two currencies.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        (self.currency == other.currency).then(|| {
            Self::new(
                &self.minor_units + &other.minor_units,
                self.currency.clone(),
            )
        })
    }

    /// What is left of this amount without `other`, which may be negative; none
    /// where they are of two currencies.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        (self.currency == other.currency).then(|| {
            Self::new(
                &self.minor_units - &other.minor_units,
                self.currency.clone(),
            )
        })
    }

    /// How much of `whole` this is, in percent, rounded down; nothing where it is
    /// negative. None where they are of two currencies, or the whole is nothing.
    pub fn percent_of(&self, whole: &Self) -> Option<u64> {
        if self.currency != whole.currency || whole.minor_units <= BigInt::ZERO {
            return None;
        }
        let percent = (&self.minor_units * BigInt::from(100)) / &whole.minor_units;
        let is_negative = percent < BigInt::ZERO;
        let most = if is_negative { 0 } else { u64::MAX };
        Some(u64::try_from(&percent).unwrap_or(most))
    }

    /// Whether this is more than `other`; none where they are of two currencies.
    pub fn is_more_than(&self, other: &Self) -> Option<bool> {
        (self.currency == other.currency).then(|| self.minor_units > other.minor_units)
    }

    /// The minor units; none where they are more than Stripe's amounts hold.
    pub fn minor_units(&self) -> Option<i64> {
        i64::try_from(&self.minor_units).ok()
    }
}

/// The amount in major units with the currency's decimals: `20.10`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = i64::from(self.currency.decimals());
        let major = BigDecimal::from_bigint(self.minor_units.clone(), decimals);
        f.write_str(&major.to_plain_string())
    }
}

/// An amount of a currency to its last fraction, as prices make it and before an
/// invoice rounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactAmount {
    minor_units: BigDecimal,
    currency: Currency,
}

impl ExactAmount {
    pub(crate) const fn new(minor_units: BigDecimal, currency: Currency) -> Self {
        Self {
            minor_units,
            currency,
        }
    }

    /// No amount of `currency`.
    pub fn nothing(currency: Currency) -> Self {
        Self::new(BigDecimal::from(0), currency)
    }

    /// Both amounts together; none where they are of two currencies.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        (self.currency == other.currency).then(|| {
            Self::new(
                &self.minor_units + &other.minor_units,
                self.currency.clone(),
            )
        })
    }
}

/// In major units, with the currency's decimals and as many more as it takes:
/// `20.10`, `0.0025`.
impl fmt::Display for ExactAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_major_units(&self.minor_units, &self.currency))
    }
}

/// A decimal amount of minor units in major units, exact: `0.02`, `0.00000001`.
pub(crate) fn in_major_units(minor_units: &BigDecimal, currency: &Currency) -> String {
    let decimals = i64::from(currency.decimals());
    let (digits, scale) = minor_units.normalized().into_bigint_and_exponent();
    let exact = BigDecimal::from_bigint(digits, scale.saturating_add(decimals));
    let scale = exact.fractional_digit_count().max(decimals);
    exact.with_scale(scale).to_plain_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor_units: i64, currency: &str) -> Money {
        Money::from_minor_units(minor_units, Currency::parse(currency).unwrap())
    }

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(money(2_010, "usd").to_string(), "20.10");
        assert_eq!(money(-5, "usd").to_string(), "-0.05");
        assert_eq!(money(21, "jpy").to_string(), "21");
        assert_eq!(money(3_000, "kwd").to_string(), "3.000");
    }

    #[test]
    fn amounts_of_one_currency_add_up() {
        let sum = money(i64::MAX, "usd").checked_add(&money(1, "usd"));
        assert_eq!(sum.unwrap().to_string(), "92233720368547758.08");
        assert_eq!(money(1, "usd").checked_add(&money(1, "eur")), None);
    }

    #[test]
    fn a_currency_is_three_small_letters() {
        for code in ["USD", "us", "usdt", "u$d", ""] {
            assert!(Currency::parse(code).is_err(), "{code}");
        }
    }

    #[test]
    fn amounts_beyond_stripes_are_known_as_such() {
        let currency = Currency::parse("usd").unwrap();
        let most = Money::new(BigInt::from(i64::MAX), currency.clone());
        assert_eq!(most.minor_units(), Some(i64::MAX));
        let more = Money::new(BigInt::from(i64::MAX) + 1, currency);
        assert_eq!(more.minor_units(), None);
    }
}
