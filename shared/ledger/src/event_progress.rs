//! How Stripe's events stand with their deliveries: an index lists them by it, so that
//! whoever delivers finds what is due without reading the table, and whoever looks
//! finds what came last.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{CustomerId, Timestamp};
use futures_util::future::try_join_all;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::billing_events::TABLE;
use crate::items::{Item, from_item, number, text};
use crate::outbox::BUCKETS;
use crate::{BillingEventRow, DeliveryState, Ledger, LedgerError};

/// The index, and the attributes that are its key.
pub(crate) const INDEX: &str = "by-progress";
pub(crate) const PROGRESS: &str = "progress";
pub(crate) const PROGRESS_AT: &str = "progress_at";

/// How an event stands as a whole, with all of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something is to be delivered still.
    Pending,
    /// Nothing is pending, and something was given up.
    Dead,
    /// Neither.
    Settled,
}

impl Progress {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dead => "dead",
            Self::Settled => "settled",
        }
    }

    /// Where the index lists it. Sixteen partitions for each, so that a month's
    /// receipts, which come in an hour, have no hot one.
    fn partition(self, bucket: char) -> AttributeValue {
        text(format!("{}#{bucket}", self.as_str()))
    }
}

/// An event, as the index lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedEvent {
    /// Stripe's id of it.
    pub stripe_event_id: String,
    /// Its type.
    pub event_type: String,
    /// The customer that it is about, where it is about one of ours.
    #[serde(default)]
    pub customer_id: Option<CustomerId>,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// When something of it is due; of a dead one, when it was given up; else when it
    /// was applied.
    pub progress_at: Timestamp,
}

/// In which order events are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first due, given up, or applied.
    OldestFirst,
    /// The last.
    NewestFirst,
}

impl BillingEventRow {
    /// How it stands, and since or until when.
    pub fn progress(&self) -> (Progress, Timestamp) {
        let of = |state| {
            let deliveries = self.deliveries.iter();
            let deliveries = deliveries.filter(move |delivery| delivery.state == state);
            deliveries.map(|delivery| delivery.due_at)
        };
        if let Some(due_at) = of(DeliveryState::Pending).min() {
            return (Progress::Pending, due_at);
        }
        match of(DeliveryState::Dead).max() {
            Some(dead_at) => (Progress::Dead, dead_at),
            None => (Progress::Settled, self.applied_at),
        }
    }

    /// The attributes by which the index finds it.
    pub(crate) fn index_key(&self) -> Item {
        let (progress, at) = self.progress();
        let partition = partition_of(&self.stripe_event_id, progress);
        Item::from([
            (PROGRESS.to_owned(), partition),
            (PROGRESS_AT.to_owned(), number(at.unix_ms())),
        ])
    }
}

/// Where the index lists the event while it stands at `progress`.
pub(crate) fn partition_of(stripe_event_id: &str, progress: Progress) -> AttributeValue {
    progress.partition(bucket_of(stripe_event_id))
}

fn bucket_of(stripe_event_id: &str) -> char {
    let digest = Sha256::digest(stripe_event_id.as_bytes());
    let first = digest.first().copied().unwrap_or_default();
    let buckets: Vec<char> = BUCKETS.chars().collect();
    let bucket = buckets.get(usize::from(first) % buckets.len());
    bucket.copied().unwrap_or('0')
}

impl Ledger {
    /// Events that stand at `progress`, in `order`: of each of sixteen
    /// partitions up to `limit`, and of those up to `until`, if it says so.
    ///
    /// The index is behind the table for a moment: a change decides by the row.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or an entry is unreadable.
    pub async fn billing_events_at(
        &self,
        progress: Progress,
        order: Order,
        until: Option<Timestamp>,
        limit: i32,
    ) -> Result<Vec<ListedEvent>, LedgerError> {
        let buckets = BUCKETS.chars();
        let pages = buckets.map(|bucket| {
            let partition = progress.partition(bucket);
            self.listed_in(partition, order, until, limit)
        });
        let pages = try_join_all(pages).await?;
        let mut listed: Vec<ListedEvent> = pages.into_iter().flatten().collect();
        listed.sort_by_key(|event| event.progress_at);
        if order == Order::NewestFirst {
            listed.reverse();
        }
        Ok(listed)
    }

    async fn listed_in(
        &self,
        partition: AttributeValue,
        order: Order,
        until: Option<Timestamp>,
        limit: i32,
    ) -> Result<Vec<ListedEvent>, LedgerError> {
        let query = self
            .client
            .query()
            .table_name(&self.tables.billing_events)
            .index_name(INDEX)
            .expression_attribute_names("#progress", PROGRESS)
            .expression_attribute_values(":progress", partition)
            .scan_index_forward(order == Order::OldestFirst)
            .limit(limit);
        let query = match until {
            None => query.key_condition_expression("#progress = :progress"),
            Some(until) => query
                .key_condition_expression("#progress = :progress AND #at <= :until")
                .expression_attribute_names("#at", PROGRESS_AT)
                .expression_attribute_values(":until", number(until.unix_ms())),
        };
        let page = query.send().await;
        let page = page.map_err(LedgerError::unavailable("list billing events"))?;
        let items = page.items.unwrap_or_default().into_iter();
        items.map(|item| from_item(TABLE, item)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BillingEventState, Channel, Delivery};

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn event(states: &[(DeliveryState, i64)]) -> BillingEventRow {
        let deliveries = states.iter().map(|(state, after_ms)| Delivery {
            state: *state,
            due_at: NOW.plus_ms(*after_ms),
            ..Delivery::new("evt_1:receipt", Channel::Email, NOW)
        });
        BillingEventRow {
            stripe_event_id: "evt_1".to_owned(),
            event_type: "invoice.paid".to_owned(),
            customer_id: None,
            created_at: NOW,
            applied_at: NOW,
            state: BillingEventState::Done,
            notifications: Vec::new(),
            deliveries: deliveries.collect(),
        }
    }

    #[test]
    fn an_event_is_pending_while_any_delivery_is_and_due_with_the_first() {
        use DeliveryState::{Dead, Dropped, Pending, Sent};
        let after = |ms| NOW.plus_ms(ms);
        for (states, progress) in [
            (&[][..], (Progress::Settled, NOW)),
            (&[(Sent, 5), (Dropped, 9)], (Progress::Settled, NOW)),
            (
                &[(Sent, 5), (Dead, 7), (Dead, 6)],
                (Progress::Dead, after(7)),
            ),
            (
                &[(Dead, 1), (Pending, 9), (Pending, 8)],
                (Progress::Pending, after(8)),
            ),
        ] {
            assert_eq!(event(states).progress(), progress, "{states:?}");
        }
    }
}
