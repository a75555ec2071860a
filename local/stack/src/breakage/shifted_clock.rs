//! The machine's clock, which can be put forward.

use std::sync::atomic::{AtomicI64, Ordering};

use billing::{Clock, Timestamp};
use web::SystemClock;

/// The present, and what was added to it.
#[derive(Debug, Default)]
pub(super) struct ShiftedClock {
    ahead_ms: AtomicI64,
}

impl ShiftedClock {
    /// Puts the clock forward.
    pub(super) fn advance_ms(&self, duration_ms: i64) {
        self.ahead_ms.fetch_add(duration_ms, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .plus_ms(self.ahead_ms.load(Ordering::Relaxed))
    }
}
