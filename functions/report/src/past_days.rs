//! What `access` reads of a period. An agent waits for the answer, again and again, and a
//! period has a row for each day and action: those of the past are read once in a while.

use std::sync::{Mutex, PoisonError};

use billing::{CustomerId, DAY_MS, Memory, Timestamp};
use ledger::{LimitWatch, MeterSums, PeriodUsage};
use limits::Spending;
use metering::KnownCustomer;
use web::Problem;

use crate::Parts;
use crate::usage::current_period;

/// For how long the days before yesterday are believed. Usage is billed at the time when
/// it happened, so only what comes in late is counted there.
pub(crate) const DAYS_FRESH_MS: i64 = 15_000;
/// Customers whose past is kept, a few hundred bytes each.
const CUSTOMERS_MAX: usize = 5_000;

/// When the day before the one of `now` began (UTC): what changes lies behind it.
pub(crate) const fn yesterday(now: Timestamp) -> Timestamp {
    now.start_of_day().plus_ms(-DAY_MS)
}

/// The sums of customers' days before yesterday.
pub(crate) struct PastDays(Mutex<Memory<CustomerId, Past>>);

impl Default for PastDays {
    fn default() -> Self {
        Self(Mutex::new(Memory::of(CUSTOMERS_MAX)))
    }
}

/// One customer's.
struct Past {
    period_start: Timestamp,
    yesterday: Timestamp,
    sums: MeterSums,
}

impl PastDays {
    fn of(&self, customer: &KnownCustomer, now: Timestamp) -> Option<MeterSums> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = known.get(&customer.row.customer_id, now)?;
        let is_same = past.period_start == current_period(customer).start
            && past.yesterday == yesterday(customer.now);
        is_same.then(|| past.sums.clone())
    }

    fn keep(&self, customer: &KnownCustomer, sums: MeterSums, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = Past {
            period_start: current_period(customer).start,
            yesterday: yesterday(customer.now),
            sums,
        };
        let until = now.plus_ms(DAYS_FRESH_MS);
        known.put(customer.row.customer_id.clone(), past, until, now);
    }
}

impl Parts {
    /// What `customer` has used of its current period, and what was told of its limit:
    /// of today and yesterday as of now, of the days before as of some seconds ago.
    pub(crate) async fn spending<'a>(
        &self,
        customer: &'a KnownCustomer,
    ) -> Result<(Spending<'a>, Option<LimitWatch>), Problem> {
        let id = &customer.row.customer_id;
        let (start, since) = (current_period(customer).start, yesterday(customer.now));
        // Before the reading: what comes in meanwhile is not believed for longer.
        let now = self.clock.now();
        let (mut sums, usage) = match self.past_days.of(customer, now) {
            Some(past) => {
                let usage = self.ledger.usage_of_period_since(id, start, since);
                (past, usage.await?)
            }
            None => {
                let usage = self.ledger.usage_of_period(id, start).await?;
                let (past, days): (Vec<_>, Vec<_>) =
                    (usage.days.into_iter()).partition(|day| day.midnight() < since);
                let past = MeterSums::of(&past);
                self.past_days.keep(customer, past.clone(), now);
                (past, PeriodUsage { days, ..usage })
            }
        };
        sums.add(&MeterSums::of(&usage.days));
        let spending = Spending::by(&customer.row, start, &sums, usage.reserved.as_ref());
        Ok((spending, usage.watch))
    }
}
