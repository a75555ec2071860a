//! A customer's audit log as it goes on.

use std::collections::BTreeSet;

use audit::{EventFilter, PageBounds, read_page};
use billing::{CustomerId, Timestamp, window};
use ledger::{
    IndexedUsageEvent, Ledger, LedgerError, UsageEventOrder, UsageEventPosition, UsageEventReader,
    UsageEventRow, UsageEventsWanted,
};

/// How long after it happened an event may be recorded and still be met: each
/// look goes over so much again.
const LATE_MS: i64 = 60_000;
/// Events that are read at once.
const READ_EVENTS_MAX: usize = 1_000;

/// Follows one customer's log.
///
/// What is recorded more than a minute after it happened is not met: a list
/// shows it.
pub struct Follower {
    ledger: Ledger,
    customer_id: CustomerId,
    filter: EventFilter,
    /// The customer lives in a time of its own, which is not asked for.
    has_test_clock: bool,
    /// What was met of what a look goes over again.
    met: BTreeSet<UsageEventPosition>,
    newest: Option<Timestamp>,
}

impl Follower {
    /// Follows `customer_id` from its present on.
    pub const fn new(
        ledger: Ledger,
        customer_id: CustomerId,
        filter: EventFilter,
        has_test_clock: bool,
    ) -> Self {
        Self {
            ledger,
            customer_id,
            filter,
            has_test_clock,
            met: BTreeSet::new(),
            newest: None,
        }
    }

    /// The last `count` of the events that are there, oldest first. What is there
    /// now is met.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn begin(
        &mut self,
        count: usize,
        now: Timestamp,
    ) -> Result<Vec<UsageEventRow>, LedgerError> {
        let all = UsageEventsWanted::all(self.customer_id.clone(), UsageEventOrder::NewestFirst);
        let mut reader = UsageEventReader::new(self.ledger.clone(), all, 1);
        let newest = reader.take(1).await?;
        self.newest = newest.first().map(|event| event.occurred_at);
        let there = self.unmet(now).await?;
        self.meet(there.iter().map(IndexedUsageEvent::position), now);
        let bounds = PageBounds {
            events: count,
            looked_at: READ_EVENTS_MAX.max(count),
        };
        let (id, order) = (&self.customer_id, UsageEventOrder::NewestFirst);
        let page = read_page(&self.ledger, id, &self.filter, order, None, bounds).await?;
        let mut rows = page.events;
        rows.reverse();
        self.meet(rows.iter().map(UsageEventRow::position), now);
        Ok(rows)
    }

    /// The events that have come since, oldest first; `now` is real time.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is met, and the next look finds it.
    pub async fn next(&mut self, now: Timestamp) -> Result<Vec<UsageEventRow>, LedgerError> {
        let unmet = self.unmet(now).await?;
        let mut rows = self.ledger.rows_in_order(&unmet).await?;
        rows.retain(|row| self.filter.takes(row));
        self.meet(unmet.iter().map(IndexedUsageEvent::position), now);
        Ok(rows)
    }

    async fn unmet(&self, now: Timestamp) -> Result<Vec<IndexedUsageEvent>, LedgerError> {
        let all = UsageEventsWanted::all(self.customer_id.clone(), UsageEventOrder::OldestFirst);
        let from = self.overlap_from(now).unwrap_or(all.occurred.start);
        let wanted = UsageEventsWanted {
            occurred: from..all.occurred.end,
            ..all
        };
        let mut reader = UsageEventReader::new(self.ledger.clone(), wanted, READ_EVENTS_MAX);
        let mut unmet = Vec::new();
        loop {
            let read = reader.take(READ_EVENTS_MAX).await?;
            if read.is_empty() {
                return Ok(unmet);
            }
            let is_unmet = |event: &IndexedUsageEvent| !self.met.contains(&event.position());
            unmet.extend(read.into_iter().filter(is_unmet));
        }
    }

    fn meet(&mut self, positions: impl Iterator<Item = UsageEventPosition>, now: Timestamp) {
        self.met.extend(positions);
        let newest = self.met.last().map(UsageEventPosition::occurred_at);
        self.newest = newest.max(self.newest);
        if let Some(from) = self.overlap_from(now) {
            self.met.retain(|position| position.occurred_at() >= from);
        }
    }

    /// From when on a look goes over the log again; none where there is nothing.
    fn overlap_from(&self, now: Timestamp) -> Option<Timestamp> {
        let newest = self.newest?;
        // One that was told of ahead of time must not hide those of the present.
        Some(if self.has_test_clock {
            newest.plus_ms(-window::AHEAD_MS)
        } else {
            newest.min(now).plus_ms(-LATE_MS)
        })
    }
}
