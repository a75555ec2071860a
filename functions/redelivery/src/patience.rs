//! When a run leaves the rest to the next one.

use std::time::Duration;

use metering::delivery::SEND_BUDGET_MS;
use tokio::time::Instant;

/// What a batch may take after Stripe's part: noting its outcomes.
const NOTE_BUDGET_MS: i64 = 5_000;
/// Batches in a row of which nothing gets through to Stripe, before a run leaves
/// the others to the next one. Where Stripe cannot digest one event, its batch is
/// lost, then perhaps the first half of that, too; the other half is not.
const BATCHES_LOST_MAX: u32 = 3;

/// Until when anything may be begun, so that it ends before `deadline`.
pub(crate) fn last_start_before(deadline: Instant) -> Instant {
    let needed_ms = SEND_BUDGET_MS.saturating_add(NOTE_BUDGET_MS);
    let needed = Duration::from_millis(needed_ms.unsigned_abs());
    deadline.checked_sub(needed).unwrap_or(deadline)
}

/// How long a run goes on.
pub(crate) struct Patience {
    deadline: Instant,
    /// In a row, up to now.
    batches_lost: u32,
}

impl Patience {
    pub(crate) const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            batches_lost: 0,
        }
    }

    /// Notes whether anything of a batch got through.
    pub(crate) const fn note(&mut self, got_through: bool) {
        self.batches_lost = if got_through {
            0
        } else {
            self.batches_lost + 1
        };
    }

    /// Whether the last batch was lost, and the next one tells why.
    pub(crate) const fn is_probing(&self) -> bool {
        self.batches_lost > 0
    }

    /// Whether no other batch shall be begun.
    pub(crate) fn is_over(&self) -> bool {
        self.batches_lost >= BATCHES_LOST_MAX || !self.has_time()
    }

    /// Whether another batch surely ends before the deadline.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < last_start_before(self.deadline)
    }
}
