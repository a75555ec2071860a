//! What usage costs: a Stripe price, computed with exactly.
//!
//! An invoice shows a price in lines, and each line is rounded to whole minor
//! units by itself, half up (Stripe documentation: "Decimal amounts", Rounding).
//! A price per unit has one line. A price in tiers has one for the units of each
//! tier, and one for each flat amount: this is how Stripe's invoices show them.

mod terms;

use std::fmt;
use std::str::FromStr;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode};
use serde::{Deserialize, Serialize};

use crate::money::{Currency, ExactAmount, Money, in_major_units};

pub use terms::{InvalidPrice, PriceTerms, TierTerms};

/// A price that can be computed with. Its serialised form is that of
/// [`PriceTerms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PriceTerms", into = "PriceTerms")]
pub struct Price {
    currency: Currency,
    scheme: Scheme,
}

/// Amounts are in minor units, with up to 12 decimals.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    /// One amount for each unit, or for each package of units.
    PerUnit {
        unit_amount: BigDecimal,
        transform_quantity: Option<TransformQuantity>,
    },
    /// Amounts that depend on how many units there are.
    Tiered { mode: TiersMode, tiers: Vec<Tier> },
}

/// How tiers apply (Stripe API reference: Prices, `tiers_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiersMode {
    /// Each unit costs what the tier says that it falls into.
    Graduated,
    /// All units cost what the tier says that the last one falls into.
    Volume,
}

/// Packages of units (Stripe API reference: Prices, `transform_quantity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformQuantity {
    /// Units in a package.
    pub divide_by: u64,
    /// Whether a begun package counts.
    pub round: Round,
}

/// What a begun package counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Round {
    /// As a whole one.
    Up,
    /// Nothing.
    Down,
}

/// The units up to `up_to`, inclusive, from the tier before on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tier {
    /// None for the last tier.
    up_to: Option<u64>,
    unit_amount: Option<BigDecimal>,
    flat_amount: Option<BigDecimal>,
}

/// Why usage of a part of a period, or of several, has no defined cost: what a
/// unit costs depends on the others of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoRangeCost {
    /// The price is in tiers.
    Tiers,
    /// The price is for packages of units.
    TransformQuantity,
}

impl FromStr for TiersMode {
    type Err = InvalidPrice;

    fn from_str(word: &str) -> Result<Self, InvalidPrice> {
        match word {
            "graduated" => Ok(Self::Graduated),
            "volume" => Ok(Self::Volume),
            _ => Err(InvalidPrice::TiersMode(word.to_owned())),
        }
    }
}

impl TiersMode {
    /// Stripe's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graduated => "graduated",
            Self::Volume => "volume",
        }
    }
}

impl FromStr for Round {
    type Err = InvalidPrice;

    fn from_str(word: &str) -> Result<Self, InvalidPrice> {
        match word {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            _ => Err(InvalidPrice::Round(word.to_owned())),
        }
    }
}

impl Round {
    /// Stripe's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Price {
    /// Its currency.
    pub const fn currency(&self) -> &Currency {
        &self.currency
    }

    /// What the `units` of one billing period cost: each line exact, then
    /// rounded once to whole minor units, half up.
    ///
    /// Without usage the first tier's flat amount is owed all the same.
    pub fn cost(&self, units: u64) -> Money {
        let lines = self.lines(units);
        let minor_units: BigInt = lines.iter().map(rounded).sum();
        Money::new(minor_units, self.currency.clone())
    }

    /// What `units` cost that are not those of exactly one billing period.
    ///
    /// # Errors
    /// [`NoRangeCost`] where it depends on the rest of their periods.
    pub fn cost_of_range(&self, units: u64) -> Result<Money, NoRangeCost> {
        self.unit_amount().map(|_| self.cost(units))
    }

    /// What `units` add to the line of their period, before that is rounded: the
    /// parts of a period come to what the whole does.
    ///
    /// # Errors
    /// As [`cost_of_range`](Self::cost_of_range).
    pub fn exact_cost(&self, units: u64) -> Result<ExactAmount, NoRangeCost> {
        let exact = self.unit_amount()? * BigDecimal::from(units);
        Ok(ExactAmount::new(exact, self.currency.clone()))
    }

    /// What each unit costs, whatever the others are.
    fn unit_amount(&self) -> Result<&BigDecimal, NoRangeCost> {
        match &self.scheme {
            Scheme::PerUnit {
                unit_amount,
                transform_quantity: None,
            } => Ok(unit_amount),
            Scheme::PerUnit { .. } => Err(NoRangeCost::TransformQuantity),
            Scheme::Tiered { .. } => Err(NoRangeCost::Tiers),
        }
    }

    /// The most that any number of units of a period costs, from `fewest` to `most`.
    /// In tiers by volume more units may cost less.
    pub fn dearest(&self, fewest: u64, most: u64) -> Money {
        let within = self
            .ends_of_volume_tiers()
            .filter(|end| (fewest..most).contains(end));
        let costs = within.map(|units| self.cost(units));
        costs.fold(self.cost(most), |dearest, cost| {
            if cost.is_more_than(&dearest) == Some(true) {
                cost
            } else {
                dearest
            }
        })
    }

    /// The least that any number of units of a period costs, from `fewest` to `most`: by
    /// volume the first units of a tier may cost less than the last ones of the tier before.
    pub fn cheapest(&self, fewest: u64, most: u64) -> Money {
        let within = self
            .ends_of_volume_tiers()
            .filter(|end| (fewest..most).contains(end));
        let costs = within.map(|end| self.cost(end + 1));
        costs.fold(self.cost(fewest), |cheapest, cost| {
            if cheapest.is_more_than(&cost) == Some(true) {
                cost
            } else {
                cheapest
            }
        })
    }

    /// After how many units a period's price changes for all of them.
    fn ends_of_volume_tiers(&self) -> impl Iterator<Item = u64> {
        let tiers = match &self.scheme {
            Scheme::Tiered {
                mode: TiersMode::Volume,
                tiers,
            } => tiers.as_slice(),
            Scheme::Tiered { .. } | Scheme::PerUnit { .. } => &[],
        };
        tiers.iter().filter_map(|tier| tier.up_to)
    }

    /// The exact amounts of the lines of an invoice.
    fn lines(&self, units: u64) -> Vec<BigDecimal> {
        match &self.scheme {
            Scheme::PerUnit {
                unit_amount,
                transform_quantity,
            } => {
                let counted = transform_quantity.map_or(units, |transform| transform.apply(units));
                vec![unit_amount * BigDecimal::from(counted)]
            }
            Scheme::Tiered {
                mode: TiersMode::Graduated,
                tiers,
            } => graduated(tiers, units),
            Scheme::Tiered {
                mode: TiersMode::Volume,
                tiers,
            } => {
                let tier = tiers.iter().find(|tier| tier.reaches(units));
                tier.map(|tier| tier.lines(units)).unwrap_or_default()
            }
        }
    }
}

fn graduated(tiers: &[Tier], units: u64) -> Vec<BigDecimal> {
    let mut lines = Vec::new();
    let mut below = 0;
    for tier in tiers {
        let reach = tier.up_to.map_or(units, |up_to| up_to.min(units));
        lines.extend(tier.lines(reach.saturating_sub(below)));
        if tier.reaches(units) {
            break;
        }
        below = reach;
    }
    lines
}

fn rounded(exact: &BigDecimal) -> BigInt {
    let rounded = exact.with_scale_round(0, RoundingMode::HalfUp);
    rounded.into_bigint_and_exponent().0
}

impl TransformQuantity {
    /// Packages in `units`.
    const fn apply(self, units: u64) -> u64 {
        match self.round {
            Round::Up => units.div_ceil(self.divide_by),
            Round::Down => units / self.divide_by,
        }
    }
}

impl Tier {
    /// Whether the last of `units` lies in it, or below.
    fn reaches(&self, units: u64) -> bool {
        self.up_to.is_none_or(|up_to| units <= up_to)
    }

    /// The line of `units` of it, and that of its flat amount.
    fn lines(&self, units: u64) -> Vec<BigDecimal> {
        let unit_amount = self.unit_amount.iter();
        unit_amount
            .map(|unit_amount| unit_amount * BigDecimal::from(units))
            .chain(self.flat_amount.clone())
            .collect()
    }
}

/// For people, in major units: `0.02 usd a unit`.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let major = |amount| in_major_units(amount, &self.currency);
        let currency = self.currency.as_str();
        match &self.scheme {
            Scheme::PerUnit {
                unit_amount,
                transform_quantity: None,
            } => write!(f, "{} {currency} a unit", major(unit_amount)),
            Scheme::PerUnit {
                unit_amount,
                transform_quantity: Some(transform),
            } => {
                let (amount, divide_by) = (major(unit_amount), transform.divide_by);
                let counts = match transform.round {
                    Round::Up => "begun ones too",
                    Round::Down => "full ones only",
                };
                write!(f, "{amount} {currency} for {divide_by} units, {counts}")
            }
            Scheme::Tiered { mode, tiers } => {
                write!(f, "{} tiers in {currency}:", mode.as_str())?;
                for (index, tier) in tiers.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    let unit_amount = tier.unit_amount.as_ref().map_or_else(|| "0".into(), major);
                    match tier.up_to {
                        Some(up_to) => write!(f, "{comma} up to {up_to} {unit_amount} a unit")?,
                        None => write!(f, "{comma} beyond {unit_amount} a unit")?,
                    }
                    if let Some(flat_amount) = &tier.flat_amount {
                        write!(f, " and {}", major(flat_amount))?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
