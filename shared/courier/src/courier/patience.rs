//! When a run leaves the rest to the next one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ledger::Channel;
use tokio::time::Instant;

use super::attempt::Attempt;
use crate::webhook::REQUEST_TIMEOUT;

/// What an event may take after its sending: notes and the reads before it.
const NOTE_BUDGET: Duration = Duration::from_secs(8);
/// Attempts in a row that fail before a channel is left to the next run: so many
/// events do not each wait for the same time-out.
const FAILURES_MAX: u32 = 3;

/// How long a run goes on, and by which channels.
pub(super) struct Patience {
    deadline: Instant,
    /// In a row, up to now.
    email_failures: AtomicU32,
    webhook_failures: AtomicU32,
}

impl Patience {
    pub(super) const fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            email_failures: AtomicU32::new(0),
            webhook_failures: AtomicU32::new(0),
        }
    }

    const fn failures(&self, channel: Channel) -> &AtomicU32 {
        match channel {
            Channel::Email => &self.email_failures,
            Channel::Webhook => &self.webhook_failures,
        }
    }

    /// Whether anything more may be begun by `channel`.
    pub(super) fn allows(&self, channel: Channel) -> bool {
        self.has_time() && self.failures(channel).load(Ordering::Relaxed) < FAILURES_MAX
    }

    /// Whether another event surely ends before the deadline.
    pub(super) fn has_time(&self) -> bool {
        Instant::now() + REQUEST_TIMEOUT + NOTE_BUDGET < self.deadline
    }

    pub(super) fn note(&self, channel: Channel, attempt: &Attempt) {
        let failures = self.failures(channel);
        match attempt {
            Attempt::Sent => failures.store(0, Ordering::Relaxed),
            Attempt::Failed(_) => {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            Attempt::Dead(_) | Attempt::Dropped(_) | Attempt::Left => {}
        }
    }
}
