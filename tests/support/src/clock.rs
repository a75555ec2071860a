//! One time for the system and for the simulated Stripe.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use billing::{Clock, SECOND_MS, Timestamp};

/// A clock that stands still until it is moved. Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// A clock at `unix_ms`, in milliseconds since the Unix epoch.
    pub fn at_unix_ms(unix_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(unix_ms)))
    }

    /// A clock at `unix_s`, in seconds since the Unix epoch.
    pub fn at_unix_s(unix_s: i64) -> Self {
        Self::at_unix_ms(unix_s * SECOND_MS)
    }

    /// A clock at the machine's time: for what is bound to it, such as sessions of
    /// Stripe's and signatures.
    pub fn at_present() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        let elapsed_ms = elapsed.unwrap_or_default().as_millis();
        Self::at_unix_ms(i64::try_from(elapsed_ms).unwrap_or(i64::MAX))
    }

    /// Another clock, ahead of this one.
    pub fn ahead_by_ms(&self, ahead_ms: i64) -> Self {
        Self::at_unix_ms(self.unix_ms() + ahead_ms)
    }

    /// The time, in milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Moves it on, or back by less than nothing: to what was long ago.
    pub fn advance_ms(&self, duration_ms: i64) {
        self.0.fetch_add(duration_ms, Ordering::SeqCst);
    }

    /// Moves it on by seconds.
    pub fn advance_s(&self, duration_s: i64) {
        self.advance_ms(duration_s * SECOND_MS);
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
