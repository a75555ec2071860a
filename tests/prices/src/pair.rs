//! A price of any kind, and usage of it.

use std::fmt;

use billing::{Price, PriceTerms, Round, TierTerms, TiersMode, TransformQuantity};
use fastrand::Rng;

/// With two decimals, none, and three.
const CURRENCIES: [&str; 8] = ["usd", "eur", "gbp", "jpy", "krw", "xof", "kwd", "bhd"];
const TIERS_MAX: usize = 6;
/// Stripe's amounts have 12 digits; an invoice beyond is none that it would make.
const MINOR_UNITS_MAX: i64 = 999_999_999_999 / 3;

/// A price and the units of one period.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The price.
    pub terms: PriceTerms,
    /// The units.
    pub units: u64,
    /// The units by the events that bring them.
    pub events: Vec<u64>,
}

impl Pair {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let currency = CURRENCIES[rng.usize(..CURRENCIES.len())];
        Self::random_in(rng, currency)
    }

    /// One whose price is in `currency`.
    pub(crate) fn random_in(rng: &mut Rng, currency: &str) -> Self {
        let terms = price(rng, currency);
        let units = units(rng, &terms);
        let units = billable(&terms, units);
        let events = events(rng, units);
        Self {
            terms,
            units,
            events,
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units at ", self.units)?;
        match Price::try_from(self.terms.clone()) {
            Ok(price) => write!(f, "{price}"),
            Err(error) => write!(f, "{:?}, which is no price: {error}", self.terms),
        }
    }
}

fn price(rng: &mut Rng, currency: &str) -> PriceTerms {
    let terms = PriceTerms::per_unit(&amount(rng), currency);
    match rng.u8(..5) {
        0 | 1 => terms,
        2 => PriceTerms {
            transform_quantity: Some(TransformQuantity {
                divide_by: magnitude(rng, 5),
                round: if rng.bool() { Round::Up } else { Round::Down },
            }),
            ..terms
        },
        kind => PriceTerms {
            unit_amount_decimal: None,
            tiers_mode: Some(if kind == 3 {
                TiersMode::Graduated
            } else {
                TiersMode::Volume
            }),
            tiers: tiers(rng),
            ..terms
        },
    }
}

fn tiers(rng: &mut Rng) -> Vec<TierTerms> {
    let count = rng.usize(1..=TIERS_MAX);
    let mut up_to = 0;
    let tiers = (1..=count).map(|number| {
        up_to += magnitude(rng, 6);
        let kind = rng.u8(..4);
        TierTerms {
            up_to: (number < count).then_some(up_to),
            unit_amount_decimal: (kind != 0).then(|| amount(rng)),
            flat_amount_decimal: (kind <= 1).then(|| amount(rng)),
        }
    });
    tiers.collect()
}

/// Whole, or with up to 12 decimals; often small, sometimes nothing.
fn amount(rng: &mut Rng) -> String {
    let whole = match rng.u8(..4) {
        0 => 0,
        1 => rng.u64(..10),
        _ => magnitude(rng, 5),
    };
    match rng.usize(..=14) {
        decimals @ 1..=12 => {
            let places: String = (0..decimals).map(|_| rng.digit(10)).collect();
            format!("{whole}.{places}")
        }
        // Where one half lies, rounding shows.
        13 => format!("{whole}.5"),
        _ => whole.to_string(),
    }
}

/// A number of 1 to `digits` digits, each length as likely.
fn magnitude(rng: &mut Rng, digits: u32) -> u64 {
    let digits = rng.u32(1..=digits);
    rng.u64(1..10_u64.pow(digits))
}

/// Around what changes the price, or anywhere.
fn units(rng: &mut Rng, terms: &PriceTerms) -> u64 {
    let ends = terms.tiers.iter().filter_map(|tier| tier.up_to);
    let packages = terms.transform_quantity.iter();
    let edges: Vec<u64> = ends
        .chain(packages.map(|transform| transform.divide_by * magnitude(rng, 2)))
        .collect();
    match rng.u8(..10) {
        0 => 0,
        1..=5 if !edges.is_empty() => {
            let edge = edges[rng.usize(..edges.len())];
            edge.saturating_add(rng.u64(..=2)).saturating_sub(1)
        }
        _ => magnitude(rng, 9),
    }
}

/// As many of the units as Stripe can bill.
fn billable(terms: &PriceTerms, mut units: u64) -> u64 {
    let Ok(price) = Price::try_from(terms.clone()) else {
        return units;
    };
    while price
        .cost(units)
        .minor_units()
        .is_none_or(|cost| cost > MINOR_UNITS_MAX)
    {
        units /= 2;
    }
    units
}

/// None for no units, else one to three.
fn events(rng: &mut Rng, units: u64) -> Vec<u64> {
    let mut events = Vec::new();
    let mut left = units;
    while left > 0 {
        let value = if events.len() < 2 && rng.bool() {
            rng.u64(1..=left)
        } else {
            left
        };
        events.push(value);
        left -= value;
    }
    events
}
