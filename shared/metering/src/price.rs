//! A price of Stripe's as one that can be computed with.

use billing::{InvalidPrice, PriceTerms, TierTerms, TransformQuantity};

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
