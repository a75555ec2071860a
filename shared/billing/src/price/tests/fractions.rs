//! The same costs once more, from the JSON of a price, by fractions of whole
//! numbers: nothing here is shared with what it checks.

use bigdecimal::num_bigint::BigInt;
use serde_json::Value;

/// A number that is not negative.
#[derive(Clone)]
struct Fraction {
    numerator: BigInt,
    denominator: BigInt,
}

impl Fraction {
    fn read(text: &str) -> Self {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let denominator = BigInt::from(10).pow(u32::try_from(places.len()).unwrap());
        let numerator = format!("{whole}{places}").parse().unwrap();
        Self {
            numerator,
            denominator,
        }
    }

    fn times(&self, factor: u64) -> Self {
        Self {
            numerator: &self.numerator * factor,
            denominator: self.denominator.clone(),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            numerator: &self.numerator * &other.denominator + &other.numerator * &self.denominator,
            denominator: &self.denominator * &other.denominator,
        }
    }

    /// The whole number that half more lies in.
    fn half_up(&self) -> BigInt {
        (&self.numerator * 2 + &self.denominator) / (&self.denominator * 2)
    }
}

fn amount(holder: &Value, name: &str) -> Option<Fraction> {
    holder[name].as_str().map(Fraction::read)
}

/// The tiers with the unit before their first one.
fn tiers(terms: &Value) -> Vec<(u64, u64, &Value)> {
    let mut below = 0;
    let mut tiers = Vec::new();
    for tier in terms["tiers"].as_array().unwrap() {
        let up_to = tier["up_to"].as_u64().unwrap_or(u64::MAX);
        tiers.push((below, up_to, tier));
        below = up_to;
    }
    tiers
}

fn rounded(amount: Option<Fraction>) -> BigInt {
    amount.map_or(BigInt::from(0), |amount| amount.half_up())
}

pub(super) fn cost(terms: &Value, units: u64) -> BigInt {
    if let Some(unit_amount) = amount(terms, "unit_amount_decimal") {
        return unit_amount.times(packages(terms, units)).half_up();
    }
    let is_graduated = terms["tiers_mode"] == "graduated";
    let tiers = tiers(terms).into_iter();
    let bills = |(below, up_to, _): &(u64, u64, &Value)| {
        let is_reached = units > *below || *below == 0;
        is_reached && (is_graduated || units <= *up_to)
    };
    let lines = tiers.filter(bills).map(|(below, up_to, tier)| {
        let counted = if is_graduated {
            up_to.min(units) - below
        } else {
            units
        };
        let variable = amount(tier, "unit_amount_decimal").map(|amount| amount.times(counted));
        rounded(variable) + rounded(amount(tier, "flat_amount_decimal"))
    });
    lines.sum()
}

fn packages(terms: &Value, units: u64) -> u64 {
    let transform = &terms["transform_quantity"];
    let Some(divide_by) = transform["divide_by"].as_u64() else {
        return units;
    };
    let is_begun = !units.is_multiple_of(divide_by) && transform["round"] == "up";
    units / divide_by + u64::from(is_begun)
}

/// A graduated price, unit after unit.
pub(super) fn walk(terms: &Value, units: u64) -> BigInt {
    let mut cents = BigInt::from(0);
    for (below, up_to, tier) in tiers(terms) {
        let mut variable = Fraction::read("0");
        for unit in 1..=units {
            if below < unit
                && unit <= up_to
                && let Some(unit_amount) = amount(tier, "unit_amount_decimal")
            {
                variable = variable.plus(&unit_amount);
                // Keeps the fractions short.
                variable = Fraction {
                    numerator: variable.numerator * 10_i64.pow(12) / &variable.denominator,
                    denominator: BigInt::from(10_i64.pow(12)),
                };
            }
        }
        cents += variable.half_up();
        if below == 0 || units > below {
            cents += rounded(amount(tier, "flat_amount_decimal"));
        }
    }
    cents
}
