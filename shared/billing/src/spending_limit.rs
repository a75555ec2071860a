//! How much a customer may use in a billing period, and when its operator is
//! told: in units, or in money of the customer's currency.

use serde::{Deserialize, Serialize};

use crate::money::{Currency, Money};
use crate::time::Timestamp;
use crate::usage_event::FieldError;

/// Thresholds that are told of where none are named.
pub const THRESHOLDS_DEFAULT: [u16; 3] = [50, 80, 100];
/// Thresholds of a limit, at most.
pub const THRESHOLDS_MAX: usize = 10;
/// The highest threshold, in percent of the limit.
pub const THRESHOLD_PERCENT_MAX: u16 = 1_000;
/// The largest limit in units: JSON readers that hold numbers as doubles still
/// have it exactly.
pub const LIMIT_UNITS_MAX: u64 = 1_000_000_000_000_000;
/// The largest limit in minor units, for the same reason.
pub const LIMIT_MINOR_UNITS_MAX: i64 = 100_000_000_000_000;

/// What happens where a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// `access` says no, and nothing more can be reserved. What happens all the
    /// same is recorded and billed.
    Hard,
    /// The operator is told, and nobody is stopped.
    Soft,
}

impl Enforcement {
    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
        }
    }
}

/// The most that a period may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// Units of every meter together.
    Units(u64),
    /// What they cost on the invoice.
    Amount {
        /// In the currency's minor units.
        minor_units: i64,
        /// That of the customer's prices.
        currency: Currency,
    },
}

impl Cap {
    /// The amount, where it is one.
    pub fn money(&self) -> Option<Money> {
        match self {
            Self::Units(_) => None,
            Self::Amount {
                minor_units,
                currency,
            } => Some(Money::from_minor_units(*minor_units, currency.clone())),
        }
    }

    /// How much of it `units` that cost `cost` are, in percent, rounded down.
    /// None where it is in another currency than the cost.
    pub fn used_percent(&self, units: u64, cost: &Money) -> Option<u64> {
        match self {
            Self::Units(most) => {
                let percent = u128::from(units).saturating_mul(100) / u128::from(*most).max(1);
                Some(u64::try_from(percent).unwrap_or(u64::MAX))
            }
            Self::Amount { .. } => cost.percent_of(&self.money()?),
        }
    }

    /// Whether `units` that cost `cost` are more than it. None where it is in
    /// another currency.
    pub fn is_exceeded(&self, units: u64, cost: &Money) -> Option<bool> {
        match self {
            Self::Units(most) => Some(units > *most),
            Self::Amount { .. } => cost.is_more_than(&self.money()?),
        }
    }
}

/// A customer's limit for each billing period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendingLimit {
    /// How much.
    pub cap: Cap,
    /// What happens there.
    pub enforcement: Enforcement,
    /// At how much of it the operator is told, in percent: ascending, each once.
    pub thresholds_percent: Vec<u16>,
    /// Names this setting of the limit among all of the customer's, so that what
    /// was told of one is not taken for what is to be told of another.
    pub revision: u64,
    /// When it was set.
    pub set_at: Timestamp,
}

impl SpendingLimit {
    /// Whether it asks for the same as `other`, whenever either was set.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let of = |limit: &Self| {
            let Self {
                cap,
                enforcement,
                thresholds_percent,
                ..
            } = limit.clone();
            (cap, enforcement, thresholds_percent)
        };
        of(self) == of(other)
    }
}

/// A limit as an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitTerms {
    /// The most units of a period; or none, and an amount.
    pub units: Option<u64>,
    /// The most that a period may cost: a decimal text in major units.
    pub amount: Option<String>,
    /// The amount's currency; else the customer's.
    pub currency: Option<String>,
    /// What happens where it is reached.
    pub enforcement: Enforcement,
    /// Percentages to be told of; else [`THRESHOLDS_DEFAULT`].
    pub thresholds_percent: Option<Vec<u16>>,
}

impl LimitTerms {
    /// The limit of a customer who pays in `currency`.
    ///
    /// # Errors
    /// A [`FieldError`] for what cannot be a limit of this customer's.
    pub fn limit(
        &self,
        currency: &Currency,
        revision: u64,
        set_at: Timestamp,
    ) -> Result<SpendingLimit, FieldError> {
        Ok(SpendingLimit {
            cap: self.cap(currency)?,
            enforcement: self.enforcement,
            thresholds_percent: self.thresholds()?,
            revision,
            set_at,
        })
    }

    fn cap(&self, currency: &Currency) -> Result<Cap, FieldError> {
        let named = self.currency.as_deref();
        match (self.units, &self.amount) {
            (Some(_), None) if named.is_some() => {
                let reason = "has a meaning with an amount only";
                Err(FieldError::new("currency", reason))
            }
            (Some(units), None) if (1..=LIMIT_UNITS_MAX).contains(&units) => Ok(Cap::Units(units)),
            (Some(_), None) => {
                let reason = format!("must be a whole number from 1 to {LIMIT_UNITS_MAX}");
                Err(FieldError::new("units", reason))
            }
            (None, Some(_)) if named.is_some_and(|named| named != currency.as_str()) => {
                let reason = format!("must be the customer's: {}", currency.as_str());
                Err(FieldError::new("currency", reason))
            }
            (None, Some(amount)) => {
                let minor_units = Money::parse(amount, currency.clone());
                let minor_units = minor_units.and_then(|money| money.minor_units());
                match minor_units.filter(|it| (1..=LIMIT_MINOR_UNITS_MAX).contains(it)) {
                    Some(minor_units) => Ok(Cap::Amount {
                        minor_units,
                        currency: currency.clone(),
                    }),
                    None => Err(FieldError::new("amount", amount_reason(currency))),
                }
            }
            (None, None) | (Some(_), Some(_)) => {
                let reason = "or amount is needed, and not both";
                Err(FieldError::new("units", reason))
            }
        }
    }

    fn thresholds(&self) -> Result<Vec<u16>, FieldError> {
        let named = self.thresholds_percent.as_deref();
        let mut thresholds = named.unwrap_or(&THRESHOLDS_DEFAULT).to_vec();
        thresholds.sort_unstable();
        let asked = thresholds.len();
        thresholds.dedup();
        let in_range = |percent: &u16| (1..=THRESHOLD_PERCENT_MAX).contains(percent);
        if asked > THRESHOLDS_MAX || thresholds.len() < asked || !thresholds.iter().all(in_range) {
            let reason = format!(
                "must be at most {THRESHOLDS_MAX} whole numbers from 1 to {THRESHOLD_PERCENT_MAX}, \
                 each once"
            );
            return Err(FieldError::new("thresholds_percent", reason));
        }
        Ok(thresholds)
    }
}

fn amount_reason(currency: &Currency) -> String {
    let code = currency.as_str();
    let most = Money::from_minor_units(LIMIT_MINOR_UNITS_MAX, currency.clone());
    match currency.decimals() {
        0 => format!("must be a text of a whole amount of {code}, more than 0, at most {most}"),
        decimals => format!(
            "must be a decimal text in {code} with at most {decimals} decimals, more than 0, at \
             most {most}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    fn units(units: u64) -> LimitTerms {
        LimitTerms {
            units: Some(units),
            amount: None,
            currency: None,
            enforcement: Enforcement::Hard,
            thresholds_percent: None,
        }
    }

    fn amount(text: &str) -> LimitTerms {
        LimitTerms {
            units: None,
            amount: Some(text.to_owned()),
            ..units(1)
        }
    }

    fn refused_field(terms: &LimitTerms, code: &str) -> &'static str {
        terms.limit(&currency(code), 1, NOW).unwrap_err().field
    }

    #[test]
    fn a_limit_is_in_units_or_in_the_customers_money() {
        let limit = units(1_000).limit(&currency("usd"), 7, NOW).unwrap();
        assert_eq!(limit.cap, Cap::Units(1_000));
        assert_eq!(limit.thresholds_percent, THRESHOLDS_DEFAULT);
        for (text, code, minor_units) in [
            ("50", "usd", 5_000),
            ("50.5", "usd", 5_050),
            ("0.01", "usd", 1),
            ("50", "jpy", 50),
            ("0.005", "kwd", 5),
        ] {
            let limit = amount(text).limit(&currency(code), 7, NOW).unwrap();
            let money = limit.cap.money().unwrap();
            assert_eq!(money.minor_units(), Some(minor_units), "{text} {code}");
        }
    }

    #[test]
    fn what_cannot_be_a_limit_is_refused_by_its_field() {
        for text in [
            "",
            "0",
            "0.00",
            "-1",
            "+1",
            "1e3",
            "1.",
            ".5",
            "0.001",
            "1,000",
            "1 000",
            "٣",
            "1000000000000.01",
            &"9".repeat(400),
        ] {
            assert_eq!(refused_field(&amount(text), "usd"), "amount", "{text}");
        }
        assert_eq!(refused_field(&amount("0.5"), "jpy"), "amount");
        for most in [0, LIMIT_UNITS_MAX + 1, u64::MAX] {
            assert_eq!(refused_field(&units(most), "usd"), "units");
        }
        let mut both = amount("5");
        both.units = Some(5);
        assert_eq!(refused_field(&both, "usd"), "units");
        let neither = LimitTerms {
            units: None,
            ..units(1)
        };
        assert_eq!(refused_field(&neither, "usd"), "units");
        let foreign = LimitTerms {
            currency: Some("eur".to_owned()),
            ..amount("5")
        };
        assert_eq!(refused_field(&foreign, "usd"), "currency");
        let useless = LimitTerms {
            currency: Some("usd".to_owned()),
            ..units(5)
        };
        assert_eq!(refused_field(&useless, "usd"), "currency");
        for thresholds in [vec![0], vec![1_001], vec![50, 50], (1..=11).collect()] {
            let terms = LimitTerms {
                thresholds_percent: Some(thresholds),
                ..units(5)
            };
            assert_eq!(refused_field(&terms, "usd"), "thresholds_percent");
        }
    }

    #[test]
    fn thresholds_are_kept_in_order_and_may_be_none() {
        for (named, kept) in [(vec![100, 1, 1_000], vec![1, 100, 1_000]), (vec![], vec![])] {
            let terms = LimitTerms {
                thresholds_percent: Some(named),
                ..units(5)
            };
            let limit = terms.limit(&currency("usd"), 1, NOW).unwrap();
            assert_eq!(limit.thresholds_percent, kept);
        }
    }

    #[test]
    fn a_percentage_is_never_rounded_up_and_never_overflows() {
        let free = Money::from_minor_units(0, currency("usd"));
        for (most, used, percent) in [
            (3, 2, 66),
            (1_000, 999, 99),
            (1_000, 1_000, 100),
            (1, u64::MAX, u64::MAX),
            (LIMIT_UNITS_MAX, LIMIT_UNITS_MAX, 100),
        ] {
            assert_eq!(Cap::Units(most).used_percent(used, &free), Some(percent));
        }
        let cap = amount("50.00").limit(&currency("usd"), 1, NOW).unwrap().cap;
        let cost = |minor_units, code| Money::from_minor_units(minor_units, currency(code));
        assert_eq!(cap.used_percent(7, &cost(4_999, "usd")), Some(99));
        assert_eq!(cap.used_percent(7, &cost(5_000, "usd")), Some(100));
        assert_eq!(cap.used_percent(7, &cost(5_000, "eur")), None);
        assert_eq!(cap.is_exceeded(7, &cost(5_000, "usd")), Some(false));
        assert_eq!(cap.is_exceeded(7, &cost(5_001, "usd")), Some(true));
    }
}
