//! A price that usage is billed at, and the meter behind it, as Stripe has them.

use billing::{Catalog, Timestamp};
use ledger::MeteredItem;
use stripe::{Aggregation, Meter, Price, Subscription, SubscriptionItem};

use crate::price_of;

/// A metered price with all that billing needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeteredPrice {
    /// The price.
    pub price_id: String,
    /// What it says.
    pub price: billing::Price,
    /// How long a period is, in Stripe's words: `1 month`.
    pub period: String,
    /// Empty for a price that bills usage records.
    pub meter_id: String,
    /// The event name that the meter listens to; see
    /// [`MeteredItem::meter_event_name`].
    pub meter_event_name: String,
}

/// Why a price cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MeteredPriceError {
    /// Stripe failed or refused.
    #[error("Stripe failed at: {operation}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error.
        #[source]
        source: stripe::Error,
    },
    /// It is none that usage can be billed at.
    #[error("the price {name:?} {reason}")]
    Unusable {
        /// Its lookup key, or its id.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl MeteredPrice {
    /// The active price with `lookup_key`.
    ///
    /// # Errors
    /// [`MeteredPriceError`], also where there is none.
    pub async fn find(
        stripe: &stripe::Client,
        lookup_key: &str,
        catalog: Option<&Catalog>,
    ) -> Result<Self, MeteredPriceError> {
        let prices = stripe.list_prices_by_lookup_key(lookup_key).await;
        let prices = prices.map_err(stripe_error("find price"))?;
        match prices.into_iter().find(|price| price.active) {
            Some(price) => Self::check(stripe, price, catalog).await,
            None => Err(unusable(lookup_key, "does not exist in Stripe")),
        }
    }

    /// The price `id`, which somebody subscribed to.
    ///
    /// # Errors
    /// [`MeteredPriceError`].
    pub async fn retrieve(
        stripe: &stripe::Client,
        id: &str,
        catalog: Option<&Catalog>,
    ) -> Result<Self, MeteredPriceError> {
        let price = stripe.retrieve_price(id).await;
        let price = price.map_err(stripe_error("retrieve price"))?;
        Self::check(stripe, price, catalog).await
    }

    /// Checks that `price`, asked for with its tiers, can be computed with, and
    /// is metered by a meter that sums, or by none where usage records are sent.
    async fn check(
        stripe: &stripe::Client,
        price: Price,
        catalog: Option<&Catalog>,
    ) -> Result<Self, MeteredPriceError> {
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
        let period = period_of(&price);
        let computable = price_of(&price)
            .map_err(|error| refuse(&format!("cannot be computed with: {error}")))?;
        let (meter_id, meter_event_name) = match meter_id {
            Some(id) => {
                let meter = stripe.retrieve_meter(id).await;
                let meter = meter.map_err(stripe_error("retrieve meter"))?;
                check_meter(&meter).map_err(refuse)?;
                (meter.id, meter.event_name)
            }
            None => (String::new(), name_by_product(catalog, &price.product)),
        };
        Ok(Self {
            meter_id,
            meter_event_name,
            period,
            price: computable,
            price_id: price.id,
        })
    }

    /// Whether `price` bills the usage that this one does: it is the same, or
    /// has the same meter. A customer who had both would pay twice.
    pub fn bills_usage_of(&self, price: &Price) -> bool {
        let has_same_meter = || meter_of(price) == Some(self.meter_id.as_str());
        price.id == self.price_id || (!self.meter_id.is_empty() && has_same_meter())
    }

    /// The item `subscription_item_id` at this price, which was added as
    /// [`added_at`] says.
    pub fn into_item(self, subscription_item_id: &str, added_at: Option<Timestamp>) -> MeteredItem {
        MeteredItem {
            added_at,
            subscription_item_id: subscription_item_id.to_owned(),
            price_id: self.price_id,
            price: self.price,
            meter_id: self.meter_id,
            meter_event_name: self.meter_event_name,
        }
    }
}

/// When `item` was added to `subscription`; none where it came with it.
pub fn added_at(item: &SubscriptionItem, subscription: &Subscription) -> Option<Timestamp> {
    /// What Stripe makes in one call it need not make in one second.
    const SAME_CALL_S: i64 = 5;
    let is_later = item.created > subscription.created.saturating_add(SAME_CALL_S);
    is_later.then(|| Timestamp::from_unix_s(item.created))
}

/// Whether `item` bills usage.
pub fn is_metered_item(item: &SubscriptionItem) -> bool {
    is_metered(&item.price)
}

/// Whether `price` bills usage.
pub fn is_metered(price: &Price) -> bool {
    let recurring = price.recurring.as_ref();
    recurring.is_some_and(|recurring| recurring.usage_type == "metered")
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

/// The meter behind `price`, if it has one.
fn meter_of(price: &Price) -> Option<&str> {
    price.recurring.as_ref()?.meter.as_deref()
}

fn period_of(price: &Price) -> String {
    price.recurring.as_ref().map_or_else(String::new, |it| {
        format!("{} {}", it.interval_count.unwrap_or(1), it.interval)
    })
}

/// What the catalog calls the usage of a product whose prices have no meter;
/// empty where it does not tell.
pub(crate) fn name_by_product(catalog: Option<&Catalog>, product_id: &str) -> String {
    let meters = catalog.map(Catalog::meters).unwrap_or_default();
    let meter = meters.iter().find(|meter| meter.product_id == product_id);
    meter.map_or_else(String::new, |meter| meter.event_name.clone())
}

fn stripe_error(operation: &'static str) -> impl FnOnce(stripe::Error) -> MeteredPriceError {
    move |source| MeteredPriceError::Stripe { operation, source }
}

fn unusable(name: &str, reason: &str) -> MeteredPriceError {
    MeteredPriceError::Unusable {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}
