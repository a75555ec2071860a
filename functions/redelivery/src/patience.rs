//! When a run leaves the rest to the next one.

use std::time::Duration;

use metering::delivery::SEND_BUDGET_MS;
use tokio::time::Instant;

/// What a batch may take after Stripe's part: noting its outcomes.
const NOTE_BUDGET_MS: i64 = 5_000;
/// Batches in a row of which nothing gets through to Stripe, before single events
/// tell why. Where Stripe cannot digest one event, its batch is lost, then perhaps
/// the first half of that, too; the other half is not.
const BATCHES_LOST_MAX: u32 = 3;
/// Single events in a row of which none gets through after that, before a run leaves
/// the others to the next one. Where Stripe cannot digest a few, each batch may have
/// one of them; most events by themselves are none.
pub(crate) const PROBES_LOST_MAX: u32 = 3;

/// Until when anything may be begun, so that it ends before `deadline`.
pub(crate) fn last_start_before(deadline: Instant) -> Instant {
    let needed_ms = SEND_BUDGET_MS.saturating_add(NOTE_BUDGET_MS);
    let needed = Duration::from_millis(needed_ms.unsigned_abs());
    deadline.checked_sub(needed).unwrap_or(deadline)
}

/// What is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A batch.
    Batch,
    /// A batch from the other end: if that gets through, the last one was lost by its
    /// own doing, and Stripe is there.
    BatchFromTheOtherEnd,
    /// One event, the nth of a few: if that gets through, the batches before were lost
    /// by their own doing, and Stripe is there.
    Probe(u32),
}

/// How long a run goes on.
pub(crate) struct Patience {
    deadline: Instant,
    /// Requests in a row, up to now.
    lost: u32,
}

impl Patience {
    pub(crate) const fn until(deadline: Instant) -> Self {
        Self { deadline, lost: 0 }
    }

    /// Notes whether anything of a request got through.
    pub(crate) const fn note(&mut self, got_through: bool) {
        self.lost = if got_through { 0 } else { self.lost + 1 };
    }

    pub(crate) const fn next(&self) -> Next {
        match self.lost.checked_sub(BATCHES_LOST_MAX) {
            Some(nth) => Next::Probe(nth),
            None if self.lost > 0 => Next::BatchFromTheOtherEnd,
            None => Next::Batch,
        }
    }

    /// Whether no other request shall be begun.
    pub(crate) fn is_over(&self) -> bool {
        self.lost >= BATCHES_LOST_MAX + PROBES_LOST_MAX || !self.has_time()
    }

    /// Whether another request surely ends before the deadline.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < last_start_before(self.deadline)
    }
}
