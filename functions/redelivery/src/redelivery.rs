//! One run: through the outbox, page by page, until it ends or time does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, OutboxCursor, OutboxEntry, OutboxKey, UsageEventRow};
use metering::delivery::{BATCH_EVENTS_MAX, SEND_BUDGET_MS};
use metering::{CustomerDirectory, Delivered, Deliverer, Kept, in_order, keep_billable};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use web::metrics::{Figure, Unit};

use crate::leases::Leases;

/// What became pending less than this ago may still be in its emission's hands.
const PENDING_MS_MIN: i64 = 60_000;
/// Entries of each of the outbox's 16 buckets that are read at once.
const PAGE_ENTRIES_OF_A_BUCKET: i32 = 25;
/// Reads and writes of the tables under way at once.
const TABLE_CALLS_IN_FLIGHT: usize = 16;
/// What a batch may take after Stripe's part: noting its outcomes.
const NOTE_BUDGET_MS: i64 = 5_000;

/// Brings to Stripe what is pending.
pub struct Redelivery {
    ledger: Ledger,
    customers: CustomerDirectory,
    deliverer: Deliverer,
    clock: Arc<dyn Clock>,
    /// One run at a time within a process; between processes the leases see to it.
    leases: Mutex<Leases>,
}

/// What became of the events that a run looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Stripe has them now.
    pub delivered: usize,
    /// Still pending: the next run tries again.
    pub pending: usize,
    /// Stripe refused them for good.
    pub rejected: usize,
    /// Past the send window: nothing was sent.
    pub quarantined: usize,
    /// Entries and rows that cannot be read: passed by, and left where they are.
    pub unreadable: usize,
    /// Seen in another run's buckets, and left to it.
    pub leased: usize,
    /// No longer pending when they were looked at, or settled by somebody else.
    pub stale: usize,
    /// For how long the oldest of those that are still pending has been so.
    pub oldest_pending_ms: i64,
}

/// Why a run broke off. What it had settled stays settled.
#[derive(Debug, thiserror::Error)]
pub enum RedeliveryError {
    /// The outbox cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What the audit log says of an entry.
enum Look {
    /// To be sent.
    Pending(Box<UsageEventRow>),
    /// Not pending any more.
    Stale,
    /// Quarantined by this look: it has no billable period left.
    Quarantined,
    /// The next run looks again.
    Waits,
    /// Its row is not what this version writes.
    Unreadable,
}

impl Report {
    /// The figures that the operator watches.
    pub fn figures(&self) -> [Figure; 6] {
        let count = |name, events: usize| (name, Unit::Count, u64::try_from(events).unwrap_or(0));
        let oldest_ms = u64::try_from(self.oldest_pending_ms).unwrap_or(0);
        [
            count("delivered", self.delivered),
            count("pending", self.pending),
            count("rejected", self.rejected),
            count("quarantined", self.quarantined),
            count("poison", self.unreadable),
            ("oldest_pending_ms", Unit::Milliseconds, oldest_ms),
        ]
    }

    /// Counts an event that is pending still, since `since`.
    fn wait(&mut self, since: Option<Timestamp>, now: Timestamp) {
        self.pending += 1;
        let waited_ms = since.map_or(0, |since| now.ms_since(since));
        self.oldest_pending_ms = self.oldest_pending_ms.max(waited_ms);
    }
}

impl Redelivery {
    /// Redelivers from `ledger` to `stripe`, by the API that it is configured for.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            deliverer: Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            customers: CustomerDirectory::new(ledger.clone(), stripe, Arc::clone(&clock)),
            ledger,
            clock,
            leases: Mutex::new(Leases::new()),
        }
    }

    /// Looks at everything that has been pending for a minute, oldest first, and
    /// sends it; stops while there is still time to note what was sent last.
    ///
    /// Several runs may go on at once: each sends from the buckets of the outbox
    /// that it has a lease on, and leaves the others alone.
    ///
    /// # Errors
    /// [`RedeliveryError`] where the outbox cannot be read. A single event that
    /// cannot be settled is no error: it is counted as pending, and passed by.
    pub async fn run(&self, deadline: Instant) -> Result<Report, RedeliveryError> {
        let mut leases = self.leases.lock().await;
        leases.start_run(deadline.saturating_duration_since(Instant::now()));
        let mut report = Report::default();
        let ran = self.run_through(deadline, &mut leases, &mut report).await;
        leases.release(&self.ledger).await;
        let is_complete = ran?;
        log(&report, is_complete);
        Ok(report)
    }

    /// Whether the outbox was read to its end.
    async fn run_through(
        &self,
        deadline: Instant,
        leases: &mut Leases,
        report: &mut Report,
    ) -> Result<bool, RedeliveryError> {
        let before = self.clock.now().plus_ms(-PENDING_MS_MIN);
        let mut cursor = OutboxCursor::default();
        while !cursor.is_at_end() && has_time(deadline) {
            let read = self
                .ledger
                .next_outbox_entries(&mut cursor, before, PAGE_ENTRIES_OF_A_BUCKET)
                .await?;
            report.unreadable += read.unreadable.len();
            log_unreadable(&read.unreadable);
            let mut entries = Vec::with_capacity(read.entries.len());
            for entry in read.entries {
                let now = self.clock.now();
                if leases.may_send(&self.ledger, &entry.bucket, now).await {
                    entries.push(entry);
                } else {
                    cursor.leave(&entry.bucket);
                    report.leased += 1;
                }
            }
            for batch in entries.chunks(BATCH_EVENTS_MAX) {
                if !has_time(deadline) {
                    break;
                }
                self.redeliver(batch, report).await;
            }
        }
        Ok(cursor.is_at_end())
    }

    async fn redeliver(&self, batch: &[OutboxEntry], report: &mut Report) {
        let now = self.clock.now();
        let looks = batch.iter().map(|entry| self.look(entry)).collect();
        let mut rows = Vec::with_capacity(batch.len());
        let looks = in_order(looks, TABLE_CALLS_IN_FLIGHT).await;
        for (entry, look) in batch.iter().zip(looks) {
            match look {
                Look::Pending(row) => rows.push(*row),
                Look::Stale => report.stale += 1,
                Look::Quarantined => report.quarantined += 1,
                Look::Waits => report.wait(entry.pending_since(), now),
                Look::Unreadable => report.unreadable += 1,
            }
        }
        let outcomes = self.deliverer.deliver(&rows).await;
        for (row, delivered) in rows.iter().zip(outcomes) {
            match delivered {
                Delivered::Delivered => report.delivered += 1,
                Delivered::Pending => report.wait(Some(row.pending_since), now),
                Delivered::Rejected { .. } => report.rejected += 1,
                Delivered::Quarantined => report.quarantined += 1,
                Delivered::Settled(_) => report.stale += 1,
            }
        }
    }

    /// The audit log decides whether an entry still means anything. One that
    /// does not is removed here: it may be left from a rebuild of the outbox,
    /// after the change that would have removed it.
    async fn look(&self, entry: &OutboxEntry) -> Look {
        let row = match self.ledger.usage_event(&entry.identifier).await {
            Ok(row) => row,
            Err(error) => {
                log_failure(entry, &error, "a pending event cannot be read");
                return match error {
                    LedgerError::UnreadableItem { .. } => Look::Unreadable,
                    LedgerError::Unavailable { .. } => Look::Waits,
                };
            }
        };
        let is_pending = |row: &UsageEventRow| {
            row.status == UsageStatus::Pending && row.outbox_key().outbox_key == entry.outbox_key
        };
        match row {
            Some(row) if is_pending(&row) => return self.place(entry, Box::new(row)).await,
            Some(_) => {}
            None => tracing::error!(
                identifier = %entry.identifier,
                "the outbox names a usage event that the audit log does not have"
            ),
        }
        if let Err(error) = self.ledger.remove_outbox_entry(entry).await {
            log_failure(entry, &error, "a stale outbox entry stays");
        }
        Look::Stale
    }

    /// Its period may have ended since it was recorded.
    async fn place(&self, entry: &OutboxEntry, row: Box<UsageEventRow>) -> Look {
        let customer = match self.customers.customer(&row.customer_id).await {
            Ok(Some(customer)) => customer,
            Ok(None) => {
                tracing::error!(
                    identifier = %entry.identifier,
                    customer_id = %row.customer_id,
                    "a pending event's customer is unknown"
                );
                return Look::Waits;
            }
            Err(error) => {
                log_failure(entry, &error, "a pending event's customer cannot be read");
                return Look::Waits;
            }
        };
        match keep_billable(&self.customers, row, &customer, self.clock.now()).await {
            Ok(Kept::Billable(row)) => Look::Pending(row),
            Ok(Kept::Waits) => Look::Waits,
            Ok(Kept::Settled(UsageStatus::Quarantined)) => Look::Quarantined,
            Ok(Kept::Settled(_)) => Look::Stale,
            Err(error) => {
                log_failure(entry, &error, "a pending event cannot be carried over");
                Look::Waits
            }
        }
    }
}

/// Whether another batch surely ends before `deadline`.
fn has_time(deadline: Instant) -> bool {
    let needed_ms = SEND_BUDGET_MS.saturating_add(NOTE_BUDGET_MS);
    Instant::now() + Duration::from_millis(needed_ms.unsigned_abs()) < deadline
}

fn log(report: &Report, is_complete: bool) {
    tracing::info!(
        delivered = report.delivered,
        pending = report.pending,
        rejected = report.rejected,
        quarantined = report.quarantined,
        unreadable = report.unreadable,
        leased = report.leased,
        stale = report.stale,
        oldest_pending_ms = report.oldest_pending_ms,
        is_complete,
        "redelivered"
    );
}

fn log_failure(entry: &OutboxEntry, error: &dyn Error, what: &'static str) {
    tracing::error!(
        identifier = %entry.identifier,
        error = %error,
        source = error.source().map(tracing::field::debug),
        what,
        "redelivery passes an entry by"
    );
}

fn log_unreadable(keys: &[OutboxKey]) {
    for key in keys {
        tracing::error!(
            bucket = key.bucket,
            outbox_key = key.outbox_key,
            "an entry of the outbox cannot be read: it is passed by"
        );
    }
}
