//! The audit log, customer by customer: its index `by-customer`.

use billing::{ActionType, CustomerId, EventId, Identifier, Timestamp};
use serde::{Deserialize, Serialize};

use crate::items::{from_item, text};
use crate::outbox::BUCKETS;
use crate::usage_event_row::customer_bucket;
use crate::usage_log::{INDEX, occurred_prefix};
use crate::{Ledger, LedgerError};

/// What the index holds of a usage event: that which never changes. Where the
/// event stands, only its row says ([`Ledger::usage_event`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedUsageEvent {
    /// The key of the row.
    pub identifier: Identifier,
    /// Whose usage it is.
    pub customer_id: CustomerId,
    /// The agent's id of it.
    pub event_id: EventId,
    /// What was done.
    pub action_type: ActionType,
    /// Units used.
    pub quantity: u64,
    /// When it happened.
    pub occurred_at: Timestamp,
}

impl Ledger {
    /// Every usage event of `customer_id` that happened in `from..to`, oldest
    /// first. The index follows the table within a moment, not at once.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or an item is unreadable.
    pub async fn usage_events_of_customer(
        &self,
        customer_id: &CustomerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<IndexedUsageEvent>, LedgerError> {
        let mut events: Vec<IndexedUsageEvent> = Vec::new();
        for bucket in BUCKETS.chars() {
            let bucket = customer_bucket(customer_id, &bucket.to_string());
            let mut pages = self
                .client
                .query()
                .table_name(&self.tables.usage_events)
                .index_name(INDEX)
                .key_condition_expression(
                    "customer_bucket = :bucket AND occurred_key BETWEEN :from AND :to",
                )
                .expression_attribute_values(":bucket", text(bucket))
                .expression_attribute_values(":from", text(occurred_prefix(from)))
                .expression_attribute_values(":to", text(occurred_prefix(to)))
                .into_paginator()
                .items()
                .send();
            while let Some(item) = pages.next().await {
                let item = item.map_err(LedgerError::unavailable("list usage events"))?;
                events.push(from_item("usage-events", item)?);
            }
        }
        events.sort_by(|a, b| (a.occurred_at, &a.identifier).cmp(&(b.occurred_at, &b.identifier)));
        Ok(events)
    }
}
