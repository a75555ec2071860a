//! The JSON of the operator's file, field by field.

use std::fmt;

use billing::{PriceTerms, Round, TierTerms, TiersMode, TransformQuantity};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTerms {
    pub(super) meters: Vec<MeterTerms>,
    #[serde(default)]
    pub(super) default_meter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeterTerms {
    pub(super) event_name: String,
    pub(super) product_name: String,
    pub(super) lookup_key: String,
    pub(super) price: PriceFields,
    #[serde(default)]
    pub(super) actions: Vec<String>,
}

/// [`PriceTerms`] with nothing besides.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PriceFields {
    currency: String,
    #[serde(default)]
    unit_amount_decimal: Option<Amount>,
    #[serde(default)]
    transform_quantity: Option<TransformFields>,
    #[serde(default)]
    tiers_mode: Option<TiersMode>,
    #[serde(default)]
    tiers: Vec<TierFields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TransformFields {
    divide_by: u64,
    round: Round,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierFields {
    #[serde(default)]
    up_to: UpTo,
    #[serde(default)]
    unit_amount_decimal: Option<Amount>,
    #[serde(default)]
    flat_amount_decimal: Option<Amount>,
}

/// An amount in minor units. A number of JSON's would be a float to whoever
/// reads the file.
struct Amount(String);

/// The last unit of a tier; none for the last tier.
#[derive(Default)]
struct UpTo(Option<u64>);

impl PriceFields {
    /// What they say, to be checked.
    pub(super) fn terms(&self) -> PriceTerms {
        let text = |amount: &Option<Amount>| amount.as_ref().map(|amount| amount.0.clone());
        let tiers = self.tiers.iter().map(|tier| TierTerms {
            up_to: tier.up_to.0,
            unit_amount_decimal: text(&tier.unit_amount_decimal),
            flat_amount_decimal: text(&tier.flat_amount_decimal),
        });
        let transform = self.transform_quantity.as_ref();
        PriceTerms {
            currency: self.currency.clone(),
            unit_amount_decimal: text(&self.unit_amount_decimal),
            transform_quantity: transform.map(|transform| TransformQuantity {
                divide_by: transform.divide_by,
                round: transform.round,
            }),
            tiers_mode: self.tiers_mode,
            tiers: tiers.collect(),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal text in minor units, such as \"0.0004\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }
        }
        deserializer.deserialize_str(AmountVisitor)
    }
}

impl<'de> Deserialize<'de> for UpTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UpToVisitor;
        impl Visitor<'_> for UpToVisitor {
            type Value = UpTo;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of units, or \"inf\" for the last tier")
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<UpTo, E> {
                Ok(UpTo(Some(units)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UpTo, E> {
                match text {
                    "inf" => Ok(UpTo(None)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_unit<E: de::Error>(self) -> Result<UpTo, E> {
                Ok(UpTo(None))
            }
        }
        deserializer.deserialize_any(UpToVisitor)
    }
}
