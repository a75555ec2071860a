//! What is pending, a moment after it became so: kept by the rollup, read by
//! redelivery. An entry says "look at this event"; the audit log decides.

use std::collections::{BTreeMap, HashMap};

use billing::{Identifier, Timestamp};
use serde::{Deserialize, Serialize};

use crate::items::{Item, from_item, text};
use crate::{Ledger, LedgerError};

const TABLE: &str = "outbox";

/// The hex digits that outbox and audit index are spread over.
pub(crate) const BUCKETS: &str = "0123456789abcdef";

/// Where an event stands in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    /// The first hex digit of the identifier.
    pub bucket: String,
    /// `{pending_since}#{identifier}`, so that a bucket is read oldest first.
    pub outbox_key: String,
}

impl OutboxKey {
    /// The place of the event `identifier` that became pending at `pending_since`.
    pub fn new(identifier: &Identifier, pending_since: Timestamp) -> Self {
        Self {
            bucket: identifier.bucket().to_owned(),
            outbox_key: format!("{:013}#{identifier}", pending_since.unix_ms()),
        }
    }
}

/// An entry of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// The first hex digit of the identifier.
    pub bucket: String,
    /// `{pending_since}#{identifier}`.
    pub outbox_key: String,
    /// The event.
    pub identifier: Identifier,
}

impl OutboxEntry {
    /// When the event became pending.
    pub fn pending_since(&self) -> Option<Timestamp> {
        let (unix_ms, _) = self.outbox_key.split_once('#')?;
        unix_ms.parse().ok().map(Timestamp::from_unix_ms)
    }
}

/// What was read of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxEntries {
    /// The entries, oldest first.
    pub entries: Vec<OutboxEntry>,
    /// The keys of items that are no entry. They stay where they are, and keep
    /// no other from being read.
    pub unreadable: Vec<OutboxKey>,
}

impl OutboxEntries {
    fn add(&mut self, item: Item) {
        let attribute = |name: &str| {
            let attribute = item.get(name).and_then(|value| value.as_s().ok());
            attribute.cloned().unwrap_or_default()
        };
        let key = OutboxKey {
            bucket: attribute("bucket"),
            outbox_key: attribute("outbox_key"),
        };
        match from_item(TABLE, item) {
            Ok(entry) => self.entries.push(entry),
            Err(_) => self.unreadable.push(key),
        }
    }
}

/// How far a reader has come in each bucket of the outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxCursor {
    /// Bucket to the last key that was read of it; none where it has been read
    /// to its end. A bucket that is not in it has not been read.
    last_keys: BTreeMap<char, Option<String>>,
}

impl OutboxCursor {
    /// Reads no further in `bucket`: it is another's.
    pub fn leave(&mut self, bucket: &str) {
        self.last_keys
            .extend(bucket.chars().map(|bucket| (bucket, None)));
    }

    /// Whether every bucket has been read to its end, or left.
    pub fn is_at_end(&self) -> bool {
        BUCKETS
            .chars()
            .all(|bucket| matches!(self.last_keys.get(&bucket), Some(None)))
    }
}

impl Ledger {
    /// The next events after `cursor` that became pending before `before`, up
    /// to `limit` of each bucket, oldest first over all; `cursor` moves on.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn next_outbox_entries(
        &self,
        cursor: &mut OutboxCursor,
        before: Timestamp,
        limit: i32,
    ) -> Result<OutboxEntries, LedgerError> {
        let mut read = OutboxEntries::default();
        for bucket in BUCKETS.chars() {
            let after = match cursor.last_keys.get(&bucket) {
                Some(None) => continue,
                Some(Some(key)) => Some(key.as_str()),
                None => None,
            };
            let (items, last_key) = self.outbox_page_of(bucket, after, before, limit).await?;
            cursor.last_keys.insert(bucket, last_key);
            for item in items {
                read.add(item);
            }
        }
        read.entries.sort_by(|a, b| a.outbox_key.cmp(&b.outbox_key));
        Ok(read)
    }

    /// One page of one bucket, and the key to go on after, if there is more.
    async fn outbox_page_of(
        &self,
        bucket: char,
        after: Option<&str>,
        before: Timestamp,
        limit: i32,
    ) -> Result<(Vec<Item>, Option<String>), LedgerError> {
        let start = after.map(|key| key_of(&bucket.to_string(), key));
        let page = self
            .client
            .query()
            .table_name(&self.tables.outbox)
            .key_condition_expression("#bucket = :bucket AND outbox_key < :before")
            // A reserved word of DynamoDB's.
            .expression_attribute_names("#bucket", "bucket")
            .expression_attribute_values(":bucket", text(bucket))
            .expression_attribute_values(":before", text(format!("{:013}", before.unix_ms())))
            .set_exclusive_start_key(start)
            .limit(limit)
            .send()
            .await
            .map_err(LedgerError::unavailable("read outbox"))?;
        let last_key = page
            .last_evaluated_key
            .and_then(|mut key| key.remove("outbox_key"))
            .and_then(|key| key.as_s().ok().cloned());
        Ok((page.items.unwrap_or_default(), last_key))
    }

    /// Removes an entry that points to an event that is pending no more, or
    /// pending since another time. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps removed.
    pub async fn remove_outbox_entry(&self, entry: &OutboxEntry) -> Result<(), LedgerError> {
        self.client
            .delete_item()
            .table_name(&self.tables.outbox)
            .set_key(Some(key_of(&entry.bucket, &entry.outbox_key)))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("remove outbox entry"))
    }
}

fn key_of(bucket: &str, outbox_key: &str) -> Item {
    HashMap::from([
        ("bucket".to_owned(), text(bucket)),
        ("outbox_key".to_owned(), text(outbox_key)),
    ])
}
