//! One run: through the outbox, page by page, until it ends or time does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, UsageStatus};
use ledger::{Ledger, LedgerError, OutboxCursor, OutboxEntry, UsageEventRow};
use metering::delivery::{BATCH_EVENTS_MAX, SEND_BUDGET_MS};
use metering::{CustomerDirectory, Delivered, Deliverer, Kept, in_order, keep_billable};
use serde::Serialize;
use stripe::MeterEventStream;
use tokio::time::Instant;

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
    /// No longer pending when they were looked at, or settled by somebody else.
    pub stale: usize,
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
    Unread,
}

impl Redelivery {
    /// Redelivers from `ledger` to `stripe`, by its meter event stream.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        let stream = MeterEventStream::new(stripe.clone());
        Self {
            customers: CustomerDirectory::new(ledger.clone(), stripe, Arc::clone(&clock)),
            deliverer: Deliverer::new(ledger.clone(), stream, Arc::clone(&clock)),
            ledger,
            clock,
        }
    }

    /// Looks at everything that has been pending for a minute, oldest first, and
    /// sends it; stops while there is still time to note what was sent last.
    ///
    /// # Errors
    /// [`RedeliveryError`] where the outbox cannot be read. A single event that
    /// cannot be settled is no error: it is counted as pending, and passed by.
    pub async fn run(&self, deadline: Instant) -> Result<Report, RedeliveryError> {
        let before = self.clock.now().plus_ms(-PENDING_MS_MIN);
        let mut report = Report::default();
        let mut cursor = OutboxCursor::default();
        while !cursor.is_at_end() && has_time(deadline) {
            let entries = self
                .ledger
                .next_outbox_entries(&mut cursor, before, PAGE_ENTRIES_OF_A_BUCKET)
                .await?;
            for batch in entries.chunks(BATCH_EVENTS_MAX) {
                if !has_time(deadline) {
                    break;
                }
                self.redeliver(batch, &mut report).await;
            }
        }
        log(&report, cursor.is_at_end());
        Ok(report)
    }

    async fn redeliver(&self, batch: &[OutboxEntry], report: &mut Report) {
        let looks = batch.iter().map(|entry| self.look(entry)).collect();
        let mut rows = Vec::with_capacity(batch.len());
        for look in in_order(looks, TABLE_CALLS_IN_FLIGHT).await {
            match look {
                Look::Pending(row) => rows.push(*row),
                Look::Stale => report.stale += 1,
                Look::Quarantined => report.quarantined += 1,
                Look::Unread => report.pending += 1,
            }
        }
        for delivered in self.deliverer.deliver(&rows).await {
            match delivered {
                Delivered::Delivered => report.delivered += 1,
                Delivered::Pending => report.pending += 1,
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
                return Look::Unread;
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
                return Look::Unread;
            }
            Err(error) => {
                log_failure(entry, &error, "a pending event's customer cannot be read");
                return Look::Unread;
            }
        };
        match keep_billable(&self.ledger, row, &customer, self.clock.now()).await {
            Ok(Kept::Billable(row)) => Look::Pending(row),
            Ok(Kept::Settled(UsageStatus::Quarantined)) => Look::Quarantined,
            Ok(Kept::Settled(_)) => Look::Stale,
            Err(error) => {
                log_failure(entry, &error, "a pending event cannot be carried over");
                Look::Unread
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
        stale = report.stale,
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
