//! The metered items of a subscription: what it has goes into the customer's
//! row, and what the catalog has beyond is added to it.

use billing::{CustomerId, Timestamp};
use ledger::{CustomerRow, CustomerStatus, MeteredItem};
use metering::customers::trial_of;
use metering::{MeteredPrice, added_at, customer_status, is_metered_item, with_current_items};
use stripe::{CreateSubscriptionItem, Customer, ProrationBehavior, Subscription, SubscriptionItem};

use crate::error::OnboardingError;
use crate::prices::Prices;
use crate::request::creation_by_any;
use crate::steps::{CREATIONS_MAX, Steps};

impl Steps<'_> {
    /// The customer's row, with an item for each of `prices`: a subscription of
    /// an earlier run, or one that was adopted, may lack some.
    pub(crate) async fn complete_row(
        &self,
        customer: &Customer,
        subscription: &Subscription,
        prices: &Prices,
    ) -> Result<CustomerRow, OnboardingError> {
        let row = self.row(customer, subscription, prices).await?;
        let lacking = lacking(&row, subscription, prices);
        if lacking.is_empty() {
            return Ok(row);
        }
        for price in &lacking {
            check_currency(price, &row)?;
        }
        for price in lacking {
            self.create_item(&subscription.id, price).await?;
        }
        // Read anew, not put together from the answers: Stripe may have repeated
        // one about an item that is gone by now.
        let current = self.current_subscription(&subscription.id).await?;
        self.row(customer, &current, prices).await
    }

    /// The customer's row as `subscription` is.
    async fn row(
        &self,
        customer: &Customer,
        subscription: &Subscription,
        prices: &Prices,
    ) -> Result<CustomerRow, OnboardingError> {
        let customer_id = CustomerId::parse(&customer.id)
            .map_err(|_| OnboardingError::Unusable("customer has an id of no known form"))?;
        let first = first_item(subscription, prices)?;
        let mut known = prices.iter().filter_map(|price| {
            let item = metered_items(subscription).find(|it| it.price.id == price.price_id)?;
            Some(
                price
                    .clone()
                    .into_item(&item.id, added_at(item, subscription)),
            )
        });
        let item = match known.next() {
            Some(item) => item,
            // The lookup keys moved to other prices since an earlier run.
            None => {
                let price =
                    MeteredPrice::retrieve(self.stripe(), &first.price.id, prices.catalog());
                price
                    .await?
                    .into_item(&first.id, added_at(first, subscription))
            }
        };
        let at = Timestamp::from_unix_s;
        let row = CustomerRow {
            customer_id,
            external_id: self.request.external_id.clone(),
            subscription_id: subscription.id.clone(),
            item,
            more_items: known.collect(),
            subscription_started_at: at(subscription.start_date),
            subscription_ends_at: subscription.ended_at.or(subscription.cancel_at).map(at),
            trial: trial_of(subscription),
            period_start: at(first.current_period_start),
            period_end: at(first.current_period_end),
            // Nothing is owed before the first period is over.
            status: customer_status(CustomerStatus::Active, &subscription.status, false),
            grace_ends_at: None,
            test_clock: customer.test_clock.clone(),
            version: 1,
            created_at: self.onboarder.clock.now(),
            erased_at: None,
            spending_limit: None,
        };
        let row = with_current_items(self.stripe(), row, subscription, prices.catalog()).await;
        let row = row.map_err(OnboardingError::stripe("retrieve price"))?;
        Ok(with_first(row, &prices.first().meter_event_name))
    }

    /// Adds an item, once: a repeat finds it in the subscription, and one that
    /// does not yet has the same key.
    async fn create_item(
        &self,
        subscription_id: &str,
        price: &MeteredPrice,
    ) -> Result<(), OnboardingError> {
        let create = CreateSubscriptionItem {
            subscription: subscription_id.to_owned(),
            price: price.price_id.clone(),
            proration_behavior: Some(ProrationBehavior::None),
            bills_usage_records: price.meter_id.is_empty(),
        };
        let object = format!("item of {subscription_id} for {}", price.price_id);
        let mut attempt = 0;
        loop {
            let options = self.options(creation_by_any(&object, attempt));
            let created = self.stripe().create_subscription_item(&create, &options);
            let Err(error) = created.await else {
                return Ok(());
            };
            attempt += 1;
            if !error.is_stored_server_error() || attempt == CREATIONS_MAX {
                return Err(OnboardingError::stripe("create subscription item")(error));
            }
            let current = self.current_subscription(subscription_id).await?;
            if metered_items(&current).any(|item| item.price.id == price.price_id) {
                return Ok(());
            }
        }
    }

    pub(crate) async fn current_subscription(
        &self,
        id: &str,
    ) -> Result<Subscription, OnboardingError> {
        let current = self.stripe().retrieve_subscription(id).await;
        current.map_err(OnboardingError::stripe("retrieve subscription"))
    }
}

fn metered_items(subscription: &Subscription) -> impl Iterator<Item = &SubscriptionItem> {
    let items = subscription.items.iter();
    items.filter(|item| is_metered_item(item))
}

/// The item whose usage is billed first of all: that of the first of `prices`
/// whose usage one bills.
fn first_item<'a>(
    subscription: &'a Subscription,
    prices: &Prices,
) -> Result<&'a SubscriptionItem, OnboardingError> {
    let of_price = |price: &MeteredPrice| {
        metered_items(subscription).find(|it| price.bills_usage_of(&it.price))
    };
    prices
        .iter()
        .find_map(of_price)
        .or_else(|| metered_items(subscription).next())
        .ok_or(OnboardingError::Unusable(
            "subscription has no metered item",
        ))
}

/// The prices of the catalog's whose usage no item of the subscription bills,
/// not even one whose price cannot be used: it would be billed twice. What has
/// ended takes no items.
fn lacking<'a>(
    row: &CustomerRow,
    subscription: &Subscription,
    prices: &'a Prices,
) -> Vec<&'a MeteredPrice> {
    if prices.catalog().is_none() || subscription.has_ended() {
        return Vec::new();
    }
    let is_lacking = |price: &&MeteredPrice| {
        row.item_of_meter(&price.meter_event_name).is_none()
            && !metered_items(subscription).any(|item| price.bills_usage_of(&item.price))
    };
    prices.iter().filter(is_lacking).collect()
}

fn check_currency(price: &MeteredPrice, row: &CustomerRow) -> Result<(), OnboardingError> {
    let (of_price, of_row) = (price.price.currency(), row.item.price.currency());
    if of_price == of_row {
        return Ok(());
    }
    Err(OnboardingError::Currency {
        subscription: of_row.as_str().to_owned(),
        price_id: price.price_id.clone(),
        price: of_price.as_str().to_owned(),
    })
}

/// `row` with the item of a meter first, if it has one.
fn with_first(row: CustomerRow, meter_event_name: &str) -> CustomerRow {
    let mut items: Vec<MeteredItem> = row.items().cloned().collect();
    let first = |item: &MeteredItem| item.meter_event_name == meter_event_name;
    if let Some(first) = items.iter().position(first) {
        items[..=first].rotate_right(1);
    }
    let mut items = items.into_iter();
    match items.next() {
        Some(item) => CustomerRow {
            item,
            more_items: items.collect(),
            ..row
        },
        None => row,
    }
}
