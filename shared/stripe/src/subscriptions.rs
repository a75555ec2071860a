//! Subscriptions (Stripe API reference: Subscriptions).

use serde::{Deserialize, Serialize};

use crate::STRIPE_VERSION_WITH_USAGE_RECORDS;
use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, id, optional_id, or_default};
use crate::request::{Request, segment};
use crate::subscription_items::SubscriptionItem;

const PATH: &str = "/v1/subscriptions";

/// What a customer pays for, period after period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    /// `sub_…`.
    pub id: String,
    /// Whose it is, `cus_…`.
    #[serde(deserialize_with = "id")]
    pub customer: String,
    /// `active`, `past_due`, `unpaid`, `canceled`, `incomplete`,
    /// `incomplete_expired`, `trialing` or `paused`.
    pub status: String,
    /// Its items, of which there are hardly ever more than fit here.
    #[serde(default, deserialize_with = "or_default")]
    pub items: List<SubscriptionItem>,
    /// Unix seconds.
    pub created: i64,
    /// When it began, in unix seconds; earlier than `created` if it was backdated.
    pub start_date: i64,
    /// When it will end, in unix seconds.
    pub cancel_at: Option<i64>,
    /// Whether it ends with the current period.
    #[serde(default, deserialize_with = "or_default")]
    pub cancel_at_period_end: bool,
    /// When somebody decided that it ends, in unix seconds.
    pub canceled_at: Option<i64>,
    /// When it ended, in unix seconds.
    pub ended_at: Option<i64>,
    /// When its last trial began, in unix seconds.
    pub trial_start: Option<i64>,
    /// When the trial ends or ended, in unix seconds.
    pub trial_end: Option<i64>,
    /// Three lower-case letters.
    #[serde(default, deserialize_with = "or_default")]
    pub currency: String,
    /// The latest invoice, `in_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub latest_invoice: Option<String>,
    /// Whether it bills in live mode.
    #[serde(default, deserialize_with = "or_default")]
    pub livemode: bool,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// The clock whose time it lives in.
    #[serde(default, deserialize_with = "optional_id")]
    pub test_clock: Option<String>,
}

listed!(Subscription);

impl Subscription {
    /// Whether it is over for good.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// A subscription to be.
#[derive(Clone, Debug, Default)]
pub struct CreateSubscription {
    /// Whose, `cus_…`.
    pub customer: String,
    /// The prices, `price_…`: each becomes an item, in this order.
    pub prices: Vec<String>,
    /// Your own keys.
    pub metadata: Metadata,
    /// What is charged, if not the customer's default, `pm_…`.
    pub default_payment_method: Option<String>,
    /// Days before the first paid period, 1 to 730.
    pub trial_period_days: Option<u32>,
    /// When the trial ends, in unix seconds.
    pub trial_end: Option<i64>,
    /// What the periods count from, in unix seconds: not later than the first
    /// one would end without it.
    pub billing_cycle_anchor: Option<i64>,
    /// What becomes of the time up to the anchor; Stripe's default if none.
    pub proration_behavior: Option<ProrationBehavior>,
    /// Whether Stripe computes the tax.
    pub automatic_tax: bool,
    /// Whether a price has no meter, and bills usage records.
    pub bills_usage_records: bool,
}

/// Whether agreed amounts are billed in part where a period is cut (Stripe
/// documentation: "Prorations"). Usage is never prorated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProrationBehavior {
    /// With the next invoice.
    CreateProrations,
    /// With an invoice of its own, at once.
    AlwaysInvoice,
    /// Not at all.
    None,
}

impl ProrationBehavior {
    /// Stripe's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateProrations => "create_prorations",
            Self::AlwaysInvoice => "always_invoice",
            Self::None => "none",
        }
    }
}

/// What to change of a subscription; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateSubscription {
    /// The item, `si_…`, that gets another price, `price_…`.
    pub item_price: Option<(String, String)>,
    /// Whether an agreed amount is billed in part.
    pub proration_behavior: Option<ProrationBehavior>,
    /// Whether it ends with the current period.
    pub cancel_at_period_end: Option<bool>,
    /// What is charged, if not the customer's default, `pm_…`.
    pub default_payment_method: Option<String>,
    /// Keys to set; the others stay.
    pub metadata: Metadata,
}

/// How a subscription ends at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct CancelSubscription {
    /// Whether the usage so far is billed by a last invoice.
    pub invoice_now: bool,
}

/// What all versions show of a new subscription.
#[derive(Deserialize)]
struct Created {
    id: String,
}

/// Which subscriptions.
#[derive(Clone, Debug, Default)]
pub struct ListSubscriptions {
    /// Of this customer.
    pub customer: Option<String>,
    /// With an item of this price.
    pub price: Option<String>,
    /// In this status; `all` for all. Without it, all but the canceled ones.
    pub status: Option<String>,
    /// On this clock. Without it and a customer, those on a clock are left out.
    pub test_clock: Option<String>,
    /// At most, 1 to 100; ten if none.
    pub limit: Option<u32>,
    /// The last subscription of the page before.
    pub starting_after: Option<String>,
}

impl ListSubscriptions {
    fn filter(&self) -> Form {
        Form::new()
            .with_some("customer", self.customer.as_deref())
            .with_some("price", self.price.as_deref())
            .with_some("status", self.status.as_deref())
            .with_some("test_clock", self.test_clock.as_deref())
    }
}

impl Client {
    /// Makes a subscription.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_subscription(
        &self,
        subscription: &CreateSubscription,
        options: &RequestOptions,
    ) -> Result<Subscription, Error> {
        let items = subscription
            .prices
            .iter()
            .map(|price| Form::new().with("price", price));
        let form = Form::new()
            .with("customer", &subscription.customer)
            .with_nested_array("items", items)
            .with_some(
                "default_payment_method",
                subscription.default_payment_method.as_deref(),
            )
            .with_some("trial_period_days", subscription.trial_period_days)
            .with_some("trial_end", subscription.trial_end)
            .with_some("billing_cycle_anchor", subscription.billing_cycle_anchor)
            .with_some(
                "proration_behavior",
                subscription
                    .proration_behavior
                    .map(ProrationBehavior::as_str),
            )
            .with_nested(
                "automatic_tax",
                Form::new().with_some("enabled", subscription.automatic_tax.then_some(true)),
            )
            .with_metadata(&subscription.metadata);
        let request = Request::post(PATH, form);
        if !subscription.bills_usage_records {
            return self.call(request, options).await;
        }
        // Newer versions take no price without a meter; the object is then read
        // as they show it.
        let request = request.with_version(STRIPE_VERSION_WITH_USAGE_RECORDS);
        let created: Created = self.call(request, options).await?;
        self.retrieve_subscription(&created.id).await
    }

    /// The subscription `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_subscription(&self, id: &str) -> Result<Subscription, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// Changes a subscription.
    ///
    /// # Errors
    /// [`Error`]; a 400 where it has ended.
    pub async fn update_subscription(
        &self,
        id: &str,
        changes: &UpdateSubscription,
        options: &RequestOptions,
    ) -> Result<Subscription, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let items = changes
            .item_price
            .iter()
            .map(|(item, price)| Form::new().with("id", item).with("price", price));
        let form = Form::new()
            .with_nested_array("items", items)
            .with_some(
                "proration_behavior",
                changes.proration_behavior.map(ProrationBehavior::as_str),
            )
            .with_some("cancel_at_period_end", changes.cancel_at_period_end)
            .with_some(
                "default_payment_method",
                changes.default_payment_method.as_deref(),
            )
            .with_metadata(&changes.metadata);
        self.call(Request::post(path, form), options).await
    }

    /// Ends a subscription at once.
    ///
    /// # Errors
    /// [`Error`]; `is_not_found` also where it has ended before, by an earlier
    /// attempt of this call for instance.
    pub async fn cancel_subscription(
        &self,
        id: &str,
        cancel: &CancelSubscription,
        options: &RequestOptions,
    ) -> Result<Subscription, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let form = Form::new().with_some("invoice_now", cancel.invoice_now.then_some(true));
        self.call(Request::delete(path, form), options).await
    }

    /// One page of subscriptions.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_subscriptions(
        &self,
        filter: &ListSubscriptions,
    ) -> Result<List<Subscription>, Error> {
        let query = filter
            .filter()
            .with_some("limit", filter.limit)
            .with_some("starting_after", filter.starting_after.as_deref());
        self.read(Request::get(PATH, &query)).await
    }

    /// All subscriptions of the filter, whatever its limit.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_all_subscriptions(
        &self,
        filter: &ListSubscriptions,
    ) -> Result<List<Subscription>, Error> {
        let query = filter.filter();
        self.list_all_after(PATH, &query, filter.starting_after.as_deref())
            .await
    }
}
