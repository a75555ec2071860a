//! What a report reads of the totals: units that are, or will be, on an invoice,
//! without what the rows count besides. A report is asked for every two seconds
//! by an open dashboard, and a period has hundreds of hours: nothing is allocated
//! for an hour here, and nothing is asked for that it does not read.

use std::sync::LazyLock;

use billing::{ActionType, CustomerId, HOUR_MS, Timestamp, UsageStatus};

use crate::items::Item;
use crate::totals_day::{Count, Counted, HOURS_OF_DAY, TotalsDay, counts_in};
use crate::usage_totals::{Bounds, day_of};
use crate::{Ledger, LedgerError};

/// What of a row an invoice counts: half of its attributes.
pub(crate) const BILLABLE: [Counted; 2] = [
    Counted::Units(UsageStatus::Delivered),
    Counted::Units(UsageStatus::Pending),
];

/// The attributes of a row that a report reads.
static PROJECTION: LazyLock<String> = LazyLock::new(|| projection(&BILLABLE, &[]));

/// A row's key, what it has of `counted` in each hour, and the attributes `beside` these.
pub(crate) fn projection(counted: &[Counted], beside: &[&str]) -> String {
    let hours = || (0..).take(HOURS_OF_DAY);
    let counts = counted.iter();
    let counts = counts.flat_map(|of| hours().map(|hour| Count { of: *of, hour }.name()));
    let named = ["customer_id", "total_key"].iter().chain(beside);
    let named = named.map(|name| (*name).to_owned());
    named.chain(counts).collect::<Vec<_>>().join(", ")
}

/// Units that are, or will be, on an invoice, or what one shard adds to them
/// and takes off them: add up before reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillableUnits {
    delivered: i128,
    pending: i128,
}

impl BillableUnits {
    /// Adds `other` to these.
    pub const fn add(&mut self, other: Self) {
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.pending = self.pending.saturating_add(other.pending);
    }

    /// All of them.
    pub fn total(self) -> u64 {
        let delivered = u64::try_from(self.delivered).unwrap_or(0);
        delivered.saturating_add(self.pending())
    }

    /// Those that Stripe is not yet known to have.
    pub fn pending(self) -> u64 {
        u64::try_from(self.pending).unwrap_or(0)
    }
}

/// A day's billable units of one action that one meter counts. What several
/// shards counted of one day comes as several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillableDay {
    /// The meter, by its event name.
    pub meter_event_name: String,
    /// What was done.
    pub action_type: ActionType,
    /// Start of the period that it is billed in; none of usage that has none.
    pub period_start: Option<Timestamp>,
    midnight: Timestamp,
    hours: [BillableUnits; HOURS_OF_DAY],
    /// Units of reservations that were settled; only where they were asked for.
    pub(crate) settled: i128,
}

impl BillableDay {
    /// When the day begins (UTC).
    pub const fn midnight(&self) -> Timestamp {
        self.midnight
    }

    /// The units of the day.
    pub fn units(&self) -> BillableUnits {
        let mut sum = BillableUnits::default();
        for units in &self.hours {
            sum.add(*units);
        }
        sum
    }

    /// Units of reservations that its events settled; nothing where the day was
    /// read for a report.
    pub const fn settled(&self) -> i128 {
        self.settled
    }

    /// The start of each hour (UTC) that has any, and its units.
    pub fn hours(&self) -> impl Iterator<Item = (Timestamp, BillableUnits)> {
        let starts = (0..).map(|hour| self.midnight.plus_ms(hour * HOUR_MS));
        let hours = starts.zip(self.hours.iter().copied());
        hours.filter(|(_, units)| *units != BillableUnits::default())
    }

    /// What a row holds; none of what is no row of totals.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let (day, _) = day_of(item)?;
        let TotalsDay {
            day: midnight,
            meter_event_name,
            action_type,
            period_start,
            ..
        } = day;
        let mut hours = [BillableUnits::default(); HOURS_OF_DAY];
        let mut settled: i128 = 0;
        for (count, amount) in counts_in(item) {
            let Some(units) = hours.get_mut(usize::from(count.hour)) else {
                continue;
            };
            match count.of {
                Counted::Units(UsageStatus::Delivered) => units.delivered = amount,
                Counted::Units(UsageStatus::Pending) => units.pending = amount,
                Counted::Settled => settled = settled.saturating_add(amount),
                Counted::Units(_) | Counted::Events(_) => {}
            }
        }
        Some(Self {
            meter_event_name,
            action_type,
            period_start,
            midnight,
            hours,
            settled,
        })
    }

    /// Forgets the hours that do not begin in `from..to`.
    fn keep(&mut self, from: Timestamp, to: Timestamp) {
        let mut start = self.midnight;
        for units in &mut self.hours {
            if !(from..to).contains(&start) {
                *units = BillableUnits::default();
            }
            start = start.plus_ms(HOUR_MS);
        }
    }
}

impl Ledger {
    /// The billable units of `customer_id` in the period that begins at
    /// `period_start`, day by day.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn billable_days_of_period(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<Vec<BillableDay>, LedgerError> {
        let period = Bounds::of_period(Some(period_start));
        let mut days = Vec::new();
        self.read_totals(customer_id, period, Some(&PROJECTION), |item| {
            days.extend(BillableDay::of(item));
        })
        .await?;
        Ok(days)
    }

    /// The same of the days of that period that begin at `midnight` (UTC) or later.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn billable_days_of_period_since(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
        midnight: Timestamp,
    ) -> Result<Vec<BillableDay>, LedgerError> {
        let days_of_period = Bounds::of_period_since(period_start, midnight);
        let mut days = Vec::new();
        self.read_totals(customer_id, days_of_period, Some(&PROJECTION), |item| {
            days.extend(BillableDay::of(item));
        })
        .await?;
        Ok(days)
    }

    /// The billable units of `customer_id` in the hours that begin in `from..to`,
    /// day by day, of any period that began up to 366 days before `from`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn billable_days_of_range(
        &self,
        customer_id: &CustomerId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<BillableDay>, LedgerError> {
        let periods = Bounds::of_range(from, to);
        let mut days = Vec::new();
        self.read_totals(customer_id, periods, Some(&PROJECTION), |item| {
            days.extend(BillableDay::of(item).map(|mut day| {
                day.keep(from, to);
                day
            }));
        })
        .await?;
        Ok(days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::{number, text};

    /// 2026-01-31T12:00:00Z.
    const NOON: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn a_day(counts: &[(&str, i64)]) -> BillableDay {
        let key = "1769860800#1769817600#agent_operations#document_processed#ab12";
        let mut item = Item::new();
        item.insert("customer_id".to_owned(), text("cus_1"));
        item.insert("total_key".to_owned(), text(key));
        for (name, count) in counts {
            item.insert((*name).to_owned(), number(count));
        }
        BillableDay::of(&item).unwrap()
    }

    #[test]
    fn delivered_and_pending_units_are_read_by_the_hour() {
        let day = a_day(&[
            ("d12u", 7),
            ("d12e", 3),
            ("p12u", 2),
            ("d13u", 1),
            ("r12u", 50),
            ("x00u", 70),
        ]);
        let (meter, action) = (day.meter_event_name.as_str(), day.action_type.as_str());
        assert_eq!((meter, action), ("agent_operations", "document_processed"));
        let hours = day.hours();
        let hours: Vec<_> = hours
            .map(|(at, it)| (at, it.total(), it.pending()))
            .collect();
        assert_eq!(hours, [(NOON, 9, 2), (NOON.plus_ms(HOUR_MS), 1, 0)]);
        assert_eq!((day.units().total(), day.units().pending()), (10, 2));
    }

    #[test]
    fn what_one_shard_counted_in_another_counts_out() {
        let mut units = a_day(&[("p12u", 5)]).units();
        units.add(a_day(&[("p12u", -5), ("d12u", 5)]).units());
        assert_eq!((units.total(), units.pending()), (5, 0));
    }

    #[test]
    fn a_range_takes_the_hours_that_begin_in_it() {
        let mut day = a_day(&[("d11u", 1), ("d12u", 10), ("d13u", 100)]);
        day.keep(NOON, NOON.plus_ms(HOUR_MS));
        assert_eq!(day.units().total(), 10);
    }

    #[test]
    fn what_lies_beside_the_totals_is_none() {
        let mut item = Item::new();
        item.insert("customer_id".to_owned(), text("cus_1"));
        item.insert("total_key".to_owned(), text("checkpoint"));
        assert_eq!(BillableDay::of(&item), None);
    }
}
