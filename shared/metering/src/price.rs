//! A price of Stripe's as one that can be computed with, and back.

use billing::{Catalog, CustomerId, InvalidPrice, PriceTerms, TierTerms, TransformQuantity};
use ledger::{CustomerRow, MeteredItem};
use stripe::{PriceAmount, PriceTier, Subscription, SubscriptionItem};

use crate::metered_price::{
    MeteredPrice, MeteredPriceError, added_at, is_metered_item, name_by_product,
};

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

/// `row` with the metered items that `subscription` has, at their prices:
/// somebody may have added one in Stripe, taken one out, or given one another
/// price.
///
/// A price that cannot be computed with is not taken over. It is logged as an
/// error: `setup` and onboarding take none. So is a meter that no item bills any
/// more. Items that bill usage records get the name that `catalog` has for their
/// product. A subscription without any metered item leaves the row as it is: its
/// usage has no other place.
///
/// # Errors
/// Stripe's, where it does not tell a price or its meter.
pub async fn with_current_items(
    stripe: &stripe::Client,
    row: CustomerRow,
    subscription: &Subscription,
    catalog: Option<&Catalog>,
) -> Result<CustomerRow, stripe::Error> {
    let (mut kept, mut added) = (Vec::new(), Vec::new());
    for item in subscription.items.iter().filter(|it| is_metered_item(it)) {
        let known = row.items().find(|it| it.subscription_item_id == item.id);
        let current = current_item(
            stripe,
            (&row.customer_id, subscription),
            known,
            item,
            catalog,
        )
        .await?;
        match known {
            Some(_) => kept.extend(current),
            None => added.extend(current),
        }
    }
    // In the row's order, so that its first item stays the first.
    let position = |item: &MeteredItem| {
        let mut known = row.items();
        known.position(|it| it.subscription_item_id == item.subscription_item_id)
    };
    kept.sort_by_key(position);
    kept.extend(added);
    log_lost_meters(&row, &kept);
    log_meters_billed_twice(&row, &kept);
    let mut items = kept.into_iter();
    Ok(match items.next() {
        Some(item) => CustomerRow {
            item,
            more_items: items.collect(),
            ..row
        },
        None => row,
    })
}

/// What goes to a meter that none of `items` bills any more is lost money: the
/// usage of this period that it has counted.
fn log_lost_meters(row: &CustomerRow, items: &[MeteredItem]) {
    let is_lost = |meter: &str| !items.iter().any(|item| item.meter_event_name == meter);
    let meters = row.items().map(|item| item.meter_event_name.as_str());
    for meter in meters.filter(|&meter| !meter.is_empty() && is_lost(meter)) {
        tracing::error!(
            customer_id = %row.customer_id,
            meter,
            "the customer's subscription has no item of the meter any more: what that has counted \
             in this period is billed by no item"
        );
    }
}

/// Two items of one meter bill all that it counts, each.
fn log_meters_billed_twice(row: &CustomerRow, items: &[MeteredItem]) {
    for (n, item) in items.iter().enumerate() {
        let is_same = |other: &&MeteredItem| other.meter_id == item.meter_id;
        let other = items.iter().take(n).find(is_same);
        if let Some(other) = other.filter(|_| !item.meter_id.is_empty()) {
            tracing::error!(
                customer_id = %row.customer_id,
                subscription_item_ids = ?[&other.subscription_item_id, &item.subscription_item_id],
                "two items of the customer's subscription bill the same meter: take one out"
            );
        }
    }
}

/// `item` as the row is to say it, which says `known` of it so far. None for a
/// new one whose price cannot be used.
async fn current_item(
    stripe: &stripe::Client,
    (customer_id, subscription): (&CustomerId, &Subscription),
    known: Option<&MeteredItem>,
    item: &SubscriptionItem,
    catalog: Option<&Catalog>,
) -> Result<Option<MeteredItem>, stripe::Error> {
    if let Some(known) = known.filter(|known| known.price_id == item.price.id) {
        return Ok(Some(with_name(known.clone(), item, catalog)));
    }
    match MeteredPrice::retrieve(stripe, &item.price.id, catalog).await {
        Ok(price) => Ok(Some(
            price.into_item(&item.id, added_at(item, subscription)),
        )),
        Err(MeteredPriceError::Stripe { source, .. }) => Err(source),
        Err(error) => {
            tracing::error!(
                %customer_id,
                price_id = item.price.id,
                %error,
                "a price of the customer's subscription cannot be used"
            );
            Ok(known.cloned())
        }
    }
}

/// A customer who bills usage records may have come before the catalog, which
/// names their usage by its product.
fn with_name(
    known: MeteredItem,
    item: &SubscriptionItem,
    catalog: Option<&Catalog>,
) -> MeteredItem {
    if !known.meter_id.is_empty() {
        return known;
    }
    match name_by_product(catalog, &item.price.product) {
        name if name.is_empty() => known,
        meter_event_name => MeteredItem {
            meter_event_name,
            ..known
        },
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
