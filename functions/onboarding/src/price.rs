//! The price that customers subscribe to, and the meter behind it.

use metering::price_of;
use stripe::{Aggregation, Meter, Price};

use crate::error::OnboardingError;

/// A metered price with all that billing needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeteredPrice {
    pub(crate) price_id: String,
    /// What it says.
    pub(crate) price: billing::Price,
    /// Empty for a price that bills usage records, as the name is.
    pub(crate) meter_id: String,
    pub(crate) meter_event_name: String,
}

/// Finds the active price with `lookup_key`. One that cannot be computed with
/// here is refused before anybody subscribes to it.
pub(crate) async fn find(
    stripe: &stripe::Client,
    lookup_key: &str,
) -> Result<MeteredPrice, OnboardingError> {
    let prices = stripe.list_prices_by_lookup_key(lookup_key).await;
    let prices = prices.map_err(OnboardingError::stripe("find price"))?;
    match prices.into_iter().find(|price| price.active) {
        Some(price) => check(stripe, price).await,
        None => Err(unusable(lookup_key, "does not exist in Stripe")),
    }
}

/// The price `id`, which somebody subscribed to.
pub(crate) async fn retrieve(
    stripe: &stripe::Client,
    id: &str,
) -> Result<MeteredPrice, OnboardingError> {
    let price = stripe.retrieve_price(id).await;
    check(
        stripe,
        price.map_err(OnboardingError::stripe("retrieve price"))?,
    )
    .await
}

/// Checks that `price`, asked for with its tiers, can be computed with, and is
/// metered by a meter that sums.
async fn check(stripe: &stripe::Client, price: Price) -> Result<MeteredPrice, OnboardingError> {
    let name = price.lookup_key.as_deref().unwrap_or(&price.id);
    let refuse = |reason: &str| unusable(name, reason);
    let (usage_api, meter_id) = (stripe.usage_api(), meter_of(&price));
    if !is_metered(&price) {
        return Err(refuse("is not metered"));
    }
    if usage_api.has_meter() && meter_id.is_none() {
        return Err(refuse("has no meter"));
    }
    if !usage_api.has_meter() && meter_id.is_some() {
        return Err(refuse("has a meter, which takes no usage records"));
    }
    let computable =
        price_of(&price).map_err(|error| refuse(&format!("cannot be computed with: {error}")))?;
    let meter = match meter_id {
        Some(id) => {
            let meter = stripe.retrieve_meter(id).await;
            let meter = meter.map_err(OnboardingError::stripe("retrieve meter"))?;
            check_meter(&meter).map_err(refuse)?;
            Some(meter)
        }
        None => None,
    };
    let (meter_id, meter_event_name) =
        meter.map_or_else(Default::default, |meter| (meter.id, meter.event_name));
    Ok(MeteredPrice {
        meter_id,
        meter_event_name,
        price: computable,
        price_id: price.id,
    })
}

/// Stripe would take usage for any meter, and bill it wrongly or never.
fn check_meter(meter: &Meter) -> Result<(), &'static str> {
    if !meter.is_active() {
        return Err("has a meter that is inactive");
    }
    if meter.default_aggregation.formula != Aggregation::Sum {
        return Err("has a meter that does not sum quantities");
    }
    if !meter.has_default_payload_keys() {
        return Err("has a meter with payload keys of its own");
    }
    Ok(())
}

/// Whether `price` bills usage.
pub(crate) fn is_metered(price: &Price) -> bool {
    let recurring = price.recurring.as_ref();
    recurring.is_some_and(|recurring| recurring.usage_type == "metered")
}

/// The meter behind `price`, if it has one.
fn meter_of(price: &Price) -> Option<&str> {
    price.recurring.as_ref()?.meter.as_deref()
}

fn unusable(name: &str, reason: &str) -> OnboardingError {
    OnboardingError::Price {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}
