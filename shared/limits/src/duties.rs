//! What the minute run does for limits: looks at those whose time has come, tells
//! what could not be told, and ends what belongs to a period that is over.

use std::sync::Arc;

use billing::{Clock, CustomerId, Timestamp, period_starting_at};
use ledger::{CustomerStatus, Due, DueBucket, Duty, Ledger, LedgerError};
use metering::{CustomerDirectory, CustomerError, KnownCustomer, in_order};
use notify::Ways;
use serde::Serialize;
use tokio::time::Instant;
use web::metrics::{Figure, Unit};

use crate::reserving::expire;
use crate::{LimitWatcher, Looked, Occasion, WatchError};

/// Rows of a bucket that are read at once.
const PAGE_ROWS: i32 = 100;
/// Rows that are looked at at once.
const LOOKS_IN_FLIGHT: usize = 8;

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DutiesReport {
    /// Limits that were looked at.
    pub looked: usize,
    /// Thresholds that were seen crossed.
    pub raised: usize,
    /// Thresholds that matter no more.
    pub resolved: usize,
    /// News that did not get out.
    pub untold: usize,
    /// Reservations whose time was over.
    pub expired: usize,
    /// Rows that could not be looked at: they stay due.
    pub failed: usize,
}

impl DutiesReport {
    /// The figures that the operator watches.
    pub fn figures(&self) -> [Figure; 4] {
        let count = |name, n: usize| (name, Unit::Count, u64::try_from(n).unwrap_or(0));
        [
            count("limit_alerts", self.raised),
            count("limit_alerts_untold", self.untold),
            count("limit_looks_failed", self.failed),
            count("reservations_expired", self.expired),
        ]
    }
}

/// What was attended to.
enum Attended {
    Limit(Looked),
    Reservation { expired: bool },
}

/// Why a row stays due.
#[derive(Debug, thiserror::Error)]
enum DutyError {
    #[error(transparent)]
    Ledger(LedgerError),
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Customer(#[from] CustomerError),
    #[error("its customer is unknown")]
    NoCustomer,
}

/// Does what is due.
pub struct Duties {
    ledger: Ledger,
    customers: CustomerDirectory,
    watcher: LimitWatcher,
    clock: Arc<dyn Clock>,
}

impl Duties {
    /// For the limits in `ledger`; customers' periods are those of `stripe`.
    pub fn new(ledger: Ledger, stripe: stripe::Client, ways: Ways, clock: Arc<dyn Clock>) -> Self {
        Self {
            customers: CustomerDirectory::new(ledger.clone(), stripe, Arc::clone(&clock)),
            watcher: LimitWatcher::new(ledger.clone(), ways, Arc::clone(&clock)),
            ledger,
            clock,
        }
    }

    /// Looks at everything that is due, the longest first, until `deadline`.
    ///
    /// # Errors
    /// [`LedgerError`] where what is due cannot be listed. A single row that
    /// cannot be looked at is no error: it is counted, and stays due.
    pub async fn run(&self, deadline: Instant) -> Result<DutiesReport, LedgerError> {
        let mut report = DutiesReport::default();
        for bucket in DueBucket::all() {
            self.run_through(bucket, deadline, &mut report).await?;
        }
        if report != DutiesReport::default() {
            tracing::info!(
                looked = report.looked,
                raised = report.raised,
                resolved = report.resolved,
                untold = report.untold,
                expired = report.expired,
                failed = report.failed,
                "looked after limits"
            );
        }
        Ok(report)
    }

    async fn run_through(
        &self,
        bucket: DueBucket,
        deadline: Instant,
        report: &mut DutiesReport,
    ) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let mut start = None;
        // Page after page, past what fails: it stays due, and holds nothing else up.
        while Instant::now() < deadline {
            let page = self.ledger.due(bucket, now, PAGE_ROWS, start).await?;
            let looks = page.due.iter().map(|due| self.attend_to(due, deadline));
            for looked in in_order(looks.collect(), LOOKS_IN_FLIGHT).await {
                match looked {
                    Some(Attended::Limit(looked)) => report.add(looked),
                    Some(Attended::Reservation { expired }) => {
                        report.expired += usize::from(expired);
                    }
                    None => report.failed += 1,
                }
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// None where it stays due.
    async fn attend_to(&self, due: &Due, deadline: Instant) -> Option<Attended> {
        let attended = async {
            match &due.duty {
                Duty::Limit(period_start) => {
                    let looked = self.look_at_limit(&due.customer_id, *period_start);
                    looked.await.map(Attended::Limit)
                }
                Duty::Reservation(reservation_id) => {
                    let clock = &*self.clock;
                    let expired = expire(&self.ledger, clock, &due.customer_id, reservation_id);
                    let expired = expired.await.map_err(DutyError::Ledger)?;
                    Ok(Attended::Reservation { expired })
                }
            }
        };
        let attended = tokio::time::timeout_at(deadline, attended).await.ok()?;
        let log = |error: &DutyError| {
            tracing::error!(
                customer_id = %due.customer_id,
                duty = ?due.duty,
                error = %error,
                source = std::error::Error::source(error).map(tracing::field::debug),
                "what is due for a limit could not be done: the next run tries again"
            );
        };
        attended.inspect_err(log).ok()
    }

    async fn look_at_limit(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<Looked, DutyError> {
        let customer = match self.customers.current_customer(customer_id).await {
            // With a test clock, Stripe deletes its customers: nobody uses anything.
            Err(CustomerError::TestClock(error)) if error.is_not_found() => {
                let row = self.ledger.customer(customer_id).await;
                let row = row.map_err(DutyError::Ledger)?;
                let row = row.ok_or(DutyError::NoCustomer)?;
                let period = period_start..row.period_end.max(period_start);
                return Ok(self.watcher.end(&row, &period).await?);
            }
            customer => customer?.ok_or(DutyError::NoCustomer)?,
        };
        let row = &customer.row;
        let current = customer.current_period();
        if has_ended(&customer) {
            let period = period_start..current.end.max(period_start);
            return Ok(self.watcher.end(row, &period).await?);
        }
        if period_start >= current.start {
            let period = period_starting_at(period_start, &current);
            return Ok(self.watcher.look(row, &period, Occasion::Due).await?);
        }
        // In this order: what is due is so until the period after it is watched.
        let mut looked = self.watcher.look(row, &current, Occasion::Due).await?;
        let over = period_start..current.start;
        looked.add(self.watcher.end(row, &over).await?);
        Ok(looked)
    }
}

impl DutiesReport {
    const fn add(&mut self, looked: Looked) {
        self.looked += 1;
        self.raised += looked.raised;
        self.resolved += looked.resolved;
        self.untold += looked.untold;
    }
}

/// Whether no period comes after this one, and this one takes nothing more.
fn has_ended(customer: &KnownCustomer) -> bool {
    let ends_at = customer.row.subscription_ends_at;
    customer.row.status == CustomerStatus::Canceled
        || ends_at.is_some_and(|end| end <= customer.now)
}
