//! A price of Stripe's as one that can be computed with, and back.

use billing::{InvalidPrice, PriceTerms, TierTerms, TransformQuantity};
use ledger::CustomerRow;
use stripe::{PriceAmount, PriceTier, Subscription};

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

/// `row` with the price that its item has in `subscription`: somebody may have
/// given it another one in Stripe. Stripe bills the whole period at that.
///
/// A price that cannot be computed with, or whose usage another meter counts, is
/// not taken over. It is logged as an error: `setup` and onboarding take none.
///
/// # Errors
/// Stripe's, where it does not tell the price.
pub async fn with_current_price(
    stripe: &stripe::Client,
    row: CustomerRow,
    subscription: &Subscription,
) -> Result<CustomerRow, stripe::Error> {
    let mut items = subscription.items.iter();
    let item = items.find(|item| item.id == row.subscription_item_id);
    let Some(item) = item.filter(|item| item.price.id != row.price_id) else {
        return Ok(row);
    };
    let price = stripe.retrieve_price(&item.price.id).await?;
    let meter = price.recurring.as_ref().and_then(|it| it.meter.as_deref());
    let customer_id = &row.customer_id;
    if meter.unwrap_or_default() != row.meter_id {
        tracing::error!(%customer_id, price_id = price.id, "the customer's new price counts other usage");
        return Ok(row);
    }
    match price_of(&price) {
        Ok(terms) => Ok(CustomerRow {
            price_id: price.id,
            price: terms,
            ..row
        }),
        Err(error) => {
            tracing::error!(%customer_id, price_id = price.id, %error, "the customer's new price cannot be computed with");
            Ok(row)
        }
    }
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
