//! The one clock of a run: functions and Stripe live by it, the runner moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use billing::{Clock, Timestamp};

/// A clock that stands still until it is moved.
#[derive(Clone, Debug)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// A clock at `unix_ms`.
    pub(crate) fn at(unix_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(unix_ms)))
    }

    /// The time, in milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Moves it on. Time never goes back.
    pub(crate) fn advance_ms(&self, duration_ms: i64) {
        self.0.fetch_add(duration_ms.max(0), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(self.unix_ms())
    }
}

impl stripe_simulator::Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.unix_ms()
    }
}
