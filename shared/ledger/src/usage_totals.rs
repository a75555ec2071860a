//! Units and events per customer, period, hour, action and status. The rollup's
//! checkpoints lie in the same table: see [`crate::Advance`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{ActionType, CustomerId, Timestamp, UsageStatus};

use crate::items::{Item, number, text};
use crate::{Ledger, LedgerError};

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
    /// The cell of an event: where it is billed, else (while it is held) where it happened.
    pub fn of(
        customer_id: CustomerId,
        action_type: ActionType,
        period_start: Option<Timestamp>,
        billed_at: Option<Timestamp>,
        occurred_at: Timestamp,
    ) -> Self {
        Self {
            customer_id,
            // The tables' keys hold seconds: two cells must not share one.
            period_start: period_start.map(|at| Timestamp::from_unix_s(at.unix_s())),
            hour: billed_at.unwrap_or(occurred_at).start_of_hour(),
            action_type,
        }
    }

    pub(crate) fn sort_key(&self, slot: &str) -> String {
        let period = period_prefix(self.period_start);
        let hour = self.hour.unix_s();
        format!("{period}#{hour:010}#{}#{slot}", self.action_type.as_str())
    }

    pub(crate) fn parse(customer_id: &str, sort_key: &str) -> Option<Self> {
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

    /// Takes `other` off this.
    pub fn subtract(&mut self, other: &Self) {
        for (status, count) in &other.0 {
            self.change(
                *status,
                count.units.saturating_neg(),
                count.events.saturating_neg(),
            );
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

    pub(crate) fn from_item(item: &Item) -> Self {
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

    /// As the attributes of an item.
    pub(crate) fn attributes(&self) -> Item {
        let mut attributes = Item::new();
        for (status, count) in &self.0 {
            attributes.insert(units_attribute(*status), number(count.units));
            attributes.insert(events_attribute(*status), number(count.events));
        }
        attributes
    }

    pub(crate) fn additions(&self) -> (String, HashMap<String, AttributeValue>) {
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

/// `delivered 7 units in 3 events, pending 1 units in 1 events`, or `nothing`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("nothing");
        }
        for (index, (status, count)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let Count { units, events } = count;
            write!(f, "{comma}{status} {units} units in {events} events")?;
        }
        Ok(())
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

impl Ledger {
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
    fn a_tally_taken_off_itself_leaves_nothing() {
        let mut tally = Tally::default();
        tally.enter(UsageStatus::Delivered, 7);
        tally.leave(UsageStatus::Pending, 2);
        assert_eq!(
            tally.to_string(),
            "pending -2 units in -1 events, delivered 7 units in 1 events"
        );
        assert_eq!(Tally::from_item(&tally.attributes()), tally);
        let same = tally.clone();
        tally.subtract(&same);
        assert!(tally.is_zero());
        assert_eq!(tally.to_string(), "nothing");
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
}
