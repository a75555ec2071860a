//! One run: through the outbox, page by page, until it ends or time does.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::mem;
use std::sync::Arc;

use billing::{Clock, Identifier, Timestamp, UsageStatus};
use ledger::{
    Ledger, LedgerError, OutboxCursor, OutboxEntry, OutboxKey, READ_EVENTS_MAX, UsageEventFound,
    UsageEventRow,
};
use limits::{Duties, DutiesReport};
use metering::delivery::SEND_BUDGET_MS;
use metering::{CustomerDirectory, Delivered, Deliverer, Kept, Sending, in_order, keep_billable};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use web::metrics::{Figure, Unit};

use crate::due::Due;
use crate::leases::Leases;
use crate::patience::{Patience, last_start_before};
use crate::undigested::Undigested;

/// What became pending less than this ago may still be in its emission's hands.
const PENDING_MS_MIN: i64 = 60_000;
/// Entries of each of the outbox's 16 buckets that are read at once.
const PAGE_ENTRIES_OF_A_BUCKET: i32 = 8;
/// Reads of 100 rows of the audit log under way at once.
const READS_IN_FLIGHT: usize = 4;
/// Entries that are settled at once.
const SETTLED_IN_FLIGHT: usize = 8;
/// Events whose billing time is chosen at once.
const PLACES_IN_FLIGHT: usize = 16;

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
    /// Listed in another run's buckets, and left to it.
    pub leased: usize,
    /// No longer pending when they were looked at, or settled by somebody else.
    pub stale: usize,
    /// For how long the oldest of those that are still pending has been so.
    pub oldest_pending_ms: i64,
    /// What was done for spending limits.
    pub limits: DutiesReport,
}

/// Why a run broke off. What it had settled stays settled.
#[derive(Debug, thiserror::Error)]
pub enum RedeliveryError {
    /// The outbox, or what is due for limits, cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What the audit log says of an event that an entry lists.
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

/// An event that the outbox lists.
struct Listed<'a> {
    /// Of the entry with the latest time among those that list it.
    key: &'a OutboxKey,
    identifier: &'a Identifier,
    /// When the last of that entry's events became pending.
    since: Timestamp,
}

impl<'a> Listed<'a> {
    /// What `entries` list, each once: an event that became pending again is in
    /// several.
    fn all(entries: &'a [OutboxEntry]) -> Vec<Self> {
        let mut places: HashMap<&Identifier, usize> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for entry in entries {
            let (key, since) = (&entry.key, entry.pending_since);
            for identifier in &entry.identifiers {
                let place = *places.entry(identifier).or_insert(all.len());
                match all.get_mut(place) {
                    // Not the last one read: an entry's place says when it is
                    // due, which is earlier where a clock was ahead, or for a rebuild.
                    Some(listed) if listed.since < since => {
                        (listed.key, listed.since) = (key, since);
                    }
                    Some(_) => {}
                    None => all.push(Self {
                        key,
                        identifier,
                        since,
                    }),
                }
            }
        }
        all
    }

    /// Whether `row` is pending, and became so no later than any entry that lists
    /// it says: what became so later is listed by another.
    fn is_still(&self, row: &UsageEventRow) -> bool {
        row.status == UsageStatus::Pending && row.pending_since <= self.since
    }
}

impl Report {
    /// The figures that the operator watches.
    pub fn figures(&self) -> Vec<Figure> {
        let count = |name, events: usize| (name, Unit::Count, u64::try_from(events).unwrap_or(0));
        let oldest_ms = u64::try_from(self.oldest_pending_ms).unwrap_or(0);
        let mut figures = vec![
            count("delivered", self.delivered),
            count("pending", self.pending),
            count("rejected", self.rejected),
            count("quarantined", self.quarantined),
            count("poison", self.unreadable),
            ("oldest_pending_ms", Unit::Milliseconds, oldest_ms),
        ];
        figures.extend(self.limits.figures());
        figures
    }

    /// Counts an event that is pending still, since `since`.
    fn wait(&mut self, since: Timestamp, now: Timestamp) {
        self.pending += 1;
        self.age(since, now);
    }

    /// Something may be pending since `since`: it is, or nobody looked.
    fn age(&mut self, since: Timestamp, now: Timestamp) {
        self.oldest_pending_ms = self.oldest_pending_ms.max(now.ms_since(since));
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
        log(&report, is_complete);
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
            log_unreadable(&read.unreadable);
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
            let seen = unseen.len().min(READ_EVENTS_MAX * READS_IN_FLIGHT);
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
                log_undigested(&row);
                run.undigested.note(&row.identifier, now);
                run.report.wait(row.pending_since, now);
            }
        }
    }

    async fn settle(&self, entry: &OutboxEntry, settled: &HashSet<Identifier>) {
        if let Err(error) = self.ledger.settle_in_outbox(entry, settled).await {
            log_entry(&entry.key, &error, "settled events stay in the outbox");
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
        let Run {
            patience, report, ..
        } = run;
        let now = self.clock.now();
        let reads = listed.chunks(READ_EVENTS_MAX);
        let reads = reads.map(|listed| self.read(listed)).collect();
        let reads = in_order(reads, READS_IN_FLIGHT).await;
        let looks = listed.iter().zip(reads.into_iter().flatten());
        let looks = looks.map(|(listed, look)| self.place(listed, look, &*patience));
        let looks = in_order(looks.collect(), PLACES_IN_FLIGHT).await;
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

    /// What the audit log says of each of `listed`, up to 100.
    async fn read(&self, listed: &[Listed<'_>]) -> Vec<Look> {
        let identifiers: Vec<Identifier> = listed.iter().map(|it| it.identifier.clone()).collect();
        let mut found = match self.ledger.look_up_usage_events(&identifiers).await {
            Ok(found) => found,
            Err(error) => {
                let key = listed.first().map(|it| it.key);
                key.inspect(|key| log_entry(key, &error, "pending events cannot be read"));
                return listed.iter().map(|_| Look::Waits).collect();
            }
        };
        let look = |listed: &Listed<'_>| match found.take(listed.identifier) {
            Some(UsageEventFound::Row(row)) if listed.is_still(&row) => Look::Pending(row),
            Some(UsageEventFound::Row(_)) => Look::Stale,
            Some(UsageEventFound::Unreadable(error)) => {
                log_failure(listed, &error, "a pending event cannot be read");
                Look::Unreadable
            }
            None => {
                tracing::error!(
                    identifier = %listed.identifier,
                    "the outbox names a usage event that the audit log does not have"
                );
                Look::Stale
            }
        };
        listed.iter().map(look).collect()
    }

    /// Its period may have ended since it was recorded; Stripe is asked then, who
    /// may be slow to answer for each of many customers.
    async fn place(&self, listed: &Listed<'_>, look: Look, patience: &Patience) -> Look {
        let Look::Pending(row) = look else {
            return look;
        };
        if !patience.has_time() {
            return Look::Waits;
        }
        if !row.may_send(self.clock.now(), SEND_BUDGET_MS) {
            // Nothing that could not be read, of its customer or its period, keeps it
            // from being quarantined, which the deliverer does.
            return Look::Pending(row);
        }
        let customer = match self.customers.customer(&row.customer_id).await {
            Ok(Some(customer)) => customer,
            Ok(None) => {
                tracing::error!(
                    identifier = %listed.identifier,
                    customer_id = %row.customer_id,
                    "a pending event's customer is unknown"
                );
                return Look::Waits;
            }
            Err(error) => {
                log_failure(listed, &error, "a pending event's customer cannot be read");
                return Look::Waits;
            }
        };
        match keep_billable(&self.customers, row, &customer, self.clock.now()).await {
            Ok(Kept::Billable(row)) => Look::Pending(row),
            Ok(Kept::Waits) => Look::Waits,
            Ok(Kept::Settled(UsageStatus::Quarantined)) => Look::Quarantined,
            Ok(Kept::Settled(_)) => Look::Stale,
            Err(error) => {
                log_failure(listed, &error, "a pending event cannot be carried over");
                Look::Waits
            }
        }
    }
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

fn log_entry(key: &OutboxKey, error: &dyn Error, what: &'static str) {
    tracing::error!(
        bucket = key.bucket,
        outbox_key = key.outbox_key,
        error = %error,
        source = error.source().map(tracing::field::debug),
        what,
        "redelivery passes an entry by"
    );
}

fn log_failure(listed: &Listed<'_>, error: &dyn Error, what: &'static str) {
    tracing::error!(
        identifier = %listed.identifier,
        error = %error,
        source = error.source().map(tracing::field::debug),
        what,
        "redelivery passes an event by"
    );
}

/// Sent alone it is either Stripe's trouble or its own: the next run tries it last.
fn log_undigested(row: &UsageEventRow) {
    tracing::warn!(
        identifier = %row.identifier,
        customer_id = %row.customer_id,
        "nothing of a request with this event alone got through to Stripe"
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
