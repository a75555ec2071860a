//! Another price for a customer's usage, whichever of its meters counts that.

use billing::{Catalog, Timestamp};
use ledger::{CustomerRow, MeteredItem};
use metering::{MeteredPrice, MeteredPriceError, with_current_items};
use stripe::{
    CreateSubscriptionItem, ProrationBehavior, RequestOptions, Subscription, UpdateSubscription,
};

use crate::error::OnboardingError;
use crate::onboard::Onboarder;
use crate::subscription::Changes;

/// A price that a customer's usage is billed at from now on.
pub(crate) enum NextPrice {
    /// In place of another: the item, as it will be.
    Of(MeteredItem),
    /// Of a meter of the catalog's that the customer has no item of yet.
    Added(MeteredPrice),
}

impl Onboarder {
    /// The price with `lookup_key`, for an item of the customer's or a new one.
    /// Its usage must go to the meter of that item, or to one of the catalog's:
    /// what is sent to another one is billed by nobody. Nor is what was used at the
    /// price before, where the change comes without prorations.
    pub(crate) async fn next_price(
        &self,
        lookup_key: &str,
        proration_behavior: Option<ProrationBehavior>,
        customer: &CustomerRow,
    ) -> Result<NextPrice, OnboardingError> {
        if lookup_key.is_empty() {
            return Err(OnboardingError::NextPrice("must not be empty"));
        }
        let catalog = self.ledger.catalog().await?.map(|row| row.catalog);
        let price = MeteredPrice::find(&self.stripe, lookup_key, catalog.as_ref()).await;
        let price = price.map_err(|error| match error {
            MeteredPriceError::Unusable { .. } => {
                OnboardingError::NextPrice("names no price that usage can be billed at")
            }
            error => error.into(),
        })?;
        if price.price.currency() != customer.item.price.currency() {
            let reason = "names a price in another currency than the customer's subscription";
            return Err(OnboardingError::NextPrice(reason));
        }
        let is_unprorated = proration_behavior == Some(ProrationBehavior::None);
        match self.item_for(&price, customer, catalog.as_ref()).await? {
            // A meter that took the event name of one that was deactivated.
            Some(item) if item.meter_id != price.meter_id => Err(OnboardingError::NextPrice(
                "names a price with another meter, which has none of this period's usage",
            )),
            // Stripe bills the usage before a change as a proration (Stripe
            // documentation: "Manage your usage-based billing setup").
            Some(item) if is_unprorated && item.price_id != price.price_id => {
                Err(OnboardingError::ForgivenUsage)
            }
            Some(item) => Ok(NextPrice::Of(
                price.into_item(&item.subscription_item_id, item.added_at),
            )),
            None if names_meter_of(catalog.as_ref(), &price) => Ok(NextPrice::Added(price)),
            None => Err(OnboardingError::NextPrice(
                "names a price with a meter that the customer has no item of and the catalog does \
                 not have: no usage goes there",
            )),
        }
    }

    /// The item that bills the usage of `price`. Where the row has none, Stripe
    /// is asked: it may have been added by a call whose answer was lost.
    async fn item_for(
        &self,
        price: &MeteredPrice,
        customer: &CustomerRow,
        catalog: Option<&Catalog>,
    ) -> Result<Option<MeteredItem>, OnboardingError> {
        if let Some(item) = customer.item_of_meter(&price.meter_event_name) {
            return Ok(Some(item.clone()));
        }
        let subscription = self.subscription_of(customer).await?;
        let row = customer.clone();
        let current = with_current_items(&self.stripe, row, &subscription, catalog).await;
        let current = current.map_err(OnboardingError::stripe("retrieve price"))?;
        Ok(current.item_of_meter(&price.meter_event_name).cloned())
    }

    /// Changes the subscription in Stripe: as it is then, and the item whose
    /// price is another one.
    pub(crate) async fn change(
        &self,
        subscription_id: &str,
        changes: &Changes,
        next_price: Option<NextPrice>,
    ) -> Result<(Subscription, Option<MeteredItem>), stripe::Error> {
        let options = RequestOptions::until(self.deadline());
        let mut update = UpdateSubscription {
            cancel_at_period_end: changes.cancel_at_period_end,
            ..UpdateSubscription::default()
        };
        let changed = match next_price {
            Some(NextPrice::Of(item)) => {
                let (id, price_id) = (&item.subscription_item_id, &item.price_id);
                update.item_price = Some((id.clone(), price_id.clone()));
                update.proration_behavior = changes.proration_behavior;
                Some(item)
            }
            Some(NextPrice::Added(price)) => {
                let create = CreateSubscriptionItem {
                    subscription: subscription_id.to_owned(),
                    price: price.price_id.clone(),
                    proration_behavior: changes.proration_behavior,
                    bills_usage_records: price.meter_id.is_empty(),
                };
                let created = self.stripe.create_subscription_item(&create, &options);
                let created = created.await?;
                let added_at = Timestamp::from_unix_s(created.created);
                Some(price.into_item(&created.id, Some(added_at)))
            }
            None => None,
        };
        let subscription = if update.item_price.is_some() || update.cancel_at_period_end.is_some() {
            let updated = self
                .stripe
                .update_subscription(subscription_id, &update, &options);
            updated.await?
        } else {
            self.stripe.retrieve_subscription(subscription_id).await?
        };
        Ok((subscription, changed))
    }
}

/// Whether the catalog sends usage to the meter of `price`.
fn names_meter_of(catalog: Option<&Catalog>, price: &MeteredPrice) -> bool {
    let mut meters = catalog.into_iter().flat_map(Catalog::meters);
    meters.any(|meter| meter.event_name == price.meter_event_name)
}
