//! What is pending, a moment after it became so: kept by the rollup, read by
//! redelivery. An entry says "look at these events"; the audit log decides.

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Identifier, Timestamp};
use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};

use crate::error::is_condition_failure;
use crate::items::{Item, number, text};
use crate::{Ledger, LedgerError};

/// The hex digits that outbox and audit index are spread over.
pub(crate) const BUCKETS: &str = "0123456789abcdef";

/// The attribute that lists an entry's events: 32 bytes for each.
pub(crate) const IDENTIFIERS: &str = "identifiers";

/// The attribute that tells when the last of them became pending.
pub(crate) const PENDING_SINCE: &str = "pending_since";

/// The events that one entry may list: 320 kB of the 400 kB of an item (Amazon
/// DynamoDB Developer Guide: "Service quotas").
pub const ENTRY_EVENTS_MAX: usize = 10_000;

/// Where an entry stands in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    /// One of 16 hex digits: no bucket is a hot partition, and redelivery leases
    /// them one by one.
    pub bucket: String,
    /// `{pending_since}#{origin}`, so that a bucket is read oldest first. The time
    /// is no later than when the entry was made: one agent's clock that is hours
    /// ahead must not keep the others' events waiting.
    pub outbox_key: String,
}

impl OutboxKey {
    /// The place of what `origin` lists, pending since `pending_since`.
    pub(crate) fn new(origin: &str, pending_since: Timestamp) -> Self {
        let digest = hex::encode(Sha256::digest(origin.as_bytes()));
        Self {
            bucket: digest.get(..1).unwrap_or("0").to_owned(),
            outbox_key: format!("{:013}#{origin}", pending_since.unix_ms()),
        }
    }
}

/// Events that became pending in one step, and did not leave it in that step.
///
/// Nobody takes an event out when it is settled: that would cost two writes for
/// each. An entry may list events that are pending no more, and goes when
/// redelivery finds that all of them are settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place.
    pub key: OutboxKey,
    /// When the last of its events became pending, by the clock that said so.
    pub pending_since: Timestamp,
    /// The events, each once.
    pub identifiers: Vec<Identifier>,
}

impl OutboxEntry {
    /// An entry of `events`, by when each became pending, made at `now`; none
    /// where there are no events. `origin` names the step that lists them, and
    /// no other.
    pub fn new(
        origin: &str,
        events: &BTreeMap<Identifier, Timestamp>,
        now: Timestamp,
    ) -> Option<Self> {
        let last = *events.values().max()?;
        Some(Self {
            key: OutboxKey::new(origin, last.min(now)),
            pending_since: last,
            identifiers: events.keys().cloned().collect(),
        })
    }

    /// The item that holds it; none where an identifier is no 64 hex digits.
    pub(crate) fn to_item(&self) -> Option<Item> {
        let mut item = key_of(&self.key);
        item.insert(IDENTIFIERS.to_owned(), set_of(&self.identifiers)?);
        let pending_since = number(self.pending_since.unix_ms());
        item.insert(PENDING_SINCE.to_owned(), pending_since);
        Some(item)
    }

    /// Reads an item that lies at `key`. One that lists nothing is an entry whose
    /// last events were settled by two at once.
    pub(crate) fn from_item(key: OutboxKey, item: &Item) -> Option<Self> {
        let pending_since = item.get(PENDING_SINCE)?.as_n().ok()?;
        let pending_since = Timestamp::from_unix_ms(pending_since.parse().ok()?);
        let identifiers = match item.get(IDENTIFIERS) {
            None => Vec::new(),
            Some(set) => {
                let bytes = set.as_bs().ok()?.iter();
                let identifiers = bytes.map(|bytes| Identifier::from_bytes(bytes.as_ref()));
                identifiers.collect::<Option<_>>()?
            }
        };
        Some(Self {
            key,
            pending_since,
            identifiers,
        })
    }
}

/// The key of an item of the outbox, as far as it has one.
pub(crate) fn key_in(item: &Item) -> OutboxKey {
    let attribute = |name: &str| {
        let attribute = item.get(name).and_then(|value| value.as_s().ok());
        attribute.cloned().unwrap_or_default()
    };
    OutboxKey {
        bucket: attribute("bucket"),
        outbox_key: attribute("outbox_key"),
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
    fn add(&mut self, item: &Item) {
        let key = key_in(item);
        match OutboxEntry::from_item(key.clone(), item) {
            Some(entry) => self.entries.push(entry),
            None => self.unreadable.push(key),
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
    /// The next entries after `cursor` whose events became pending before
    /// `before`, up to `limit` of each bucket, oldest first over all; `cursor`
    /// moves on.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn next_outbox_entries(
        &self,
        cursor: &mut OutboxCursor,
        before: Timestamp,
        limit: i32,
    ) -> Result<OutboxEntries, LedgerError> {
        let pages = BUCKETS.chars().filter_map(|bucket| {
            let after = match cursor.last_keys.get(&bucket) {
                Some(None) => return None,
                Some(Some(key)) => Some(key.as_str()),
                None => None,
            };
            let page = self.outbox_page_of(bucket, after, before, limit);
            Some(async move { page.await.map(|page| (bucket, page)) })
        });
        let mut read = OutboxEntries::default();
        for (bucket, (items, last_key)) in try_join_all(pages).await? {
            cursor.last_keys.insert(bucket, last_key);
            for item in &items {
                read.add(item);
            }
        }
        read.entries
            .sort_by(|a, b| a.key.outbox_key.cmp(&b.key.outbox_key));
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
        let start = after.map(|after| {
            key_of(&OutboxKey {
                bucket: bucket.to_string(),
                outbox_key: after.to_owned(),
            })
        });
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

    /// Takes `settled` out of `entry`, which goes when nothing is left of it.
    /// Repeating it changes nothing; two at once may take out the same.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps taken out.
    pub async fn settle_in_outbox(
        &self,
        entry: &OutboxEntry,
        settled: &HashSet<Identifier>,
    ) -> Result<(), LedgerError> {
        let is_settled = |identifier: &&Identifier| settled.contains(identifier);
        if entry.identifiers.iter().all(|it| is_settled(&it)) {
            return self.remove_outbox_entry(&entry.key).await;
        }
        let gone: Vec<Identifier> = entry
            .identifiers
            .iter()
            .filter(is_settled)
            .cloned()
            .collect();
        let Some(gone) = set_of(&gone).filter(|_| !gone.is_empty()) else {
            return Ok(());
        };
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.outbox)
            .set_key(Some(key_of(&entry.key)))
            .update_expression("DELETE #identifiers :settled")
            // Without it, an entry that somebody removed meanwhile would come back.
            .condition_expression("attribute_exists(outbox_key)")
            .expression_attribute_names("#identifiers", IDENTIFIERS)
            .expression_attribute_values(":settled", gone)
            .send()
            .await;
        match updated {
            Ok(_) => Ok(()),
            Err(error) if is_condition_failure(&error) => Ok(()),
            Err(error) => Err(LedgerError::unavailable("settle outbox entry")(error)),
        }
    }

    /// Puts an entry into the outbox, beside what is listed at its place already:
    /// for a rebuild. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps there.
    pub async fn put_outbox_entry(&self, entry: &OutboxEntry) -> Result<(), LedgerError> {
        const OPERATION: &str = "put outbox entry";
        let listed = set_of(&entry.identifiers);
        let listed = listed.ok_or_else(|| LedgerError::unavailable(OPERATION)(NoIdentifier))?;
        self.client
            .update_item()
            .table_name(&self.tables.outbox)
            .set_key(Some(key_of(&entry.key)))
            .update_expression("SET #pending_since = :pending_since ADD #identifiers :listed")
            .expression_attribute_names("#pending_since", PENDING_SINCE)
            .expression_attribute_names("#identifiers", IDENTIFIERS)
            .expression_attribute_values(":pending_since", number(entry.pending_since.unix_ms()))
            .expression_attribute_values(":listed", listed)
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable(OPERATION))
    }

    async fn remove_outbox_entry(&self, key: &OutboxKey) -> Result<(), LedgerError> {
        self.client
            .delete_item()
            .table_name(&self.tables.outbox)
            .set_key(Some(key_of(key)))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("remove outbox entry"))
    }
}

/// What is to be listed is no identifier.
#[derive(Debug, thiserror::Error)]
#[error("an identifier is not 64 hex digits")]
struct NoIdentifier;

fn key_of(key: &OutboxKey) -> Item {
    HashMap::from([
        ("bucket".to_owned(), text(&key.bucket)),
        ("outbox_key".to_owned(), text(&key.outbox_key)),
    ])
}

/// A set of identifiers; none where one is no 64 hex digits.
fn set_of(identifiers: &[Identifier]) -> Option<AttributeValue> {
    let bytes = identifiers.iter().map(Identifier::to_bytes);
    let blobs = bytes.map(|bytes| bytes.map(Blob::new));
    blobs.collect::<Option<_>>().map(AttributeValue::Bs)
}

#[cfg(test)]
mod tests {
    use billing::{CustomerId, EventId};

    use super::*;

    fn identifier(event_id: &str) -> Identifier {
        let customer_id = CustomerId::parse("cus_1").unwrap();
        Identifier::of(&customer_id, &EventId::parse(event_id).unwrap())
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_stands_where_its_last_event_became_pending() {
        let events = [("a", 7), ("b", 9), ("c", 8)]
            .map(|(event_id, at)| (identifier(event_id), Timestamp::from_unix_ms(at)));
        let (events, now) = (BTreeMap::from(events), Timestamp::from_unix_ms(10));
        let entry = OutboxEntry::new("shard#5", &events, now).unwrap();
        assert_eq!(entry.key.outbox_key, "0000000000009#shard#5");
        let item = entry.to_item().unwrap();
        assert_eq!(key_in(&item), entry.key);
        assert_eq!(OutboxEntry::from_item(key_in(&item), &item), Some(entry));
        assert_eq!(OutboxEntry::new("shard#5", &BTreeMap::new(), now), None);
    }

    #[test]
    fn a_clock_that_is_ahead_keeps_no_entry_waiting() {
        let (now, ahead) = (Timestamp::from_unix_ms(5), Timestamp::from_unix_ms(9));
        let events = BTreeMap::from([(identifier("a"), ahead)]);
        let entry = OutboxEntry::new("shard#5", &events, now).unwrap();
        assert_eq!(entry.key.outbox_key, "0000000000005#shard#5");
        assert_eq!(entry.pending_since, ahead);
    }

    #[test]
    fn what_is_no_entry_is_unreadable_and_named() {
        let key = OutboxKey::new("origin", Timestamp::from_unix_ms(9));
        let entry = |identifiers: Option<AttributeValue>| {
            let mut item = key_of(&key);
            item.insert(PENDING_SINCE.to_owned(), number(9));
            item.extend(identifiers.map(|set| (IDENTIFIERS.to_owned(), set)));
            item
        };
        let mut read = OutboxEntries::default();
        let short = AttributeValue::Bs(vec![Blob::new("short")]);
        for odd in [short, text("ab".repeat(32))] {
            read.add(&entry(Some(odd)));
        }
        let mut of_another_version = key_of(&key);
        of_another_version.insert("identifier".to_owned(), text("ab".repeat(32)));
        read.add(&of_another_version);
        assert_eq!(read.unreadable, [key.clone(), key.clone(), key.clone()]);
        read.add(&entry(None));
        assert_eq!(read.entries[0].identifiers, []);
    }
}
