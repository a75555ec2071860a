//! A customer's subscription, changed and ended:
//! `POST /v1/customers/{customer_id}/subscription` and
//! `DELETE /v1/customers/{customer_id}/subscription`, as Stripe has them for
//! subscriptions (Stripe API reference: Update a subscription; Cancel a
//! subscription).
//!
//! Stripe decides; the row follows in the same call, so that nobody waits for
//! the webhook. Where a crash keeps it from that, the webhook brings it.

use axum::extract::{Query, State as Shared};
use axum::response::{IntoResponse, Response};
use billing::{FieldError, Timestamp};
use ledger::{CustomerRow, CustomerStatus, MeteredItem, Updated};
use metering::customer_status;
use metering::customers::with_subscription;
use serde::{Deserialize, Serialize};
use stripe::{CancelSubscription, ProrationBehavior, RequestOptions, Subscription};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{JsonBody, Problem};

use crate::State;
use crate::error::OnboardingError;
use crate::item_answer::{ItemAnswer, item_answers};
use crate::onboard::Onboarder;
use crate::operator::CustomerPath;

/// How often a row that others change meanwhile is read again.
const ATTEMPTS_MAX: u32 = 8;

/// What may change of a subscription.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = SubscriptionChanges)]
pub(crate) struct Changes {
    /// The price that usage is billed at from now on.
    #[schema(required = false, schema_with = crate::openapi::lookup_key_or_null)]
    pub(crate) price_lookup_key: Option<String>,
    /// Whether what was agreed on is billed in part at a change of the price.
    #[schema(required = false, schema_with = crate::openapi::proration_behavior)]
    pub(crate) proration_behavior: Option<ProrationBehavior>,
    /// Whether it ends with the current period; `false` takes that back.
    pub(crate) cancel_at_period_end: Option<bool>,
}

/// How a subscription is to end.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CancelQuery {
    /// Whether the usage so far is billed by a last invoice.
    invoice_now: Option<bool>,
}

/// A subscription as it is after the call.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(crate) struct Answer<'a> {
    #[schema(schema_with = schema::customer_id)]
    customer_id: &'a str,
    subscription_id: &'a str,
    /// The item that was changed, else the first one.
    subscription_item_id: &'a str,
    subscription_items: Vec<ItemAnswer<'a>>,
    #[schema(schema_with = schema::customer_status)]
    status: &'static str,
    /// Of that item.
    price_id: &'a str,
    #[schema(schema_with = schema::time)]
    current_period_end: String,
    /// When it ends or ended; null while it goes on.
    #[schema(required, schema_with = schema::time_or_null)]
    ends_at: Option<String>,
}

/// Changes the price, or whether the subscription ends with its period.
pub(crate) async fn update(
    Shared(state): Shared<State>,
    CustomerPath(customer_id): CustomerPath,
    JsonBody(changes): JsonBody<Changes>,
) -> Result<Response, Problem> {
    let onboarder = &state.onboarder;
    if changes.price_lookup_key.is_none() && changes.cancel_at_period_end.is_none() {
        let reason = "or cancel_at_period_end is needed";
        return Err(FieldError::new("price_lookup_key", reason).into());
    }
    if changes.proration_behavior.is_some() && changes.price_lookup_key.is_none() {
        let reason = "has a meaning with a price_lookup_key only";
        return Err(FieldError::new("proration_behavior", reason).into());
    }
    let customer = onboarder.known(&customer_id).await?;
    let next_price = match &changes.price_lookup_key {
        Some(lookup_key) => {
            let next_price =
                onboarder.next_price(lookup_key, changes.proration_behavior, &customer);
            Some(next_price.await?)
        }
        None => None,
    };
    let changed = onboarder.change(&customer.subscription_id, &changes, next_price);
    let (subscription, item) = match changed.await {
        Ok(changed) => changed,
        Err(error) => return Err(onboarder.explain(&customer, error).await.into()),
    };
    let row = onboarder
        .follow(customer, &subscription, item.as_ref())
        .await?;
    Ok(answer(&row, item.as_ref()))
}

/// Ends the subscription at once. Ending what has ended is no error.
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    CustomerPath(customer_id): CustomerPath,
    query: Result<Query<CancelQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|_| FieldError::new("invoice_now", "must be true or false"))?;
    let onboarder = &state.onboarder;
    let customer = onboarder.known(&customer_id).await?;
    let cancel = CancelSubscription {
        // Usage that nobody bills now, nobody bills at all.
        invoice_now: query.invoice_now.unwrap_or(true),
    };
    let options = RequestOptions::until(onboarder.deadline());
    let ended = onboarder
        .stripe
        .cancel_subscription(&customer.subscription_id, &cancel, &options)
        .await;
    let subscription = match ended {
        Ok(subscription) => subscription,
        Err(error) if error.is_not_found() => onboarder.subscription_of(&customer).await?,
        Err(error) => {
            return Err(OnboardingError::stripe("cancel subscription")(error).into());
        }
    };
    let row = onboarder.follow(customer, &subscription, None).await?;
    Ok(answer(&row, None))
}

impl Onboarder {
    /// The customer's subscription as Stripe has it now.
    pub(crate) async fn subscription_of(
        &self,
        customer: &CustomerRow,
    ) -> Result<Subscription, OnboardingError> {
        let subscription = self
            .stripe
            .retrieve_subscription(&customer.subscription_id)
            .await;
        subscription.map_err(OnboardingError::stripe("retrieve subscription"))
    }

    /// Why Stripe did not change a subscription.
    async fn explain(&self, customer: &CustomerRow, error: stripe::Error) -> OnboardingError {
        match self.subscription_of(customer).await {
            Ok(subscription) if subscription.has_ended() => OnboardingError::Ended,
            _ => OnboardingError::stripe("update subscription")(error),
        }
    }

    /// Brings the row to what Stripe answered, unless somebody has brought it
    /// further. Whether anything is owed is the webhook's to say.
    async fn follow(
        &self,
        mut read: CustomerRow,
        subscription: &Subscription,
        item: Option<&MeteredItem>,
    ) -> Result<CustomerRow, OnboardingError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut row = with_subscription(&read, subscription);
            if subscription.has_ended() {
                row.status = customer_status(read.status, &subscription.status, false);
                row.grace_ends_at = None;
            }
            if let Some(item) = item {
                put(&mut row, item);
            }
            if row == read {
                return Ok(read);
            }
            match self.ledger.update_customer(&read, row.clone()).await? {
                Updated::Done => return Ok(row),
                Updated::VersionConflict => read = self.known(&read.customer_id).await?,
            }
        }
        // Somebody else is at it, and will have read what Stripe says now.
        Ok(read)
    }
}

/// Puts `item` in the place of the one with its id, or beside the others.
fn put(row: &mut CustomerRow, item: &MeteredItem) {
    let mut items = std::iter::once(&mut row.item).chain(&mut row.more_items);
    match items.find(|it| it.subscription_item_id == item.subscription_item_id) {
        Some(before) => before.clone_from(item),
        None => row.more_items.push(item.clone()),
    }
}

fn answer(row: &CustomerRow, changed: Option<&MeteredItem>) -> Response {
    let item = changed.unwrap_or(&row.item);
    let answer = Answer {
        customer_id: row.customer_id.as_str(),
        subscription_id: &row.subscription_id,
        subscription_item_id: &item.subscription_item_id,
        subscription_items: item_answers(row),
        status: CustomerStatus::as_str(row.status),
        price_id: &item.price_id,
        current_period_end: row.period_end.to_string(),
        ends_at: row.subscription_ends_at.as_ref().map(Timestamp::to_string),
    };
    axum::Json(answer).into_response()
}
