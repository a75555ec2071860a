//! Units and events per customer, period, hour, meter, action and status. The rollup's
//! checkpoints lie in the same table: see [`crate::Advance`].

use std::collections::BTreeMap;
use std::fmt;

use billing::{ActionType, CustomerId, Timestamp, UsageStatus};

use crate::items::{Item, text};
use crate::totals_day::{Hours, TotalsDay, period_prefix};
use crate::{Ledger, LedgerError};

/// The cell that an event is counted in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TotalKey {
    /// Whose usage.
    pub customer_id: CustomerId,
    /// Start of the billing period; none for held events.
    pub period_start: Option<Timestamp>,
    /// Start of the hour of the billed time (of the occurrence, for held events).
    pub hour: Timestamp,
    /// The meter that counts it, by its event name.
    pub meter_event_name: String,
    /// What was done.
    pub action_type: ActionType,
}

impl TotalKey {
    /// The cell of an event: where it is billed, else (while it is held) where it happened.
    pub fn of(
        customer_id: CustomerId,
        meter_event_name: String,
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
            meter_event_name,
            action_type,
        }
    }
}

/// Units and events by status: what a cell holds, or what is to be added to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    by_status: BTreeMap<UsageStatus, Count>,
    /// Units of reservations that its events settled.
    settled: i128,
}

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

    /// Counts a reservation of `units` as settled.
    pub fn settle(&mut self, units: u64) {
        self.change_settled(i128::from(units));
    }

    /// Counts a reservation of `units` as settled no more.
    pub fn unsettle(&mut self, units: u64) {
        self.change_settled(-i128::from(units));
    }

    /// What its events count: without the reservations that they settled, which no
    /// status of theirs tells.
    #[must_use]
    pub fn of_events(self) -> Self {
        Self { settled: 0, ..self }
    }

    /// Adds `other` to this.
    pub fn add(&mut self, other: &Self) {
        for (status, count) in &other.by_status {
            self.change(*status, count.units, count.events);
        }
        self.change_settled(other.settled);
    }

    /// Takes `other` off this.
    pub fn subtract(&mut self, other: &Self) {
        for (status, count) in &other.by_status {
            self.change(
                *status,
                count.units.saturating_neg(),
                count.events.saturating_neg(),
            );
        }
        self.change_settled(other.settled.saturating_neg());
    }

    pub(crate) const fn change_settled(&mut self, units: i128) {
        self.settled = self.settled.saturating_add(units);
    }

    /// Units of reservations that were settled.
    pub const fn settled_units(&self) -> i128 {
        self.settled
    }

    pub(crate) fn change(&mut self, status: UsageStatus, units: i128, events: i64) {
        let count = self.by_status.entry(status).or_default();
        count.units = count.units.saturating_add(units);
        count.events = count.events.saturating_add(events);
        if *count == Count::default() {
            self.by_status.remove(&status);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_zero(&self) -> bool {
        self.by_status.is_empty() && self.settled == 0
    }

    /// Units in `status`.
    pub fn units(&self, status: UsageStatus) -> u64 {
        self.by_status
            .get(&status)
            .map_or(0, |count| u64::try_from(count.units).unwrap_or(0))
    }

    /// Events in `status`.
    pub fn events(&self, status: UsageStatus) -> u64 {
        self.by_status
            .get(&status)
            .map_or(0, |count| u64::try_from(count.events).unwrap_or(0))
    }

    /// Units that are, or will be, on an invoice: delivered and pending ones.
    pub fn billable_units(&self) -> u64 {
        self.units(UsageStatus::Delivered)
            .saturating_add(self.units(UsageStatus::Pending))
    }

    /// Each status that something is in, its units and its events.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (UsageStatus, i128, i64)> {
        let counts = self.by_status.iter();
        counts.map(|(status, count)| (*status, count.units, count.events))
    }
}

/// `delivered 7 units in 3 events, pending 1 units in 1 events`, or `nothing`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("nothing");
        }
        for (index, (status, count)) in self.by_status.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let Count { units, events } = count;
            write!(f, "{comma}{status} {units} units in {events} events")?;
        }
        if self.settled != 0 {
            let comma = if self.by_status.is_empty() { "" } else { ", " };
            write!(f, "{comma}settled {} units of reservations", self.settled)?;
        }
        Ok(())
    }
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
        let period = Bounds::of_period(Some(period_start));
        self.totals_between(customer_id, period).await
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
        let periods = Bounds::of_range(from, to);
        let mut totals = self.totals_between(customer_id, periods).await?;
        totals.retain(|total| (from..to).contains(&total.key.hour));
        Ok(totals)
    }

    /// The totals of what `customer_id` has, or had, without a billable period.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn held_totals(&self, customer_id: &CustomerId) -> Result<Vec<Total>, LedgerError> {
        let held = Bounds::of_period(None);
        self.totals_between(customer_id, held).await
    }

    async fn totals_between(
        &self,
        customer_id: &CustomerId,
        bounds: Bounds,
    ) -> Result<Vec<Total>, LedgerError> {
        let mut totals = Vec::new();
        let take = |item: &Item| {
            totals.extend(totals_in(item).into_iter().map(|(_, total)| total));
        };
        self.read_totals(customer_id, bounds, None, take).await?;
        Ok(totals)
    }

    /// Hands every row of `customer_id` within `bounds` to `take`: the attributes
    /// that `projection` names, or all.
    pub(crate) async fn read_totals(
        &self,
        customer_id: &CustomerId,
        bounds: Bounds,
        projection: Option<&str>,
        mut take: impl FnMut(&Item),
    ) -> Result<(), LedgerError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.tables.usage_totals)
            .key_condition_expression(
                "customer_id = :customer AND total_key BETWEEN :first AND :last",
            )
            .expression_attribute_values(":customer", text(customer_id.as_str()))
            .expression_attribute_values(":first", text(bounds.first))
            .expression_attribute_values(":last", text(bounds.last))
            .set_projection_expression(projection.map(str::to_owned))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(LedgerError::unavailable("read totals"))?;
            take(&item);
        }
        Ok(())
    }
}

/// Between which sort keys a customer's totals are asked for, inclusive.
pub(crate) struct Bounds {
    first: String,
    last: String,
}

impl Bounds {
    /// Those of one period; of what has none, for none.
    pub(crate) fn of_period(period_start: Option<Timestamp>) -> Self {
        let prefix = period_prefix(period_start);
        Self {
            first: format!("{prefix}#"),
            last: format!("{prefix}$"),
        }
    }

    /// Those of one period's days from `midnight` (UTC) on.
    pub(crate) fn of_period_since(period_start: Timestamp, midnight: Timestamp) -> Self {
        let day = midnight.unix_s();
        let period = period_prefix(Some(period_start));
        Self {
            first: format!("{period}#{day:010}"),
            ..Self::of_period(Some(period_start))
        }
    }

    /// Those of the periods that may have an hour of `from..to`.
    pub(crate) fn of_range(from: Timestamp, to: Timestamp) -> Self {
        const LONGEST_PERIOD_MS: i64 = 366 * 24 * 3_600_000;
        Self {
            first: period_prefix(Some(from.plus_ms(-LONGEST_PERIOD_MS))),
            last: format!("{}$", period_prefix(Some(to))),
        }
    }
}

/// The cells of a row, each with the row's slot; none in what is no row of
/// totals: checkpoints and records that were set aside lie beside them.
pub(crate) fn totals_in(item: &Item) -> Vec<(&str, Total)> {
    let Some((day, slot)) = day_of(item) else {
        return Vec::new();
    };
    let tallies = Hours::from_item(item).into_tallies();
    let total = |(hour, tally)| {
        let key = day.cell(hour);
        (slot, Total { key, tally })
    };
    tallies.map(total).collect()
}

/// What a row is of, and its slot.
pub(crate) fn day_of(item: &Item) -> Option<(TotalsDay, &str)> {
    let attribute = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    TotalsDay::parse(attribute("customer_id")?, attribute("total_key")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_taken_off_itself_leaves_nothing() {
        let mut tally = Tally::default();
        tally.enter(UsageStatus::Delivered, 7);
        tally.leave(UsageStatus::Pending, 2);
        assert_eq!(
            tally.to_string(),
            "pending -2 units in -1 events, delivered 7 units in 1 events"
        );
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
