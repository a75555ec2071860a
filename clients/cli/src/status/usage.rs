//! Usage, customer by customer, from the totals.

use std::collections::BTreeMap;
use std::fmt;

use billing::{CustomerId, HOUR_MS, Timestamp, UsageStatus, window};
use ledger::{CustomerCursor, CustomerRow, Ledger, LedgerError, Tally, Total};
use metering::in_order;
use serde::{Serialize, Serializer};

/// Customers whose totals a look reads.
const CUSTOMERS_OF_A_LOOK: usize = 50;
/// Customers whose totals are read at once.
const IN_FLIGHT: usize = 16;
/// How long the list of customers is good.
const LIST_LIFETIME_MS: i64 = 60_000;
/// Customers that are shown.
const BUSIEST_MAX: usize = 5;

/// Usage of the customers that are looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// How many customers are looked at.
    pub customers: usize,
    /// Whether there are more.
    pub more_customers: bool,
    /// Events that the totals got, by the last two readings of each customer; none
    /// before the second.
    pub events_per_second: Option<Rate>,
    /// Events of the current periods, and what is held, by status.
    pub events: EventCounts,
    /// Events of the 36 days before, in earlier periods, that are quarantined still.
    pub quarantined_before: u64,
    /// Those who have the most events a second, then those who have the most events.
    pub busiest: Vec<Busy>,
}

/// Events by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// In Stripe.
    pub delivered: u64,
    /// Not yet.
    pub pending: u64,
    /// Billed by nothing.
    pub held: u64,
    /// Past the send window.
    pub quarantined: u64,
    /// Refused by Stripe.
    pub rejected: u64,
    /// Taken back.
    pub voided: u64,
}

impl EventCounts {
    fn add(&mut self, tally: &Tally) {
        self.delivered += tally.events(UsageStatus::Delivered);
        self.pending += tally.events(UsageStatus::Pending);
        self.held += tally.events(UsageStatus::Held);
        self.quarantined += tally.events(UsageStatus::Quarantined);
        self.rejected += tally.events(UsageStatus::Rejected);
        self.voided += tally.events(UsageStatus::Voiding) + tally.events(UsageStatus::Voided);
    }
}

/// One customer's usage.
#[derive(Clone, Debug, Serialize)]
pub struct Busy {
    /// Who.
    pub customer_id: CustomerId,
    /// Events of the current period, whatever became of them.
    pub events: u64,
    /// Units that are, or will be, on its invoice.
    pub units: u64,
    /// Events a second, by the last two readings.
    pub events_per_second: Option<Rate>,
    /// How much of its spending limit is used, in percent, rounded down; none where
    /// it has no limit that applies.
    pub limit_used_percent: Option<u64>,
}

/// Events a second, in tenths: no float counts usage. Shown as `12.3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    /// `events` in `duration_ms`, rounded down.
    fn of(events: u64, duration_ms: u64) -> Option<Self> {
        events
            .saturating_mul(10_000)
            .checked_div(duration_ms)
            .map(Self)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What the totals said of one customer.
#[derive(Clone, Debug)]
struct Reading {
    at: Timestamp,
    tally: Tally,
    events: u64,
}

/// A customer, and what was read of it.
struct Tracked {
    customer_id: CustomerId,
    period_start: Timestamp,
    /// Its row as it was listed, where that has a limit.
    limited: Option<CustomerRow>,
    limit_used_percent: Option<u64>,
    last: Option<Reading>,
    rate: Option<Rate>,
    quarantined_before: Option<QuarantinedBefore>,
}

/// Events of earlier periods that are quarantined: few, and seldom others.
#[derive(Clone, Copy)]
struct QuarantinedBefore {
    events: u64,
    read_at: Timestamp,
}

/// What the totals say of a customer.
struct Totals {
    tally: Tally,
    /// How much of its limit that is.
    limit_used_percent: Option<u64>,
    quarantined_before: QuarantinedBefore,
}

/// The customers that are looked at.
pub(super) struct Watched {
    customers_max: usize,
    tracked: Vec<Tracked>,
    more: bool,
    listed_at: Option<Timestamp>,
    /// Whose turn it is.
    next: usize,
}

impl Watched {
    pub(super) const fn new(customers_max: usize) -> Self {
        Self {
            customers_max,
            tracked: Vec::new(),
            more: false,
            listed_at: None,
            next: 0,
        }
    }

    /// Reads the totals of those whose turn it is.
    pub(super) async fn look(
        &mut self,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.list(ledger, now).await?;
        let count = self.tracked.len().min(CUSTOMERS_OF_A_LOOK);
        self.read(ledger, now, count).await
    }

    /// Reads the totals of all.
    pub(super) async fn look_at_all(
        &mut self,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.list(ledger, now).await?;
        self.read(ledger, now, self.tracked.len()).await
    }

    async fn read(
        &mut self,
        ledger: &Ledger,
        now: Timestamp,
        count: usize,
    ) -> Result<(), LedgerError> {
        let length = self.tracked.len();
        if length == 0 {
            return Ok(());
        }
        let turns: Vec<usize> = (0..count).map(|n| (self.next + n) % length).collect();
        let tracked = &self.tracked;
        let reads = turns
            .iter()
            .map(|turn| totals_of(ledger, &tracked[*turn], now));
        let read = in_order(reads.collect(), IN_FLIGHT).await;
        for (turn, read) in turns.into_iter().zip(read) {
            let read = read?;
            let tracked = &mut self.tracked[turn];
            tracked.note(read.tally, now);
            tracked.limit_used_percent = read.limit_used_percent;
            tracked.quarantined_before = Some(read.quarantined_before);
        }
        self.next = (self.next + count) % length;
        Ok(())
    }

    /// The customers anew, where the list is old. Those that were known keep what was
    /// read of them.
    async fn list(&mut self, ledger: &Ledger, now: Timestamp) -> Result<(), LedgerError> {
        let is_good = |listed_at: Timestamp| now.ms_since(listed_at) < LIST_LIFETIME_MS;
        if self.listed_at.is_some_and(is_good) {
            return Ok(());
        }
        let mut rows: Vec<CustomerRow> = Vec::new();
        let mut cursor = CustomerCursor::default();
        let mut more = false;
        while let Some(page) = ledger.next_customers(&mut cursor).await? {
            rows.extend(page);
            if rows.len() > self.customers_max {
                rows.truncate(self.customers_max);
                more = true;
                break;
            }
        }
        let mut known = std::mem::take(&mut self.tracked);
        for row in rows {
            let place = known
                .iter()
                .position(|it| it.customer_id == row.customer_id);
            let of_same_period = place.map(|place| known.swap_remove(place));
            let of_same_period = of_same_period.filter(|it| it.period_start == row.period_start);
            let mut tracked = of_same_period.unwrap_or_else(|| Tracked {
                customer_id: row.customer_id.clone(),
                period_start: row.period_start,
                limited: None,
                limit_used_percent: None,
                last: None,
                rate: None,
                quarantined_before: None,
            });
            tracked.limited = row.spending_limit.is_some().then_some(row);
            self.tracked.push(tracked);
        }
        (self.more, self.listed_at) = (more, Some(now));
        Ok(())
    }

    /// What was read last of each.
    pub(super) fn seen(&self) -> Usage {
        let mut events = EventCounts::default();
        let mut busiest: Vec<Busy> = Vec::new();
        let (mut rate, mut quarantined_before) = (None, 0);
        for tracked in &self.tracked {
            quarantined_before += tracked.quarantined_before.map_or(0, |it| it.events);
            let Some(reading) = &tracked.last else {
                continue;
            };
            events.add(&reading.tally);
            if let Some(Rate(tenths)) = tracked.rate {
                let Rate(sum) = rate.unwrap_or_default();
                rate = Some(Rate(sum + tenths));
            }
            busiest.push(Busy {
                customer_id: tracked.customer_id.clone(),
                events: reading.events,
                units: reading.tally.billable_units(),
                events_per_second: tracked.rate,
                limit_used_percent: tracked.limited.as_ref().and(tracked.limit_used_percent),
            });
        }
        busiest.retain(|busy| busy.events > 0);
        busiest.sort_by(|a, b| {
            let of = |busy: &Busy| (busy.events_per_second, busy.events);
            of(b)
                .cmp(&of(a))
                .then_with(|| a.customer_id.as_str().cmp(b.customer_id.as_str()))
        });
        busiest.truncate(BUSIEST_MAX);
        Usage {
            customers: self.tracked.len(),
            more_customers: self.more,
            events_per_second: rate,
            events,
            quarantined_before,
            busiest,
        }
    }
}

impl Tracked {
    fn note(&mut self, tally: Tally, at: Timestamp) {
        let events = UsageStatus::ALL.iter().map(|status| tally.events(*status));
        let reading = Reading {
            at,
            events: events.sum(),
            tally,
        };
        if let Some(last) = &self.last {
            // A rebuild may set a total back.
            let more = reading.events.saturating_sub(last.events);
            let duration_ms = u64::try_from(at.ms_since(last.at)).unwrap_or_default();
            self.rate = Rate::of(more, duration_ms).or(self.rate);
        }
        self.last = Some(reading);
    }
}

async fn totals_of(
    ledger: &Ledger,
    tracked: &Tracked,
    now: Timestamp,
) -> Result<Totals, LedgerError> {
    let customer_id = &tracked.customer_id;
    let of_period = ledger.totals_of_period(customer_id, tracked.period_start);
    let mut totals = of_period.await?;
    let limited = tracked.limited.as_ref();
    let limit_used_percent =
        limited.and_then(|row| used_percent(row, tracked.period_start, &totals));
    totals.extend(ledger.held_totals(customer_id).await?);
    // Slots of one cell add up before they mean anything.
    let mut sum = Tally::default();
    for total in &totals {
        sum.add(&total.tally);
    }
    let is_good = |known: &QuarantinedBefore| now.ms_since(known.read_at) < LIST_LIFETIME_MS;
    let quarantined_before = match tracked.quarantined_before.filter(is_good) {
        Some(known) => known,
        None => QuarantinedBefore {
            events: quarantined_before(ledger, tracked).await?,
            read_at: now,
        },
    };
    Ok(Totals {
        tally: sum,
        limit_used_percent,
        quarantined_before,
    })
}

/// Whoever is quarantined at the end of a period is so in the next one, too, until
/// somebody sees to it.
async fn quarantined_before(ledger: &Ledger, tracked: &Tracked) -> Result<u64, LedgerError> {
    let start = tracked.period_start;
    let (from, to) = (start.plus_ms(-window::CARRIED_MS), start.plus_ms(HOUR_MS));
    let totals = ledger
        .totals_of_range(&tracked.customer_id, from, to)
        .await?;
    let mut sum = Tally::default();
    let of_earlier = |total: &&Total| total.key.period_start.is_some_and(|it| it < start);
    for total in totals.iter().filter(of_earlier) {
        sum.add(&total.tally);
    }
    Ok(sum.events(UsageStatus::Quarantined))
}

/// How much of the limit of `row` the totals are of the period that begins at `period_start`.
fn used_percent(row: &CustomerRow, period_start: Timestamp, totals: &[Total]) -> Option<u64> {
    let mut all = Tally::default();
    let mut by_meter: BTreeMap<&str, Tally> = BTreeMap::new();
    for total in totals {
        let meter = row.meter_of_totals(&total.key.meter_event_name);
        by_meter.entry(meter).or_default().add(&total.tally);
        all.add(&total.tally);
    }
    let units_of = |meter: &str| by_meter.get(meter).map_or(0, Tally::billable_units);
    let cost = limits::cost_of_period(row, period_start, units_of).ok()?;
    let limit = row.spending_limit.as_ref()?;
    limit.cap.used_percent(all.billable_units(), &cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked() -> Tracked {
        Tracked {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            period_start: Timestamp::from_unix_s(0),
            limited: None,
            limit_used_percent: None,
            last: None,
            rate: None,
            quarantined_before: None,
        }
    }

    fn tally(events: u64) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..events {
            tally.enter(UsageStatus::Delivered, 2);
        }
        tally
    }

    #[test]
    fn a_rate_is_what_came_between_two_readings() {
        let mut tracked = tracked();
        let at = |ms| Timestamp::from_unix_ms(ms);
        tracked.note(tally(5), at(0));
        assert_eq!(tracked.rate, None);
        tracked.note(tally(30), at(2_000));
        assert_eq!(tracked.rate.unwrap().to_string(), "12.5");
        // A transition is no new event, and two readings at once tell nothing new.
        tracked.note(tally(30), at(2_000));
        assert_eq!(tracked.rate.unwrap().to_string(), "12.5");
        tracked.note(tally(30), at(3_000));
        assert_eq!(tracked.rate, Some(Rate::default()));
        tracked.note(tally(1), at(4_000));
        assert_eq!(tracked.rate, Some(Rate::default()));
    }
}
