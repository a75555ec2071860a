//! The audit log of one customer as a whole, with where each event stands: for
//! the operator's commands.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;
use billing::{CustomerId, Identifier, Timestamp};

use crate::items::{Item, from_item, text};
use crate::outbox::BUCKETS;
use crate::usage_event_row::customer_bucket;
use crate::{Ledger, LedgerError, UsageEventRow};

pub(crate) const TABLE: &str = "usage-events";
pub(crate) const INDEX: &str = "by-customer";
const KEY: &str = "identifier";

/// Events of one read (Amazon DynamoDB API reference: `BatchGetItem`).
pub const READ_EVENTS_MAX: usize = 100;
/// Reads of the same rows: DynamoDB may leave some out when it is busy.
const READS_MAX: u32 = 8;
/// The wait before the second of them; it grows with each.
const READ_WAIT: Duration = Duration::from_millis(25);

/// How far a reader of one customer's audit log has come.
#[derive(Clone, Debug)]
pub struct UsageLogCursor {
    customer_id: CustomerId,
    from: Timestamp,
    to: Timestamp,
    /// The buckets that are left; the first one is being read.
    buckets: &'static str,
    last_key: Option<Item>,
}

impl UsageLogCursor {
    /// Before every event of `customer_id` that happened in `from..to`.
    pub fn new(customer_id: CustomerId, from: Timestamp, to: Timestamp) -> Self {
        Self {
            customer_id,
            from,
            to,
            buckets: BUCKETS,
            last_key: None,
        }
    }

    /// The same events, by one cursor for each part of the index: they can be
    /// read at once. Together they have read all when each of them has.
    pub fn by_bucket(customer_id: &CustomerId, from: Timestamp, to: Timestamp) -> Vec<Self> {
        let buckets = (0..BUCKETS.len()).filter_map(|at| BUCKETS.get(at..=at));
        let cursor = |buckets| Self {
            customer_id: customer_id.clone(),
            from,
            to,
            buckets,
            last_key: None,
        };
        buckets.map(cursor).collect()
    }
}

impl Ledger {
    /// The next rows after `cursor`, up to 100 and in no order, read
    /// consistently; none where all have been read. `cursor` moves on.
    ///
    /// Which rows there are is read from an index that follows the table
    /// within a moment.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn next_usage_events(
        &self,
        cursor: &mut UsageLogCursor,
    ) -> Result<Option<Vec<UsageEventRow>>, LedgerError> {
        let Some(bucket) = cursor.buckets.get(..1) else {
            return Ok(None);
        };
        let page = self
            .client
            .query()
            .table_name(&self.tables.usage_events)
            .index_name(INDEX)
            .projection_expression(KEY)
            .key_condition_expression(
                "customer_bucket = :bucket AND occurred_key BETWEEN :from AND :to",
            )
            .expression_attribute_values(
                ":bucket",
                text(customer_bucket(&cursor.customer_id, bucket)),
            )
            .expression_attribute_values(":from", text(occurred_prefix(cursor.from)))
            .expression_attribute_values(":to", text(occurred_prefix(cursor.to)))
            .set_exclusive_start_key(cursor.last_key.take())
            .limit(i32::try_from(READ_EVENTS_MAX).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(LedgerError::unavailable("list usage events"))?;
        match page.last_evaluated_key {
            Some(last_key) => cursor.last_key = Some(last_key),
            None => cursor.buckets = cursor.buckets.get(1..).unwrap_or_default(),
        }
        let keys: Vec<Item> = page
            .items
            .unwrap_or_default()
            .into_iter()
            .filter_map(|mut item| item.remove_entry(KEY))
            .map(|entry| HashMap::from([entry]))
            .collect();
        self.rows_of(keys).await.map(Some)
    }

    /// The rows of `identifiers`, up to 100, read consistently. Those that are
    /// not there are left out.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn usage_events(
        &self,
        identifiers: &[Identifier],
    ) -> Result<Vec<UsageEventRow>, LedgerError> {
        self.rows_of(identifiers.iter().map(key_of).collect()).await
    }

    /// As [`usage_events`](Self::usage_events), each row by itself: one that
    /// cannot be read keeps no other from being read.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn look_up_usage_events(
        &self,
        identifiers: &[Identifier],
    ) -> Result<UsageEventsFound, LedgerError> {
        let keys = identifiers.iter().map(key_of).collect();
        let mut found = UsageEventsFound::default();
        let table = &self.tables.usage_events;
        for item in self.items_of(table, keys).await? {
            let identifier = item.get(KEY).and_then(|key| key.as_s().ok()).cloned();
            match from_item::<UsageEventRow>(TABLE, item) {
                Ok(row) => {
                    let identifier = row.identifier.as_str().to_owned();
                    found
                        .0
                        .insert(identifier, UsageEventFound::Row(Box::new(row)));
                }
                Err(error) => {
                    let identifier = identifier.unwrap_or_default();
                    found
                        .0
                        .insert(identifier, UsageEventFound::Unreadable(error));
                }
            }
        }
        Ok(found)
    }

    async fn rows_of(&self, keys: Vec<Item>) -> Result<Vec<UsageEventRow>, LedgerError> {
        let items = self.items_of(&self.tables.usage_events, keys).await?;
        let items = items.into_iter();
        items.map(|item| from_item(TABLE, item)).collect()
    }

    /// The items of `table` that have one of `keys`, up to 100, read consistently.
    pub(crate) async fn items_of(
        &self,
        table: &str,
        mut keys: Vec<Item>,
    ) -> Result<Vec<Item>, LedgerError> {
        let mut items = Vec::with_capacity(keys.len());
        for attempt in 0..READS_MAX {
            if keys.is_empty() {
                return Ok(items);
            }
            tokio::time::sleep(READ_WAIT * attempt).await;
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build()
                .map_err(LedgerError::unavailable("read items"))?;
            let read = self
                .client
                .batch_get_item()
                .request_items(table, wanted)
                .send()
                .await
                .map_err(LedgerError::unavailable("read items"))?;
            let read_items = read.responses.unwrap_or_default().remove(table);
            items.extend(read_items.unwrap_or_default());
            let left = read.unprocessed_keys.unwrap_or_default().remove(table);
            keys = left.map(|left| left.keys).unwrap_or_default();
        }
        Err(LedgerError::unavailable("read items")(LeftOut))
    }
}

/// What the audit log holds of the events that were asked for.
#[derive(Debug, Default)]
pub struct UsageEventsFound(HashMap<String, UsageEventFound>);

/// A row that was asked for.
#[derive(Debug)]
pub enum UsageEventFound {
    /// Its row.
    Row(Box<UsageEventRow>),
    /// It is there, and not what this version writes.
    Unreadable(LedgerError),
}

impl UsageEventsFound {
    /// Takes out what was found of `identifier`, if it is there.
    pub fn take(&mut self, identifier: &Identifier) -> Option<UsageEventFound> {
        self.0.remove(identifier.as_str())
    }
}

fn key_of(identifier: &Identifier) -> Item {
    HashMap::from([(KEY.to_owned(), text(identifier.as_str()))])
}

/// Why a read of many rows gave up.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB keeps leaving rows out of its answers")]
struct LeftOut;

/// Before every key of the instant: `{occurred_at}#{identifier}`.
pub(crate) fn occurred_prefix(at: Timestamp) -> String {
    format!("{:013}", at.unix_ms())
}
