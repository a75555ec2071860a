//! A price in Stripe's words, and which words make a price.

use std::str::FromStr;

use bigdecimal::BigDecimal;
use serde::{Deserialize, Serialize};

use super::{Price, Scheme, Tier, TiersMode, TransformQuantity};
use crate::money::{Currency, InvalidCurrency};

/// Decimals of a minor unit that Stripe takes (Stripe API reference: Prices,
/// `unit_amount_decimal`).
const DECIMALS_MAX: i64 = 12;

/// A price by the fields that Stripe's API has for it (Stripe API reference:
/// Prices). Amounts are decimal texts in minor units: `2` is $0.02.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceTerms {
    /// Three lower-case letters.
    pub currency: String,
    /// What a unit, or a package of units, costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_amount_decimal: Option<String>,
    /// Packages of units rather than units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform_quantity: Option<TransformQuantity>,
    /// How the tiers apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers_mode: Option<TiersMode>,
    /// The tiers, from the first unit on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<TierTerms>,
}

/// One tier by Stripe's fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierTerms {
    /// Its last unit; none for the last tier (`inf`).
    pub up_to: Option<u64>,
    /// What a unit in it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_amount_decimal: Option<String>,
    /// What is owed as soon as the tier is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat_amount_decimal: Option<String>,
}

impl PriceTerms {
    /// One amount for each unit: `2` and `usd` are $0.02.
    pub fn per_unit(unit_amount_decimal: &str, currency: &str) -> Self {
        Self {
            currency: currency.to_owned(),
            unit_amount_decimal: Some(unit_amount_decimal.to_owned()),
            ..Self::default()
        }
    }
}

/// A price that Stripe would not have, or that cannot be computed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrice {
    /// The currency is none.
    #[error(transparent)]
    Currency(#[from] InvalidCurrency),
    /// Not a decimal of at most 12 places, or negative.
    #[error("an amount is a decimal of at most 12 places and not negative, not {0:?}")]
    Amount(String),
    /// Neither an amount per unit nor tiers.
    #[error("a price has an amount per unit, or tiers")]
    NoAmount,
    /// Both of them.
    #[error("a price has an amount per unit or tiers, not both")]
    AmountAndTiers,
    /// Tiers that could apply in two ways.
    #[error("tiers are graduated or volume: a tiers_mode is missing")]
    NoTiersMode,
    /// A mode for no tiers.
    #[error("a tiers_mode is for tiers, and there are none")]
    NoTiers,
    /// The combination that Stripe refuses.
    #[error("transform_quantity goes with one amount per unit, not with tiers")]
    TransformedTiers,
    /// Neither `graduated` nor `volume`.
    #[error("tiers are graduated or volume, not {0:?}")]
    TiersMode(String),
    /// Neither `up` nor `down`.
    #[error("begun packages are rounded up or down, not {0:?}")]
    Round(String),
    /// Packages of nothing.
    #[error("divide_by is 1 or more")]
    DivideBy,
    /// A tier, counted from 1, that no unit falls into.
    #[error("tier {0} ends where the one before it does, or before")]
    TierOrder(usize),
    /// A tier, counted from 1, after one without end.
    #[error("tier {0} has no end, and is not the last")]
    EndlessTier(usize),
    /// Usage beyond the last tier.
    #[error("the last tier has an end: up_to must be inf there")]
    LastTier,
}

impl TryFrom<PriceTerms> for Price {
    type Error = InvalidPrice;

    fn try_from(terms: PriceTerms) -> Result<Self, InvalidPrice> {
        let currency = Currency::parse(&terms.currency)?;
        let scheme = match (terms.unit_amount_decimal, terms.tiers_mode) {
            (Some(_), Some(_)) => return Err(InvalidPrice::AmountAndTiers),
            (Some(_), None) if !terms.tiers.is_empty() => return Err(InvalidPrice::AmountAndTiers),
            (None, None) if !terms.tiers.is_empty() => return Err(InvalidPrice::NoTiersMode),
            (None, None) => return Err(InvalidPrice::NoAmount),
            (None, Some(_)) if terms.tiers.is_empty() => return Err(InvalidPrice::NoTiers),
            (None, Some(_)) if terms.transform_quantity.is_some() => {
                return Err(InvalidPrice::TransformedTiers);
            }
            (None, Some(mode)) => Scheme::Tiered {
                mode,
                tiers: tiers(&terms.tiers)?,
            },
            (Some(unit_amount), None) => Scheme::PerUnit {
                unit_amount: amount(&unit_amount)?,
                transform_quantity: checked(terms.transform_quantity)?,
            },
        };
        Ok(Self { currency, scheme })
    }
}

fn checked(
    transform: Option<TransformQuantity>,
) -> Result<Option<TransformQuantity>, InvalidPrice> {
    match transform {
        Some(TransformQuantity { divide_by: 0, .. }) => Err(InvalidPrice::DivideBy),
        transform => Ok(transform),
    }
}

fn tiers(terms: &[TierTerms]) -> Result<Vec<Tier>, InvalidPrice> {
    let mut tiers = Vec::with_capacity(terms.len());
    let mut below = 0;
    for (number, tier) in (1..).zip(terms) {
        match tier.up_to {
            Some(_) if number == terms.len() => return Err(InvalidPrice::LastTier),
            Some(up_to) if up_to <= below => return Err(InvalidPrice::TierOrder(number)),
            Some(up_to) => below = up_to,
            None if number < terms.len() => return Err(InvalidPrice::EndlessTier(number)),
            None => {}
        }
        tiers.push(Tier {
            up_to: tier.up_to,
            unit_amount: tier
                .unit_amount_decimal
                .as_deref()
                .map(amount)
                .transpose()?,
            flat_amount: tier
                .flat_amount_decimal
                .as_deref()
                .map(amount)
                .transpose()?,
        });
    }
    Ok(tiers)
}

fn amount(text: &str) -> Result<BigDecimal, InvalidPrice> {
    let refuse = || InvalidPrice::Amount(text.to_owned());
    // BigDecimal also reads exponents, whose powers a stranger could choose.
    if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(refuse());
    }
    let amount = BigDecimal::from_str(text).map_err(|_| refuse())?;
    if amount.fractional_digit_count() > DECIMALS_MAX {
        return Err(refuse());
    }
    Ok(amount)
}

impl From<Price> for PriceTerms {
    fn from(price: Price) -> Self {
        let currency = price.currency.as_str().to_owned();
        match price.scheme {
            Scheme::PerUnit {
                unit_amount,
                transform_quantity,
            } => Self {
                currency,
                unit_amount_decimal: Some(plain(&unit_amount)),
                transform_quantity,
                ..Self::default()
            },
            Scheme::Tiered { mode, tiers } => Self {
                currency,
                tiers_mode: Some(mode),
                tiers: tiers
                    .iter()
                    .map(|tier| TierTerms {
                        up_to: tier.up_to,
                        unit_amount_decimal: tier.unit_amount.as_ref().map(plain),
                        flat_amount_decimal: tier.flat_amount.as_ref().map(plain),
                    })
                    .collect(),
                ..Self::default()
            },
        }
    }
}

fn plain(amount: &BigDecimal) -> String {
    amount.normalized().to_plain_string()
}
