//! One step of the rollup: totals, outbox and the shard's checkpoint move in one
//! transaction.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use billing::{Identifier, Timestamp};
use sha2::{Digest, Sha256};

use crate::items::{Item, text};
use crate::outbox::{ENTRY_EVENTS_MAX, OutboxEntry};
use crate::totals_day::{Hours, TotalsDay};
use crate::{Ledger, LedgerError, Tally, TotalKey};

/// The items of one transaction (Amazon DynamoDB Developer Guide: "Service
/// quotas"), less one for the checkpoint.
const CHANGES_MAX: usize = 99;

/// A stream record that cannot be rolled up: kept beside the totals, under
/// `poison#{shard}`, for the operator to look at and the totals to be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// The table's key of the row that it tells of, where even that is readable.
    pub identifier: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// One step of the rollup: what a run of stream records changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    totals: BTreeMap<TotalsDay, Hours>,
    /// What became pending, and when: one entry of the outbox.
    pending: BTreeMap<Identifier, Timestamp>,
    /// Unreadable records by sequence number.
    poison: BTreeMap<String, Poison>,
}

impl Advance {
    /// The tally to be added to `key`.
    pub fn total(&mut self, key: TotalKey) -> &mut Tally {
        let (day, hour) = TotalsDay::of(&key);
        self.totals.entry(day).or_default().tally(hour)
    }

    /// The event became pending at `pending_since`.
    pub fn put_into_outbox(&mut self, identifier: Identifier, pending_since: Timestamp) {
        self.pending.insert(identifier, pending_since);
    }

    /// The event is pending no more. If it became so in this very run it never
    /// sees the outbox; else redelivery finds out when it looks at its entry.
    pub fn take_out_of_outbox(&mut self, identifier: &Identifier) {
        self.pending.remove(identifier);
    }

    /// The record of `sequence_number` is set aside.
    pub fn set_aside(&mut self, sequence_number: &str, poison: Poison) {
        self.poison.insert(sequence_number.to_owned(), poison);
    }

    /// Whether it fits into one transaction.
    pub fn fits(&self) -> bool {
        let totals = self.totals.values().filter(|hours| !hours.is_zero());
        let totals = totals.count();
        let outbox = usize::from(!self.pending.is_empty());
        let changes = [self.poison.len(), outbox].into_iter();
        changes.fold(totals, usize::saturating_add) <= CHANGES_MAX
            && self.pending.len() <= ENTRY_EVENTS_MAX
            && self.totals.values().all(Hours::fits)
    }
}

/// What became of an [`Advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// Totals, outbox and checkpoint have moved, together.
    Done,
    /// The checkpoint is no longer the one that was read: nothing has moved.
    Overtaken,
}

impl Ledger {
    /// The sequence number up to which `shard_id` is rolled up, if it has begun.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn checkpoint(&self, shard_id: &str) -> Result<Option<String>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(checkpoint_key(shard_id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read checkpoint"))?;
        let sequence_number = got.item.and_then(|mut item| item.remove("sequence_number"));
        Ok(sequence_number.and_then(|value| value.as_s().ok().cloned()))
    }

    /// Applies `advance` and moves the checkpoint of `shard_id` from `read` to
    /// `sequence_number`, in one transaction, if the checkpoint still is `read`.
    /// What became pending in it is due for redelivery a minute after `now` at
    /// the latest.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps applied; the checkpoint tells.
    pub async fn advance(
        &self,
        shard_id: &str,
        read: Option<&str>,
        sequence_number: &str,
        advance: &Advance,
        now: Timestamp,
    ) -> Result<Advanced, LedgerError> {
        const OPERATION: &str = "advance rollup";
        let checkpoint = self.move_checkpoint(shard_id, read, sequence_number)?;
        let mut items = vec![TransactWriteItem::builder().update(checkpoint).build()];
        let slot = slot(shard_id);
        for (day, hours) in advance.totals.iter().filter(|(_, hours)| !hours.is_zero()) {
            let update = self.add_to_totals(day, &slot, hours)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        // No other step of any shard ends there.
        let origin = format!("{shard_id}#{sequence_number}");
        if let Some(entry) = OutboxEntry::new(&origin, &advance.pending, now) {
            let put = self.put_entry(&entry)?;
            items.push(TransactWriteItem::builder().put(put).build());
        }
        for (sequence_number, poison) in &advance.poison {
            let update = self.keep_poison(shard_id, sequence_number, poison)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        let transaction = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await;
        let Err(error) = transaction else {
            return Ok(Advanced::Done);
        };
        let checkpoint_moved = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
                .cancellation_reasons()
                .first()
                .is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed")),
            _ => false,
        };
        if checkpoint_moved {
            Ok(Advanced::Overtaken)
        } else {
            Err(LedgerError::unavailable(OPERATION)(error))
        }
    }

    fn move_checkpoint(
        &self,
        shard_id: &str,
        read: Option<&str>,
        sequence_number: &str,
    ) -> Result<Update, LedgerError> {
        let update = Update::builder()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(checkpoint_key(shard_id)))
            .update_expression("SET sequence_number = :next")
            .expression_attribute_values(":next", text(sequence_number));
        // Equal, never "less": of two overlapping batches only one may win.
        let update = match read {
            Some(read) => update
                .condition_expression("sequence_number = :read")
                .expression_attribute_values(":read", text(read)),
            None => update.condition_expression("attribute_not_exists(sequence_number)"),
        };
        update
            .build()
            .map_err(LedgerError::unavailable("build checkpoint update"))
    }

    fn add_to_totals(
        &self,
        day: &TotalsDay,
        slot: &str,
        hours: &Hours,
    ) -> Result<Update, LedgerError> {
        let (expression, values) = hours.addition();
        Update::builder()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(day.customer_id.as_str()))
            .key("total_key", text(day.sort_key(slot)))
            .update_expression(expression)
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(LedgerError::unavailable("build total update"))
    }

    /// An update, so that the rollup needs no second permission on the table.
    fn keep_poison(
        &self,
        shard_id: &str,
        sequence_number: &str,
        poison: &Poison,
    ) -> Result<Update, LedgerError> {
        Update::builder()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(poison_key(shard_id)))
            .key("total_key", text(sequence_number))
            .update_expression("SET reason = :reason, identifier = :identifier")
            .expression_attribute_values(":reason", text(shortened(&poison.reason)))
            .expression_attribute_values(
                ":identifier",
                poison
                    .identifier
                    .as_ref()
                    .map_or(AttributeValue::Null(true), text),
            )
            .build()
            .map_err(LedgerError::unavailable("build poison update"))
    }

    /// The records of `shard_id` that were set aside, by sequence number.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn poison(&self, shard_id: &str) -> Result<Vec<(String, Poison)>, LedgerError> {
        let mut set_aside = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.tables.usage_totals)
            .key_condition_expression("customer_id = :shard")
            .expression_attribute_values(":shard", text(poison_key(shard_id)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(LedgerError::unavailable("read poison records"))?;
            let attribute =
                |name: &str| item.get(name).and_then(|value| value.as_s().ok().cloned());
            let poison = Poison {
                identifier: attribute("identifier"),
                reason: attribute("reason").unwrap_or_default(),
            };
            set_aside.push((attribute("total_key").unwrap_or_default(), poison));
        }
        Ok(set_aside)
    }

    fn put_entry(&self, entry: &OutboxEntry) -> Result<Put, LedgerError> {
        Put::builder()
            .table_name(&self.tables.outbox)
            .set_item(entry.to_item())
            .build()
            .map_err(LedgerError::unavailable("build outbox entry"))
    }
}

/// Checkpoints live beside the totals, so that one transaction spans both; a
/// customer id holds no `#`, so none can meet them.
pub(crate) fn checkpoint_key(shard_id: &str) -> Item {
    HashMap::from([
        (
            "customer_id".to_owned(),
            text(format!("checkpoint#{shard_id}")),
        ),
        ("total_key".to_owned(), text("checkpoint")),
    ])
}

fn poison_key(shard_id: &str) -> String {
    format!("poison#{shard_id}")
}

/// Rows of one day and action at most. A stream's shards come and go, four hours
/// each; a row for each of them would make reports long.
const SLOTS: u8 = 8;

/// The slot of the rows that a shard adds to, so that shards seldom contend for
/// one. Two that meet in one are still exact: additions commute, and a
/// transaction that meets another's is tried again.
fn slot(shard_id: &str) -> String {
    let digest = Sha256::digest(shard_id.as_bytes());
    let slot = digest.first().copied().unwrap_or_default() % SLOTS;
    slot.to_string()
}

/// Bytes of a reason that are kept: what a row held is in it, and an item that
/// is too large would stop its shard.
const REASON_BYTES_MAX: usize = 1_000;

fn shortened(reason: &str) -> &str {
    let mut end = REASON_BYTES_MAX.min(reason.len());
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use billing::{CustomerId, EventId};

    use super::*;

    fn identifier(n: usize) -> Identifier {
        let customer_id = CustomerId::parse("cus_1").unwrap();
        Identifier::of(&customer_id, &EventId::parse(&n.to_string()).unwrap())
    }

    #[test]
    fn pending_and_delivered_in_one_run_never_reach_the_outbox() {
        let mut advance = Advance::default();
        advance.put_into_outbox(identifier(1), Timestamp::from_unix_ms(1));
        advance.take_out_of_outbox(&identifier(1));
        advance.take_out_of_outbox(&identifier(2));
        assert_eq!(advance, Advance::default());
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}ää", "x".repeat(REASON_BYTES_MAX - 1));
        assert_eq!(shortened(&long), "x".repeat(REASON_BYTES_MAX - 1));
    }

    #[test]
    fn an_entry_holds_as_much_as_an_item_does() {
        let mut advance = Advance::default();
        for n in 0..ENTRY_EVENTS_MAX {
            advance.put_into_outbox(identifier(n), Timestamp::from_unix_ms(1));
        }
        assert!(advance.fits());
        advance.put_into_outbox(identifier(ENTRY_EVENTS_MAX), Timestamp::from_unix_ms(1));
        assert!(!advance.fits());
    }
}
