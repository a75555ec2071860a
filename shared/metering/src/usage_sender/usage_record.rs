//! Usage records, for accounts whose metered prices have no meter (Stripe API
//! reference: Usage Records, of versions before `2025-03-31.basil`).

use ledger::{Ledger, UsageEventRow};
use stripe::{Client, CreateUsageRecord, Error, IdempotencyKey, RequestOptions, Sent};
use tokio::time::Instant;

use super::{Answer, REQUESTS_IN_FLIGHT, Trouble, log_refusal};
use crate::in_flight::in_order;

/// Adds to subscription items.
pub(crate) struct UsageRecords {
    ledger: Ledger,
    stripe: Client,
}

impl UsageRecords {
    pub(crate) const fn new(ledger: Ledger, stripe: Client) -> Self {
        Self { ledger, stripe }
    }

    pub(super) async fn send(&self, rows: &[&UsageEventRow], deadline: Instant) -> Vec<Answer> {
        let sendings = rows.iter().map(|row| self.send_one(row, deadline));
        in_order(sendings.collect(), REQUESTS_IN_FLIGHT).await
    }

    /// Under the identifier as idempotency key, always: nothing else keeps
    /// Stripe from adding a repeat. So what Stripe has stored under it is the
    /// last that it will say within the send window.
    pub(crate) async fn send_one(&self, row: &UsageEventRow, deadline: Instant) -> Answer {
        let (Some(billed_at), Some(subscription_item)) = (row.billed_at, self.item_of(row).await)
        else {
            return Answer::Unsettled(Trouble::Unhelpful);
        };
        let record = CreateUsageRecord {
            subscription_item,
            quantity: row.quantity,
            timestamp: billed_at.unix_s(),
        };
        let key = IdempotencyKey::new(row.identifier.as_str());
        let options = RequestOptions::until(deadline).idempotency_key(key);
        match self.stripe.create_usage_record(&record, &options).await {
            Ok(record) => Answer::Taken {
                stripe_record_id: Some(record.id),
            },
            // Stripe did it, and tells it in other words.
            Err(Error::UnreadableAnswer { .. }) => Answer::Taken {
                stripe_record_id: None,
            },
            Err(error) if is_stuck(&error) => {
                log_stuck(row, &error);
                Answer::Unknowable
            }
            Err(error) => {
                log_refusal(1, &error);
                Answer::of(&error, Sent::No)
            }
        }
    }

    /// The item that the row names, else its customer's.
    async fn item_of(&self, row: &UsageEventRow) -> Option<String> {
        if let Some(named) = &row.subscription_item_id {
            return Some(named.clone());
        }
        match self.ledger.customer(&row.customer_id).await {
            Ok(customer) => customer.map(|customer| customer.subscription_item_id),
            Err(error) => {
                tracing::warn!(identifier = %row.identifier, error = %error, "an event's customer cannot be read");
                None
            }
        }
    }
}

/// Whether no repeat brings another answer: the key holds an error of Stripe's
/// own, or an earlier sending with another billing time, whose answer was lost
/// before the event was carried over.
fn is_stuck(error: &Error) -> bool {
    let is_of_another_request = error.status() == Some(400) && error.is_idempotency_error();
    error.is_stored_server_error() || is_of_another_request
}

fn log_stuck(row: &UsageEventRow, error: &Error) {
    tracing::error!(
        identifier = %row.identifier,
        error = %error,
        request_id = error.request_id(),
        "Stripe does not say whether it has a usage record"
    );
}
