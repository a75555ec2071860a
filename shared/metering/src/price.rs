//! A price of Stripe's as one that can be computed with, and back.

use billing::{InvalidPrice, PriceTerms, TierTerms, TransformQuantity};
use stripe::{PriceAmount, PriceTier};

/// What usage costs at `price`, which must have been asked for with its tiers.
///
/// # Errors
/// [`InvalidPrice`] for one that cannot be computed with.
pub fn price_of(price: &stripe::Price) -> Result<billing::Price, InvalidPrice> {
    let transform_quantity = price.transform_quantity.as_ref();
    let transform_quantity = transform_quantity.map(|transform| {
        Ok::<_, InvalidPrice>(TransformQuantity {
            divide_by: transform.divide_by,
            round: transform.round.parse()?,
        })
    });
    let tiers = price.tiers.iter().flatten().map(|tier| TierTerms {
        up_to: tier.up_to,
        unit_amount_decimal: tier.unit_amount_decimal.clone(),
        flat_amount_decimal: tier.flat_amount_decimal.clone(),
    });
    let tiers_mode = price.tiers_mode.as_deref();
    let terms = PriceTerms {
        currency: price.currency.clone(),
        unit_amount_decimal: price.unit_amount_decimal.clone(),
        transform_quantity: transform_quantity.transpose()?,
        tiers_mode: tiers_mode.map(str::parse).transpose()?,
        tiers: tiers.collect(),
    };
    terms.try_into()
}

/// What Stripe is to ask for usage, so that it has a price of these `terms`.
pub fn price_amount(terms: &PriceTerms) -> PriceAmount {
    if let Some(mode) = terms.tiers_mode {
        let tiers = terms.tiers.iter().map(|tier| PriceTier {
            up_to: tier.up_to,
            unit_amount_decimal: tier.unit_amount_decimal.clone(),
            flat_amount_decimal: tier.flat_amount_decimal.clone(),
        });
        return PriceAmount::Tiered {
            tiers_mode: mode.as_str().to_owned(),
            tiers: tiers.collect(),
        };
    }
    let transform_quantity = terms.transform_quantity;
    PriceAmount::PerUnit {
        unit_amount_decimal: terms.unit_amount_decimal.clone().unwrap_or_default(),
        transform_quantity: transform_quantity.map(|transform| stripe::TransformQuantity {
            divide_by: transform.divide_by,
            round: transform.round.as_str().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(changes: &Value) -> Result<billing::Price, InvalidPrice> {
        let mut price = json!({ "id": "price_1", "object": "price", "active": true,
            "currency": "usd", "product": "prod_1", "unit_amount_decimal": null });
        for (name, value) in changes.as_object().unwrap() {
            price[name] = value.clone();
        }
        price_of(&serde_json::from_value(price).unwrap())
    }

    fn tiers() -> Value {
        json!([
            { "up_to": 5, "unit_amount": 7, "unit_amount_decimal": "7",
              "flat_amount": null, "flat_amount_decimal": null },
            { "up_to": null, "unit_amount": null, "unit_amount_decimal": "6.5",
              "flat_amount": 100, "flat_amount_decimal": "100" },
        ])
    }

    #[test]
    fn every_kind_is_read() {
        for (price, told) in [
            (
                json!({ "unit_amount_decimal": "0.025" }),
                "0.00025 usd a unit",
            ),
            (
                json!({ "unit_amount_decimal": "300",
                    "transform_quantity": { "divide_by": 1_000, "round": "up" } }),
                "3.00 usd for 1000 units, begun ones too",
            ),
            (
                json!({ "billing_scheme": "tiered", "tiers_mode": "volume", "tiers": tiers() }),
                "volume tiers in usd: up to 5 0.07 a unit, beyond 0.065 a unit and 1.00",
            ),
        ] {
            assert_eq!(read(&price).unwrap().to_string(), told);
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let packages = |round: &str| {
            json!({ "unit_amount_decimal": "1",
                "transform_quantity": { "divide_by": 10, "round": round } })
        };
        for (price, error) in [
            (json!({ "tiers_mode": "volume" }), InvalidPrice::NoTiers),
            (
                json!({ "tiers_mode": "stairs", "tiers": tiers() }),
                InvalidPrice::TiersMode("stairs".to_owned()),
            ),
            (packages("half"), InvalidPrice::Round("half".to_owned())),
            (json!({}), InvalidPrice::NoAmount),
        ] {
            assert_eq!(read(&price), Err(error));
        }
    }
}
