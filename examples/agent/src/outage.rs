//! A server that is silent to everybody.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Since when the server has been silent to everybody who shares this.
///
/// Without it, each of a thousand events would find out for itself, and wait
/// for its own retries, that the server is gone.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// An event that was begun at `begun` got no answer at all.
    pub(crate) fn note_silence(&self, begun: Instant) {
        self.since().get_or_insert(begun);
    }

    /// The server has answered.
    pub(crate) fn end(&self) {
        *self.since() = None;
    }

    /// Whether it has been silent for longer than this.
    pub(crate) fn lasts_longer_than(&self, patience: Duration) -> bool {
        self.since().is_some_and(|since| since.elapsed() > patience)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
