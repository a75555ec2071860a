//! What became of the events that a run looked at.

use billing::Timestamp;
use limits::DutiesReport;
use serde::Serialize;
use web::metrics::{Figure, Unit};

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
    pub(crate) fn wait(&mut self, since: Timestamp, now: Timestamp) {
        self.pending += 1;
        self.age(since, now);
    }

    /// Something may be pending since `since`: it is, or nobody looked.
    pub(crate) fn age(&mut self, since: Timestamp, now: Timestamp) {
        self.oldest_pending_ms = self.oldest_pending_ms.max(now.ms_since(since));
    }

    /// Tells the log, and whether all was looked at.
    pub(crate) fn log(&self, is_complete: bool) {
        tracing::info!(
            delivered = self.delivered,
            pending = self.pending,
            rejected = self.rejected,
            quarantined = self.quarantined,
            unreadable = self.unreadable,
            leased = self.leased,
            stale = self.stale,
            oldest_pending_ms = self.oldest_pending_ms,
            is_complete,
            "redelivered"
        );
    }
}
