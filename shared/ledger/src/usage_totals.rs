//! Units and events per customer, period, hour, action and status; and how far
//! the rollup has read the stream. Both move in one transaction.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};
use billing::{ActionType, CustomerId, Timestamp, UsageStatus};
use sha2::{Digest, Sha256};

use crate::items::{Item, number, text};
use crate::{Ledger, LedgerError, OutboxKey};

/// The items of one transaction (Amazon DynamoDB Developer Guide: "Service
/// quotas"), less one for the checkpoint.
const CHANGES_MAX: usize = 99;

/// Period of what has none: held events.
const NO_PERIOD: &str = "held";

/// The cell that an event is counted in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TotalKey {
    /// Whose usage.
    pub customer_id: CustomerId,
    /// Start of the billing period; none for held events.
    pub period_start: Option<Timestamp>,
    /// Start of the hour of the billed time (of the occurrence, for held events).
    pub hour: Timestamp,
    /// What was done.
    pub action_type: ActionType,
}

impl TotalKey {
    fn sort_key(&self, slot: &str) -> String {
        let period = period_prefix(self.period_start);
        let hour = self.hour.unix_s();
        format!("{period}#{hour:010}#{}#{slot}", self.action_type.as_str())
    }

    fn parse(customer_id: &str, sort_key: &str) -> Option<Self> {
        let mut parts = sort_key.splitn(4, '#');
        let period = parts.next()?;
        let hour = parts.next()?.parse().ok()?;
        let action_type = ActionType::parse(parts.next()?).ok()?;
        let period_start = match period {
            NO_PERIOD => None,
            digits => Some(Timestamp::from_unix_s(digits.parse().ok()?)),
        };
        let customer_id = CustomerId::parse(customer_id).ok()?;
        Some(Self {
            customer_id,
            period_start,
            hour: Timestamp::from_unix_s(hour),
            action_type,
        })
    }
}

fn period_prefix(period_start: Option<Timestamp>) -> String {
    period_start.map_or_else(|| NO_PERIOD.to_owned(), |at| format!("{:010}", at.unix_s()))
}

/// Units and events by status: what a cell holds, or what is to be added to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<UsageStatus, Count>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    units: i128,
    events: i64,
}

impl Tally {
    /// Counts one event of `units` as having taken on `status`.
    pub fn enter(&mut self, status: UsageStatus, units: u64) {
        self.change(status, i128::from(units), 1);
    }

    /// Counts one event of `units` as having left `status`.
    pub fn leave(&mut self, status: UsageStatus, units: u64) {
        self.change(status, -i128::from(units), -1);
    }

    /// Adds `other` to this.
    pub fn add(&mut self, other: &Self) {
        for (status, count) in &other.0 {
            self.change(*status, count.units, count.events);
        }
    }

    fn change(&mut self, status: UsageStatus, units: i128, events: i64) {
        let count = self.0.entry(status).or_default();
        count.units = count.units.saturating_add(units);
        count.events = count.events.saturating_add(events);
        if *count == Count::default() {
            self.0.remove(&status);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Units in `status`.
    pub fn units(&self, status: UsageStatus) -> u64 {
        self.0
            .get(&status)
            .map_or(0, |count| u64::try_from(count.units).unwrap_or(0))
    }

    /// Events in `status`.
    pub fn events(&self, status: UsageStatus) -> u64 {
        self.0
            .get(&status)
            .map_or(0, |count| u64::try_from(count.events).unwrap_or(0))
    }

    /// Units that are, or will be, on an invoice: delivered and pending ones.
    pub fn billable_units(&self) -> u64 {
        self.units(UsageStatus::Delivered)
            .saturating_add(self.units(UsageStatus::Pending))
    }

    fn from_item(item: &Item) -> Self {
        let read = |name: String| match item.get(&name) {
            Some(AttributeValue::N(digits)) => digits.parse::<i128>().unwrap_or(0),
            _ => 0,
        };
        let mut tally = Self::default();
        for status in UsageStatus::ALL {
            let units = read(units_attribute(status));
            let events = i64::try_from(read(events_attribute(status))).unwrap_or(0);
            tally.change(status, units, events);
        }
        tally
    }

    fn additions(&self) -> (String, HashMap<String, AttributeValue>) {
        let mut parts = Vec::new();
        let mut values = HashMap::new();
        for (status, count) in &self.0 {
            for (attribute, amount) in [
                (units_attribute(*status), count.units.to_string()),
                (events_attribute(*status), count.events.to_string()),
            ] {
                parts.push(format!("{attribute} :{attribute}"));
                values.insert(format!(":{attribute}"), number(amount));
            }
        }
        (format!("ADD {}", parts.join(", ")), values)
    }
}

fn units_attribute(status: UsageStatus) -> String {
    format!("{status}_units")
}

fn events_attribute(status: UsageStatus) -> String {
    format!("{status}_events")
}

/// A cell and what it holds; cells of several slots are separate totals.
///
/// An event that one shard saw become pending and another saw delivered leaves
/// a negative count in the second one's slot: add the tallies of a cell up
/// ([`Tally::add`]) before reading units off them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// The cell.
    pub key: TotalKey,
    /// What it holds.
    pub tally: Tally,
}

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
    totals: BTreeMap<TotalKey, Tally>,
    /// Events to put into the outbox (with their identifier), or to take out.
    outbox: BTreeMap<OutboxKey, Option<billing::Identifier>>,
    /// Unreadable records by sequence number.
    poison: BTreeMap<String, Poison>,
}

impl Advance {
    /// The tally to be added to `key`.
    pub fn total(&mut self, key: TotalKey) -> &mut Tally {
        self.totals.entry(key).or_default()
    }

    /// The event became pending.
    pub fn put_into_outbox(&mut self, key: OutboxKey, identifier: billing::Identifier) {
        self.outbox.insert(key, Some(identifier));
    }

    /// The event is pending no more. If it became so in this very run it was
    /// never in the outbox, and the removal is dropped with the entry.
    pub fn take_out_of_outbox(&mut self, key: OutboxKey) {
        match self.outbox.get(&key) {
            Some(Some(_)) => {
                self.outbox.remove(&key);
            }
            _ => {
                self.outbox.insert(key, None);
            }
        }
    }

    /// The record of `sequence_number` is set aside.
    pub fn set_aside(&mut self, sequence_number: &str, poison: Poison) {
        self.poison.insert(sequence_number.to_owned(), poison);
    }

    /// Whether it still fits into one transaction.
    pub fn fits(&self) -> bool {
        self.has_room_for(0)
    }

    /// Whether it fits into one transaction with `changes` more items.
    pub fn has_room_for(&self, changes: usize) -> bool {
        let totals = self
            .totals
            .values()
            .filter(|tally| !tally.is_zero())
            .count();
        [self.outbox.len(), self.poison.len(), changes]
            .into_iter()
            .fold(totals, usize::saturating_add)
            <= CHANGES_MAX
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
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps applied; the checkpoint tells.
    pub async fn advance(
        &self,
        shard_id: &str,
        read: Option<&str>,
        sequence_number: &str,
        advance: &Advance,
    ) -> Result<Advanced, LedgerError> {
        const OPERATION: &str = "advance rollup";
        let checkpoint = self.move_checkpoint(shard_id, read, sequence_number)?;
        let mut items = vec![TransactWriteItem::builder().update(checkpoint).build()];
        let slot = slot(shard_id);
        for (key, tally) in advance.totals.iter().filter(|(_, tally)| !tally.is_zero()) {
            let update = self.add_to_total(key, &slot, tally)?;
            items.push(TransactWriteItem::builder().update(update).build());
        }
        for (key, entry) in &advance.outbox {
            items.push(self.outbox_change(key, entry.as_ref())?);
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

    fn add_to_total(
        &self,
        key: &TotalKey,
        slot: &str,
        tally: &Tally,
    ) -> Result<Update, LedgerError> {
        let (expression, values) = tally.additions();
        Update::builder()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(key.customer_id.as_str()))
            .key("total_key", text(key.sort_key(slot)))
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
            .expression_attribute_values(":reason", text(&poison.reason))
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

    fn outbox_change(
        &self,
        key: &OutboxKey,
        entry: Option<&billing::Identifier>,
    ) -> Result<TransactWriteItem, LedgerError> {
        let build_failed = LedgerError::unavailable("build outbox change");
        let item = TransactWriteItem::builder();
        Ok(match entry {
            Some(identifier) => item.put(
                Put::builder()
                    .table_name(&self.tables.outbox)
                    .item("bucket", text(&key.bucket))
                    .item("outbox_key", text(&key.outbox_key))
                    .item("identifier", text(identifier.as_str()))
                    .build()
                    .map_err(build_failed)?,
            ),
            None => item.delete(
                Delete::builder()
                    .table_name(&self.tables.outbox)
                    .key("bucket", text(&key.bucket))
                    .key("outbox_key", text(&key.outbox_key))
                    .build()
                    .map_err(build_failed)?,
            ),
        }
        .build())
    }

    /// The totals of `customer_id` in the period that begins at `period_start`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn totals_of_period(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<Vec<Total>, LedgerError> {
        let prefix = period_prefix(Some(period_start));
        self.totals_between(customer_id, format!("{prefix}#"), format!("{prefix}$"))
            .await
    }

    /// The totals of `customer_id` whose hour lies in `from..to`, of any period
    /// that began up to 366 days before `from`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn totals_of_range(
        &self,
        customer_id: &CustomerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Total>, LedgerError> {
        const LONGEST_PERIOD_MS: i64 = 366 * 24 * 3_600_000;
        let first = period_prefix(Some(from.plus_ms(-LONGEST_PERIOD_MS)));
        let last = period_prefix(Some(to));
        let mut totals = self
            .totals_between(customer_id, first, format!("{last}$"))
            .await?;
        totals.retain(|total| (from..to).contains(&total.key.hour));
        Ok(totals)
    }

    /// The totals of what `customer_id` has, or had, without a billable period.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn held_totals(&self, customer_id: &CustomerId) -> Result<Vec<Total>, LedgerError> {
        self.totals_between(
            customer_id,
            format!("{NO_PERIOD}#"),
            format!("{NO_PERIOD}$"),
        )
        .await
    }

    async fn totals_between(
        &self,
        customer_id: &CustomerId,
        first: String,
        last: String,
    ) -> Result<Vec<Total>, LedgerError> {
        let mut totals = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.tables.usage_totals)
            .key_condition_expression(
                "customer_id = :customer AND total_key BETWEEN :first AND :last",
            )
            .expression_attribute_values(":customer", text(customer_id.as_str()))
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(LedgerError::unavailable("read totals"))?;
            let sort_key = item.get("total_key").and_then(|key| key.as_s().ok());
            let key = sort_key.and_then(|key| TotalKey::parse(customer_id.as_str(), key));
            if let Some(key) = key {
                totals.push(Total {
                    key,
                    tally: Tally::from_item(&item),
                });
            }
        }
        Ok(totals)
    }
}

/// Checkpoints live beside the totals, so that one transaction spans both; a
/// customer id holds no `#`, so none can meet them.
fn checkpoint_key(shard_id: &str) -> Item {
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

/// Shards write cells of their own, so that they never contend for one. Two
/// shards that meet in one slot are still exact: additions commute.
fn slot(shard_id: &str) -> String {
    let digest = hex::encode(Sha256::digest(shard_id.as_bytes()));
    digest.get(..4).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TotalKey {
        TotalKey {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            period_start: Some(Timestamp::from_unix_s(1_769_860_800)),
            hour: Timestamp::from_unix_s(1_769_864_400),
            action_type: ActionType::parse("document_processed").unwrap(),
        }
    }

    #[test]
    fn a_sort_key_reads_back_as_its_cell() {
        let held = TotalKey {
            period_start: None,
            ..key()
        };
        for cell in [key(), held] {
            let parsed = TotalKey::parse("cus_1", &cell.sort_key("ab12"));
            assert_eq!(parsed, Some(cell));
        }
    }

    #[test]
    fn an_event_that_comes_and_goes_leaves_no_trace() {
        let mut tally = Tally::default();
        tally.enter(UsageStatus::Pending, 7);
        tally.leave(UsageStatus::Pending, 7);
        assert!(tally.is_zero());
        tally.enter(UsageStatus::Delivered, 7);
        assert_eq!(
            (tally.units(UsageStatus::Delivered), tally.billable_units()),
            (7, 7)
        );
    }

    #[test]
    fn pending_and_delivered_in_one_run_never_reach_the_outbox() {
        let event_id = billing::EventId::parse("a").unwrap();
        let identifier = billing::Identifier::of(&key().customer_id, &event_id);
        let place = OutboxKey::new(&identifier, Timestamp::from_unix_ms(1));
        let mut advance = Advance::default();
        advance.put_into_outbox(place.clone(), identifier);
        advance.take_out_of_outbox(place.clone());
        assert!(advance.outbox.is_empty());
        advance.take_out_of_outbox(place.clone());
        assert_eq!(advance.outbox.get(&place), Some(&None));
    }
}
