//! Events that were lost when they were sent alone. It is either Stripe's trouble or
//! their own; the next run sends all others first.

use std::collections::HashMap;

use billing::{Identifier, Timestamp, window};

/// What a process remembers of its runs. A new process finds out anew.
#[derive(Default)]
pub(crate) struct Undigested(HashMap<Identifier, Timestamp>);

impl Undigested {
    /// Starts a run at `now`. Nobody sends what is older than a send window.
    pub(crate) fn start_run(&mut self, now: Timestamp) {
        self.0
            .retain(|_, lost_at| now.ms_since(*lost_at) < window::SEND_WINDOW_MS);
    }

    /// Notes that `identifier` was lost alone at `now`.
    pub(crate) fn note(&mut self, identifier: &Identifier, now: Timestamp) {
        self.0.insert(identifier.clone(), now);
    }

    /// A request with `identifier` got through.
    pub(crate) fn forget(&mut self, identifier: &Identifier) {
        self.0.remove(identifier);
    }

    /// Whether `identifier` was lost alone, and did not get through since.
    pub(crate) fn has(&self, identifier: &Identifier) -> bool {
        self.0.contains_key(identifier)
    }

    /// When `identifier` was last lost alone.
    pub(crate) fn lost_at(&self, identifier: &Identifier) -> Option<Timestamp> {
        self.0.get(identifier).copied()
    }
}
