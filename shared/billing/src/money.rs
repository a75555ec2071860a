//! Exact money: decimal prices, whole quantities, one rounding per invoice line.

use std::fmt;
use std::str::FromStr;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use serde::{Deserialize, Deserializer, Serialize};

/// Decimals of a minor unit that Stripe takes (Stripe API reference: Prices,
/// `unit_amount_decimal`).
const UNIT_AMOUNT_DECIMALS_MAX: i64 = 12;

/// Currencies without a minor unit (Stripe documentation: Supported
/// currencies, "Zero-decimal currencies").
const ZERO_DECIMAL: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
/// Currencies with thousandths (the same page, "Three-decimal currencies").
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// A price or currency that cannot be computed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrice {
    /// Not a three-letter code.
    #[error("a currency is a three-letter ISO code in lower case, not {0:?}")]
    Currency(String),
    /// Not a decimal of at most 12 places, or negative.
    #[error("a unit amount is a decimal of at most 12 places, not {0:?}")]
    UnitAmount(String),
}

/// A currency by Stripe's lower-case ISO code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Currency(String);

impl Currency {
    /// Takes a code such as `usd`.
    ///
    /// # Errors
    /// [`InvalidPrice::Currency`] for anything but three lower-case letters.
    pub fn parse(code: &str) -> Result<Self, InvalidPrice> {
        if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(Self(code.to_owned()))
        } else {
            Err(InvalidPrice::Currency(code.to_owned()))
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

    /// The currency.
    pub const fn currency(&self) -> &Currency {
        &self.currency
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

/// The price of one unit, in minor units with up to 12 decimals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPrice {
    unit_amount: BigDecimal,
    currency: Currency,
}

impl UnitPrice {
    /// A price from Stripe's `unit_amount_decimal`, such as `2` or `0.000001`
    /// (of a cent, for `usd`).
    ///
    /// # Errors
    /// [`InvalidPrice::UnitAmount`] for a text that is no such decimal.
    pub fn parse(unit_amount_decimal: &str, currency: Currency) -> Result<Self, InvalidPrice> {
        let refuse = || InvalidPrice::UnitAmount(unit_amount_decimal.to_owned());
        // BigDecimal also reads exponents, whose powers a stranger could choose.
        if !unit_amount_decimal
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'.')
        {
            return Err(refuse());
        }
        let unit_amount = BigDecimal::from_str(unit_amount_decimal).map_err(|_| refuse())?;
        if unit_amount.fractional_digit_count() > UNIT_AMOUNT_DECIMALS_MAX {
            return Err(refuse());
        }
        Ok(Self {
            unit_amount,
            currency,
        })
    }

    /// What `units` cost on one invoice line: exact, then rounded once to whole
    /// minor units, half up, as Stripe does (Stripe documentation: "Rounding",
    /// decimal amounts).
    pub fn line_amount(&self, units: u64) -> Money {
        let exact = &self.unit_amount * BigDecimal::from(units);
        let rounded = exact.with_scale_round(0, RoundingMode::HalfUp);
        let (minor_units, _) = rounded.into_bigint_and_exponent();
        Money {
            minor_units,
            currency: self.currency.clone(),
        }
    }
}

/// The price in major units, exact: `0.02`, `0.00000001`.
impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = i64::from(self.currency.decimals());
        let (digits, scale) = self.unit_amount.normalized().into_bigint_and_exponent();
        let exact = BigDecimal::from_bigint(digits, scale.saturating_add(decimals));
        let scale = exact.fractional_digit_count().max(decimals);
        f.write_str(&exact.with_scale(scale).to_plain_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(unit_amount: &str, currency: &str) -> UnitPrice {
        UnitPrice::parse(unit_amount, Currency::parse(currency).unwrap()).unwrap()
    }

    fn cost(unit_amount: &str, units: u64) -> String {
        price(unit_amount, "usd").line_amount(units).to_string()
    }

    #[test]
    fn two_cents_a_unit() {
        assert_eq!(cost("2", 0), "0.00");
        assert_eq!(cost("2", 5), "0.10");
        assert_eq!(cost("2", 1_005), "20.10");
    }

    #[test]
    fn a_line_is_rounded_once_and_half_up() {
        assert_eq!(cost("0.5", 1), "0.01");
        assert_eq!(cost("0.499999999999", 1), "0.00");
        assert_eq!(cost("0.1", 14), "0.01");
        assert_eq!(cost("0.1", 15), "0.02");
        assert_eq!(cost("0.000000000001", u64::MAX), "184467.44");
    }

    #[test]
    fn minor_units_are_read_back_or_too_many() {
        let two_cents = price("2", "usd");
        assert_eq!(two_cents.line_amount(5).minor_units(), Some(10));
        assert_eq!(two_cents.line_amount(u64::MAX).minor_units(), None);
    }

    #[test]
    fn decimals_follow_the_currency() {
        assert_eq!(price("3", "jpy").line_amount(7).to_string(), "21");
        assert_eq!(price("1500", "kwd").line_amount(2).to_string(), "3.000");
    }

    #[test]
    fn a_price_is_shown_exactly() {
        assert_eq!(price("2", "usd").to_string(), "0.02");
        assert_eq!(price("250.0", "usd").to_string(), "2.50");
        assert_eq!(price("0.000001", "usd").to_string(), "0.00000001");
        assert_eq!(price("3", "jpy").to_string(), "3");
    }

    #[test]
    fn what_stripe_would_not_store_is_refused() {
        let usd = || Currency::parse("usd").unwrap();
        for text in ["", "-1", "1e9", "0.0000000000001", "1,5", "two", "."] {
            assert!(UnitPrice::parse(text, usd()).is_err(), "{text}");
        }
        assert!(Currency::parse("USD").is_err());
        assert!(Currency::parse("us").is_err());
    }

    proptest! {
        /// Against integers of 10^-12 minor units, rounded by hand.
        #[test]
        fn agrees_with_integer_arithmetic(pico in 0_u64..=10_u64.pow(18), units in 0_u64..=1_000_000_000) {
            let text = format!("{}.{:012}", pico / 10_u64.pow(12), pico % 10_u64.pow(12));
            let exact = u128::from(pico) * u128::from(units);
            let rounded = (exact + 500_000_000_000) / 1_000_000_000_000;
            let expected = format!("{}.{:02}", rounded / 100, rounded % 100);
            prop_assert_eq!(cost(&text, units), expected);
        }
    }
}
