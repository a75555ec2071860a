//! Usage records, for accounts whose metered prices have no meter (Stripe API
//! reference: Usage Records, of versions before `2025-03-31.basil`).
//!
//! Nothing but the idempotency key keeps Stripe from adding a repeat, so an
//! event has one key, its identifier, and what Stripe has stored under it
//! decides. The key holds one request: an event that was carried over is
//! another. Then the first one is asked for again, which brings its stored
//! answer. If it was refused, as one of a period that is over is, a second key
//! is safe; there is never a third.

use billing::Timestamp;
use ledger::{Ledger, UsageEventRow};
use stripe::{Client, CreateUsageRecord, Error, IdempotencyKey, RequestOptions, Sent, UsageRecord};
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
        let mut created = self.create(&record, key_of(row), deadline).await;
        if row.carried_over && is_of_another_request(&created) {
            let uncarried = CreateUsageRecord {
                timestamp: first_told(row).unix_s(),
                ..record.clone()
            };
            created = self.create(&uncarried, key_of(row), deadline).await;
            if is_refused(&created) {
                created = self.create(&record, second_key_of(row), deadline).await;
            }
        }
        answer_of(row, created)
    }

    async fn create(
        &self,
        record: &CreateUsageRecord,
        key: IdempotencyKey,
        deadline: Instant,
    ) -> Result<UsageRecord, Error> {
        let options = RequestOptions::until(deadline).idempotency_key(key);
        self.stripe.create_usage_record(record, &options).await
    }

    /// The item that the row names, else its customer's for the row's meter.
    async fn item_of(&self, row: &UsageEventRow) -> Option<String> {
        if let Some(named) = &row.subscription_item_id {
            return Some(named.clone());
        }
        match self.ledger.customer(&row.customer_id).await {
            Ok(customer) => {
                let customer = customer?;
                let item = customer.item_of_meter(&row.meter_event_name)?;
                Some(item.subscription_item_id.clone())
            }
            Err(error) => {
                tracing::warn!(
                    identifier = %row.identifier,
                    error = %error,
                    "the customer of a pending event cannot be read"
                );
                None
            }
        }
    }
}

/// The time that the first sending told of a row that was carried over. Of one that was
/// redriven since, only when it happened is known.
fn first_told(row: &UsageEventRow) -> Timestamp {
    row.told_at.first().copied().unwrap_or(row.occurred_at)
}

fn key_of(row: &UsageEventRow) -> IdempotencyKey {
    IdempotencyKey::new(row.identifier.as_str())
}

fn second_key_of(row: &UsageEventRow) -> IdempotencyKey {
    IdempotencyKey::derived(&["carried over", row.identifier.as_str()])
}

fn answer_of(row: &UsageEventRow, created: Result<UsageRecord, Error>) -> Answer {
    let error = match created {
        Ok(record) => {
            return Answer::Taken {
                stripe_record_id: Some(record.id),
            };
        }
        Err(error) => error,
    };
    if matches!(error, Error::UnreadableAnswer { .. }) {
        // Stripe did it, and tells it in other words.
        return Answer::Taken {
            stripe_record_id: None,
        };
    }
    log_refusal(1, &error);
    // What is stored under the key stays there for longer than the send window.
    if error.is_stored_server_error() || error.is_key_of_another_request() {
        tracing::error!(
            identifier = %row.identifier,
            "Stripe will not say whether it has a usage record"
        );
        return Answer::Unknowable;
    }
    Answer::of(&error, Sent::No)
}

/// Stripe surely did not add it, whatever the reason.
fn is_refused(created: &Result<UsageRecord, Error>) -> bool {
    created
        .as_ref()
        .is_err_and(|error| error.status() == Some(400) && !error.is_key_of_another_request())
}

fn is_of_another_request(created: &Result<UsageRecord, Error>) -> bool {
    created
        .as_ref()
        .is_err_and(Error::is_key_of_another_request)
}
