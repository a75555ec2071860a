//! The data file: what others publish, and what is assumed.

use std::collections::BTreeMap;
use std::path::Path;

use bigdecimal::BigDecimal;
use serde::Deserialize;

use crate::{ScaleError, number};

/// Where the data file is, from the repository's root.
pub const FILE: &str = "benches/scale/published.yaml";

/// What is in the data file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Limits and prices, by name.
    pub published: BTreeMap<String, Published>,
    /// What nobody publishes, by name.
    pub assumed: BTreeMap<String, Assumed>,
    /// Lines and documents whose length counts, by name.
    pub samples: BTreeMap<String, String>,
}

/// A limit or a price.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The figure.
    pub value: Value,
    /// What it counts.
    pub unit: String,
    /// The page that publishes it, by its name.
    pub page: String,
    /// How far it was verified.
    pub checked: Checked,
}

/// A figure, or one for each tier.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// One for any amount.
    One(String),
    /// Each for what lies between the tier before and its own end.
    Tiers(Vec<Tier>),
}

/// A price up to some amount.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Where the tier ends; none for the last one.
    pub up_to: Option<String>,
    /// What one more costs in it, in dollars.
    pub price: String,
}

/// How far a figure was verified.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// Read on the page that publishes it.
    Source,
    /// Read on a page that quotes it.
    Quoted,
    /// Known, and not found again.
    Unverified,
}

impl Checked {
    /// What the page says of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Quoted => "quoted",
            Self::Unverified => "unverified",
        }
    }
}

/// What is assumed, and of what.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// The figure.
    pub value: String,
    /// What it counts; empty for a share.
    pub unit: String,
    /// What it stands for.
    pub why: String,
}

impl Facts {
    /// Reads the data file under `root`.
    ///
    /// # Errors
    /// [`ScaleError`] where it cannot be read.
    pub fn read(root: &Path) -> Result<Self, ScaleError> {
        let path = root.join(FILE);
        let text = crate::read(&path)?;
        yaml_serde::from_str(&text).map_err(|source| ScaleError::Yaml { path, source })
    }

    /// The published figure `name`, which has no tiers.
    pub(crate) fn published(&self, name: &str) -> Result<BigDecimal, ScaleError> {
        match &self.named(name)?.value {
            Value::One(text) => number::parse(text, name),
            Value::Tiers(_) => Err(ScaleError::missing(format!("{name} without tiers"), FILE)),
        }
    }

    /// What `amount` costs by the published price `name`, tier by tier.
    pub(crate) fn cost(&self, name: &str, amount: &BigDecimal) -> Result<BigDecimal, ScaleError> {
        let tiers = match &self.named(name)?.value {
            Value::One(price) => return Ok(number::parse(price, name)? * amount),
            Value::Tiers(tiers) => tiers,
        };
        let mut cost = BigDecimal::from(0);
        let mut charged = BigDecimal::from(0);
        for tier in tiers {
            let end = match &tier.up_to {
                Some(end) => number::parse(end, name)?.min(amount.clone()),
                None => amount.clone(),
            };
            if end > charged {
                cost += number::parse(&tier.price, name)? * (&end - &charged);
                charged = end;
            }
        }
        if charged < *amount {
            return Err(ScaleError::missing(format!("a last tier of {name}"), FILE));
        }
        Ok(cost)
    }

    /// The assumed figure `name`.
    pub(crate) fn assumed(&self, name: &str) -> Result<BigDecimal, ScaleError> {
        let assumed = self.assumed.get(name);
        let assumed = assumed.ok_or_else(|| ScaleError::missing(name, FILE))?;
        number::parse(&assumed.value, name)
    }

    /// How long the sample `name` is, in bytes.
    pub(crate) fn sample_bytes(&self, name: &str) -> Result<BigDecimal, ScaleError> {
        let sample = self.samples.get(name);
        let sample = sample.ok_or_else(|| ScaleError::missing(name, FILE))?;
        number::parse(&sample.len().to_string(), name)
    }

    fn named(&self, name: &str) -> Result<&Published, ScaleError> {
        let found = self.published.get(name);
        found.ok_or_else(|| ScaleError::missing(name, FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(published: &str) -> Facts {
        let text = format!("{{ published: {{ it: {published} }}, assumed: {{}}, samples: {{}} }}");
        yaml_serde::from_str(&text).unwrap()
    }

    fn tiered() -> Facts {
        facts(
            "{ value: [{ up_to: '300', price: '1.00' }, { price: '0.90' }], unit: u, page: p, checked: quoted }",
        )
    }

    fn cost(facts: &Facts, amount: &str) -> String {
        let amount = number::parse(amount, "a test").unwrap();
        facts
            .cost("it", &amount)
            .unwrap()
            .normalized()
            .to_plain_string()
    }

    #[test]
    fn each_tier_charges_what_lies_in_it() {
        let facts = tiered();
        assert_eq!(cost(&facts, "0"), "0");
        assert_eq!(cost(&facts, "299.5"), "299.5");
        assert_eq!(cost(&facts, "300"), "300");
        assert_eq!(cost(&facts, "1300"), "1200");
    }

    #[test]
    fn one_price_is_for_any_amount() {
        let facts = facts("{ value: '0.20', unit: u, page: p, checked: source }");
        assert_eq!(cost(&facts, "1000"), "200");
    }

    #[test]
    fn an_amount_beyond_the_last_tier_is_an_error() {
        let facts =
            facts("{ value: [{ up_to: '300', price: '1' }], unit: u, page: p, checked: source }");
        let error = facts.cost("it", &BigDecimal::from(301)).unwrap_err();
        assert!(error.to_string().contains("a last tier of it"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = tiered().published("other").unwrap_err().to_string();
        assert_eq!(error, format!("other is not in {FILE}"));
        assert!(tiered().published("it").is_err(), "it has tiers");
    }
}
