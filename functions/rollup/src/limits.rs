//! Spending limits, looked at after usage was counted: of the customers whose
//! units grew, and who have a limit.
//!
//! Nothing here holds the rollup up or fails it. A look that does not come to its
//! end is made again with the next records; and each limit is due for the minute
//! run once an hour, whatever became of the looks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use billing::{Clock, CustomerId, Memory, Timestamp, UsageStatus, period_starting_at};
use ledger::{CustomerRow, Ledger, LedgerError};
use limits::{LimitWatcher, Looked, Occasion, WatchError};
use metering::in_order;

use crate::record::{Change, Image, StreamRecord};

/// How long the looks after one batch may take together.
const LOOKS_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks under way at once.
const LOOKS_IN_FLIGHT: usize = 16;
/// For how long a row is believed: as long as emission believes it.
const ROW_FRESH_MS: i64 = 10_000;
/// Rows kept at once.
const ROWS_MAX: usize = 10_000;

/// Customers whose units grew, each with the start of the latest period in which
/// they did.
pub type Grown = BTreeMap<CustomerId, Timestamp>;

/// What became of the looks after a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LooksReport {
    /// What they found.
    pub looked: Looked,
    /// Those that are left for the next batch.
    pub late: usize,
}

/// Looks at limits.
pub struct LimitLooks {
    ledger: Ledger,
    watcher: LimitWatcher,
    clock: Arc<dyn Clock>,
    /// Customers with a limit, and that others have none.
    known: Mutex<Memory<CustomerId, Option<Arc<CustomerRow>>>>,
    late: Mutex<Late>,
}

/// Whom the batches before have left.
#[derive(Default)]
struct Late {
    grown: Grown,
    /// The last customer who was looked at: the next look begins after it, so that
    /// nobody is always the one that time runs out for.
    after: Option<CustomerId>,
}

impl Late {
    fn add(&mut self, grown: Grown) {
        for (customer_id, period_start) in grown {
            let latest = self.grown.entry(customer_id).or_insert(period_start);
            *latest = period_start.max(*latest);
        }
    }

    /// Everybody, in the order in which they are looked at.
    fn in_turn(&self) -> impl Iterator<Item = (&CustomerId, &Timestamp)> {
        let after = self.after.as_ref();
        let has_had_its_turn = move |id: &CustomerId| after.is_some_and(|after| id <= after);
        let later = self
            .grown
            .iter()
            .filter(move |(id, _)| !has_had_its_turn(id));
        let earlier = self
            .grown
            .iter()
            .filter(move |(id, _)| has_had_its_turn(id));
        later.chain(earlier)
    }
}

impl std::fmt::Debug for LimitLooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitLooks").finish_non_exhaustive()
    }
}

/// Whose units `records` make more. Records that were counted before are among
/// them: perhaps nobody looked then.
pub fn grown(records: &[StreamRecord]) -> Grown {
    let mut grown = Grown::new();
    for record in records {
        let Change::Row { old, new } = &record.change else {
            continue;
        };
        let Some(new) = new.as_deref() else { continue };
        let Some(period_start) = new.period_start else {
            continue;
        };
        let was_billable = old
            .as_deref()
            .is_some_and(|old| is_billable(old) && old.period_start == new.period_start);
        if is_billable(new) && !was_billable {
            let latest = grown.entry(new.customer_id.clone());
            let latest = latest.or_insert(period_start);
            *latest = period_start.max(*latest);
        }
    }
    grown
}

fn is_billable(image: &Image) -> bool {
    matches!(image.status, UsageStatus::Pending | UsageStatus::Delivered)
}

impl LimitLooks {
    /// Looks at the limits in `ledger`, and has `watcher` tell of them.
    pub fn new(ledger: Ledger, watcher: LimitWatcher, clock: Arc<dyn Clock>) -> Self {
        Self {
            ledger,
            watcher,
            clock,
            known: Mutex::new(Memory::of(ROWS_MAX)),
            late: Mutex::default(),
        }
    }

    /// Leaves `grown` to a later batch.
    pub fn put_off(&self, grown: Grown) {
        lock(&self.late).add(grown);
    }

    /// Looks at the limits of `grown`, and of those that the batches before left.
    pub async fn look(&self, grown: Grown) -> LooksReport {
        let mut left = std::mem::take(&mut *lock(&self.late));
        left.add(grown);
        let mut report = LooksReport::default();
        if left.grown.is_empty() {
            return report;
        }
        // Of those that time runs out for, nobody knows how far they came.
        let done = Mutex::new(Vec::new());
        let looks = left.in_turn().map(|(customer_id, period_start)| {
            let done = &done;
            async move {
                match self.look_at(customer_id, *period_start).await {
                    Ok(looked) => lock(done).push((customer_id.clone(), looked)),
                    Err(error) => log_failure(customer_id, &error),
                }
            }
        });
        let looks = in_order(looks.collect(), LOOKS_IN_FLIGHT);
        // What is cut off is looked at again: nothing in it is done twice.
        let _ = tokio::time::timeout(LOOKS_TIMEOUT, looks).await;
        for (customer_id, looked) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
            report.looked.add(looked);
            left.grown.remove(&customer_id);
            left.after = Some(customer_id);
        }
        report.late = left.grown.len();
        *lock(&self.late) = left;
        report
    }

    async fn look_at(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<Looked, WatchError> {
        let Some(customer) = self.limited(customer_id).await? else {
            return Ok(Looked::default());
        };
        match period_of(&customer, period_start) {
            Some(period) => {
                let looked = self.watcher.look(&customer, &period, Occasion::Usage);
                looked.await
            }
            None => Ok(Looked::default()),
        }
    }

    /// The customer, where it has a limit.
    async fn limited(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Option<Arc<CustomerRow>>, LedgerError> {
        let now = self.clock.now();
        if let Some(limited) = lock(&self.known).get(customer_id, now) {
            return Ok(limited.clone());
        }
        let row = self.ledger.customer(customer_id).await?;
        let limited = row.filter(|row| row.spending_limit.is_some());
        let limited = limited.map(Arc::new);
        let until = now.plus_ms(ROW_FRESH_MS);
        lock(&self.known).put(customer_id.clone(), limited.clone(), until, now);
        Ok(limited)
    }
}

/// The period that begins at `period_start`; none for one before the customer's,
/// whose limit is history.
fn period_of(customer: &CustomerRow, period_start: Timestamp) -> Option<Range<Timestamp>> {
    let known = customer.period_start..customer.period_end;
    // Of a later one the row is not brought up to date yet.
    (period_start >= known.start).then(|| period_starting_at(period_start, &known))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_failure(customer_id: &CustomerId, error: &WatchError) {
    tracing::warn!(
        %customer_id,
        error = %error,
        source = std::error::Error::source(error).map(tracing::field::debug),
        "a spending limit could not be looked at: the next records have it looked at again"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(ids: &[&str], start_s: i64) -> Grown {
        let start = Timestamp::from_unix_s(start_s);
        let ids = ids.iter().map(|id| CustomerId::parse(id).unwrap());
        ids.map(|id| (id, start)).collect()
    }

    #[test]
    fn who_was_looked_at_last_has_the_last_turn_in_the_next_look() {
        let mut late = Late::default();
        late.add(grown(&["cus_a", "cus_c"], 1));
        late.add(grown(&["cus_b", "cus_c"], 2));
        let in_turn = |late: &Late| {
            let ids = late
                .in_turn()
                .map(|(id, start)| (id.to_string(), start.unix_s()));
            ids.collect::<Vec<_>>()
        };
        let of = |id: &str, start_s| (id.to_owned(), start_s);
        let (a, b, c) = (of("cus_a", 1), of("cus_b", 2), of("cus_c", 2));
        assert_eq!(in_turn(&late), [a.clone(), b.clone(), c.clone()]);
        late.after = Some(CustomerId::parse("cus_b").unwrap());
        assert_eq!(in_turn(&late), [c, a, b]);
    }
}
