//! One run: through the outbox, page by page, until it ends or time does.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use billing::{Clock, Identifier};
use ledger::{Ledger, LedgerError, OutboxCursor, OutboxEntry, UsageEventRow};
use limits::{Duties, DutiesReport};
use metering::{CustomerDirectory, Delivered, Deliverer, Sending, in_order};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::due::Due;
use crate::leases::Leases;
use crate::listed::Listed;
use crate::log;
use crate::look::{LOOKS_MAX, Look, Looks};
use crate::patience::{Patience, last_start_before};
use crate::report::Report;
use crate::undigested::Undigested;

/// What became pending less than this ago may still be in its emission's hands.
const PENDING_MS_MIN: i64 = 60_000;
/// Entries of each of the outbox's 16 buckets that are read at once.
const PAGE_ENTRIES_OF_A_BUCKET: i32 = 8;
/// Entries that are settled at once.
const SETTLED_IN_FLIGHT: usize = 8;

/// Brings to Stripe what is pending.
pub struct Redelivery {
    ledger: Ledger,
    customers: CustomerDirectory,
    deliverer: Deliverer,
    clock: Arc<dyn Clock>,
    /// What else is to be done every minute.
    limits: Option<Duties>,
    /// One run at a time within a process; between processes the leases see to it.
    memory: Mutex<Memory>,
}

/// What a process keeps from one run to the next.
struct Memory {
    leases: Leases,
    undigested: Undigested,
}

/// A run under way.
struct Run<'a> {
    patience: Patience,
    undigested: &'a mut Undigested,
    /// What is pending of the undigested, to be sent when all else is. One may be
    /// listed on several pages.
    deferred: HashMap<Identifier, UsageEventRow>,
    report: Report,
}

/// Why a run broke off. What it had settled stays settled.
#[derive(Debug, thiserror::Error)]
pub enum RedeliveryError {
    /// The outbox, or what is due for limits, cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Redelivery {
    /// Redelivers from `ledger` to `stripe`, by the API that it is configured for.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            deliverer: Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            customers: CustomerDirectory::new(ledger.clone(), stripe, Arc::clone(&clock)),
            ledger,
            clock,
            limits: None,
            memory: Mutex::new(Memory {
                leases: Leases::new(),
                undigested: Undigested::default(),
            }),
        }
    }

    /// Does what is due for spending limits, too, with each run.
    #[must_use]
    pub fn with_limits(self, limits: Duties) -> Self {
        Self {
            limits: Some(limits),
            ..self
        }
    }

    /// Looks at everything that has been pending for a minute, oldest first, and
    /// sends it; stops while there is still time to note what was sent last, or
    /// where nothing gets through to Stripe.
    ///
    /// Several runs may go on at once: each sends from the buckets of the outbox
    /// that it has a lease on, and leaves the others alone.
    ///
    /// # Errors
    /// [`RedeliveryError`] where the outbox cannot be read. A single event that
    /// cannot be settled is no error: it is counted as pending, and passed by.
    pub async fn run(&self, deadline: Instant) -> Result<Report, RedeliveryError> {
        let mut memory = self.memory.lock().await;
        let Memory { leases, undigested } = &mut *memory;
        leases.start_run(deadline.saturating_duration_since(Instant::now()));
        undigested.start_run(self.clock.now());
        let mut run = Run {
            patience: Patience::until(deadline),
            undigested,
            deferred: HashMap::new(),
            report: Report::default(),
        };
        // Side by side: where Stripe is slow, a run takes all of its time.
        let (ran, limits) = tokio::join!(
            self.run_through(leases, &mut run),
            self.look_after_limits(deadline),
        );
        let mut report = run.report;
        leases.release(&self.ledger).await;
        let is_complete = ran?;
        report.log(is_complete);
        report.limits = limits;
        Ok(report)
    }

    /// Ends before the run has to, and fails nothing of it: what is left is due still.
    async fn look_after_limits(&self, deadline: Instant) -> DutiesReport {
        let Some(limits) = &self.limits else {
            return DutiesReport::default();
        };
        let ran = limits.run(last_start_before(deadline)).await;
        ran.unwrap_or_else(|error| {
            tracing::error!(
                %error,
                source = std::error::Error::source(&error).map(tracing::field::debug),
                "what is due for limits cannot be listed: the next minute tries again"
            );
            DutiesReport {
                failed: 1,
                ..DutiesReport::default()
            }
        })
    }

    /// Whether all that was due was sent, or at least looked at.
    async fn run_through(
        &self,
        leases: &mut Leases,
        run: &mut Run<'_>,
    ) -> Result<bool, RedeliveryError> {
        let is_through = self.run_through_outbox(leases, run).await?;
        Ok(self.deliver_deferred(run).await && is_through)
    }

    async fn run_through_outbox(
        &self,
        leases: &mut Leases,
        run: &mut Run<'_>,
    ) -> Result<bool, RedeliveryError> {
        let before = self.clock.now().plus_ms(-PENDING_MS_MIN);
        let mut cursor = OutboxCursor::default();
        while !cursor.is_at_end() {
            if run.patience.is_over() {
                return Ok(false);
            }
            let read = self
                .ledger
                .next_outbox_entries(&mut cursor, before, PAGE_ENTRIES_OF_A_BUCKET)
                .await?;
            run.report.unreadable += read.unreadable.len();
            log::unreadable(&read.unreadable);
            let mut entries = Vec::with_capacity(read.entries.len());
            for entry in read.entries {
                let now = self.clock.now();
                if leases.may_send(&self.ledger, &entry.key.bucket, now).await {
                    entries.push(entry);
                } else {
                    cursor.leave(&entry.key.bucket);
                    run.report.leased += entry.identifiers.len();
                }
            }
            if !self.redeliver(&entries, run).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends what is pending of `entries`, and takes out of them what is settled
    /// then. Whether there was time for all.
    async fn redeliver(&self, entries: &[OutboxEntry], run: &mut Run<'_>) -> bool {
        let mut settled = HashSet::new();
        let mut due = Due::default();
        let listed = Listed::all(entries);
        let mut unseen = listed.as_slice();
        while !unseen.is_empty() && !run.patience.is_over() {
            let seen = unseen.len().min(LOOKS_MAX);
            let (next, others) = unseen.split_at(seen);
            unseen = others;
            let mut rows = self.look_at(next, run, &mut settled).await;
            let undigested = rows.extract_if(.., |row| run.undigested.has(&row.identifier));
            let undigested = undigested.map(|row| (row.identifier.clone(), row));
            run.deferred.extend(undigested);
            due.add(rows, |row| &row.customer_id);
            self.deliver_all(&mut due, !unseen.is_empty(), &mut settled, run)
                .await;
        }
        let now = self.clock.now();
        for row in due.rows() {
            run.report.wait(row.pending_since, now);
        }
        for listed in unseen {
            run.report.age(listed.since, now);
        }
        let settle = entries.iter().map(|entry| self.settle(entry, &settled));
        in_order(settle.collect(), SETTLED_IN_FLIGHT).await;
        unseen.is_empty() && due.is_empty()
    }

    /// Sends what was lost alone in a run before: last of all, since it may be lost
    /// again. The next run takes it out of its entries. Whether there was time for all.
    async fn deliver_deferred(&self, run: &mut Run<'_>) -> bool {
        let mut rows: Vec<UsageEventRow> = mem::take(&mut run.deferred).into_values().collect();
        // So that all have their turn, where a run ends before the last of them.
        rows.sort_by_key(|row| run.undigested.lost_at(&row.identifier));
        let mut due = Due::default();
        due.add(rows, |row| &row.customer_id);
        self.deliver_all(&mut due, false, &mut HashSet::new(), run)
            .await;
        let now = self.clock.now();
        for row in due.rows() {
            run.report.wait(row.pending_since, now);
        }
        due.is_empty()
    }

    /// Sends what is due, a batch at a time, the last one only where no more comes.
    async fn deliver_all(
        &self,
        due: &mut Due<UsageEventRow>,
        more_comes: bool,
        settled: &mut HashSet<Identifier>,
        run: &mut Run<'_>,
    ) {
        while !run.patience.is_over() {
            let Some(batch) = due.take(run.patience.next(), more_comes) else {
                return;
            };
            let got_through = self.deliver(&batch, settled, &mut run.report).await;
            run.patience.note(got_through);
            if got_through {
                for row in &batch {
                    run.undigested.forget(&row.identifier);
                }
                continue;
            }
            let pending = batch.into_iter();
            let pending = pending.filter(|row| !settled.contains(&row.identifier));
            if let Some(row) = due.take_back(pending.collect()) {
                let now = self.clock.now();
                log::undigested(&row);
                run.undigested.note(&row.identifier, now);
                run.report.wait(row.pending_since, now);
            }
        }
    }

    async fn settle(&self, entry: &OutboxEntry, settled: &HashSet<Identifier>) {
        if let Err(error) = self.ledger.settle_in_outbox(entry, settled).await {
            log::entry(&entry.key, &error, "settled events stay in the outbox");
        }
    }

    /// What is to be sent of `listed`. The audit log decides whether an entry
    /// still means anything: it lists what was pending once.
    async fn look_at(
        &self,
        listed: &[Listed<'_>],
        run: &mut Run<'_>,
        settled: &mut HashSet<Identifier>,
    ) -> Vec<UsageEventRow> {
        let looks = Looks {
            ledger: &self.ledger,
            customers: &self.customers,
            clock: &*self.clock,
        };
        let now = self.clock.now();
        let looks = looks.at(listed, &run.patience).await;
        let report = &mut run.report;
        let mut due = Vec::new();
        for (listed, look) in listed.iter().zip(looks) {
            match look {
                Look::Pending(row) => due.push(*row),
                Look::Waits => report.wait(listed.since, now),
                Look::Unreadable => report.unreadable += 1,
                Look::Quarantined => {
                    report.quarantined += 1;
                    settled.insert(listed.identifier.clone());
                }
                Look::Stale => {
                    report.stale += 1;
                    settled.insert(listed.identifier.clone());
                }
            }
        }
        due
    }

    /// Whether anything got through to Stripe. What is pending of a batch that did
    /// is counted as such; where nothing did, the caller has all of it still.
    async fn deliver(
        &self,
        batch: &[UsageEventRow],
        settled: &mut HashSet<Identifier>,
        report: &mut Report,
    ) -> bool {
        let now = self.clock.now();
        let sendings: Vec<Sending<'_>> = batch.iter().map(Sending::again).collect();
        let deliveries = self.deliverer.send(&sendings).await;
        for (row, delivery) in batch.iter().zip(deliveries.each) {
            match delivery.outcome {
                Delivered::Pending => {
                    if deliveries.got_through {
                        report.wait(row.pending_since, now);
                    }
                    continue;
                }
                Delivered::Delivered => report.delivered += 1,
                Delivered::Rejected { .. } => report.rejected += 1,
                Delivered::Quarantined => report.quarantined += 1,
                Delivered::Settled(_) => report.stale += 1,
            }
            settled.insert(row.identifier.clone());
        }
        deliveries.got_through
    }
}
