//! Subscription items (Stripe API reference: Subscription Items).

use serde::Deserialize;

use crate::STRIPE_VERSION_WITH_USAGE_RECORDS;
use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::listed;
use crate::object::{Metadata, or_default};
use crate::prices::Price;
use crate::request::{Request, segment};
use crate::subscriptions::ProrationBehavior;

const PATH: &str = "/v1/subscription_items";

/// One price of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SubscriptionItem {
    /// `si_…`.
    pub id: String,
    /// When it was added, in unix seconds.
    pub created: i64,
    /// The price.
    pub price: Price,
    /// When the current period began, in unix seconds.
    pub current_period_start: i64,
    /// When it ends, in unix seconds.
    pub current_period_end: i64,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

listed!(SubscriptionItem);

/// An item to add to a subscription, in the period that its others are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateSubscriptionItem {
    /// The subscription, `sub_…`.
    pub subscription: String,
    /// The price, `price_…`: in the subscription's currency, and of none of its
    /// other items.
    pub price: String,
    /// What becomes of an agreed amount; Stripe's default if none.
    pub proration_behavior: Option<ProrationBehavior>,
    /// Whether the price has no meter, and bills usage records.
    pub bills_usage_records: bool,
}

/// What all versions show of a new item.
#[derive(Deserialize)]
struct Created {
    id: String,
}

impl Client {
    /// Adds an item to a subscription.
    ///
    /// # Errors
    /// [`Error`]; a 400 where an item has the price already, or the price
    /// another currency or interval than the others.
    pub async fn create_subscription_item(
        &self,
        item: &CreateSubscriptionItem,
        options: &RequestOptions,
    ) -> Result<SubscriptionItem, Error> {
        let form = Form::new()
            .with("subscription", &item.subscription)
            .with("price", &item.price)
            .with_some(
                "proration_behavior",
                item.proration_behavior.map(ProrationBehavior::as_str),
            );
        let request = Request::post(PATH, form);
        if !item.bills_usage_records {
            return self.call(request, options).await;
        }
        // As for a subscription: newer versions take no price without a meter,
        // and the item is then read as they show it.
        let request = request.with_version(STRIPE_VERSION_WITH_USAGE_RECORDS);
        let created: Created = self.call(request, options).await?;
        self.retrieve_subscription_item(&created.id).await
    }

    /// The subscription item `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_subscription_item(&self, id: &str) -> Result<SubscriptionItem, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }
}
