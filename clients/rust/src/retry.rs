//! When to try again.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

/// The first step, in milliseconds.
const STEP_MS_MIN: u64 = 50;
/// No step is longer, in milliseconds.
const STEP_MS_MAX: u64 = 2_000;

/// As good as never: a sum beyond what an instant holds would panic.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The instant after `wait`, however long that is.
pub(crate) fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(FAR)
}

/// The time that one call may take, retries included.
#[derive(Debug)]
pub(crate) struct Budget {
    deadline: Instant,
    step_ms: u64,
}

impl Budget {
    pub(crate) fn of(budget: Duration) -> Self {
        Self {
            deadline: after(budget),
            step_ms: STEP_MS_MIN,
        }
    }

    /// How long to wait before the next attempt; none where it would be too late.
    ///
    /// Anywhere between nothing and a step that doubles, so that agents whose
    /// connections broke together do not come back together; and never before
    /// the time that the server asked for.
    pub(crate) fn next_wait(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        let wait = Duration::from_millis(fastrand::u64(0..=self.step_ms));
        self.step_ms = (self.step_ms * 2).min(STEP_MS_MAX);
        let wait = match retry_after {
            Some(asked) => asked.saturating_add(wait),
            None => wait,
        };
        let begins_at = Instant::now().checked_add(wait)?;
        (begins_at < self.deadline).then_some(wait)
    }
}

/// `Retry-After` in its form of whole seconds. Its other form, a date, would
/// need the server's clock to agree with this one.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn waits_stay_within_their_bounds_and_never_undercut_the_server() {
        let mut budget = Budget::of(Duration::from_secs(3600));
        for _ in 0..100 {
            assert!(budget.next_wait(None).unwrap() <= Duration::from_secs(2));
            let asked = Duration::from_secs(30);
            assert!(budget.next_wait(Some(asked)).unwrap() >= asked);
        }
    }

    #[test]
    fn agents_that_were_told_the_same_do_not_come_back_together() {
        let asked = Some(Duration::from_secs(30));
        let wait = |_| {
            Budget::of(Duration::from_secs(60))
                .next_wait(asked)
                .unwrap()
        };
        let waits: std::collections::HashSet<_> = (0..100).map(wait).collect();
        assert!(waits.len() > 20, "{waits:?}");
    }

    #[test]
    fn what_would_be_too_late_is_not_waited_for() {
        let mut budget = Budget::of(Duration::from_secs(10));
        assert_eq!(budget.next_wait(Some(Duration::from_secs(10))), None);
        assert_eq!(budget.next_wait(Some(Duration::MAX)), None);
        assert!(Budget::of(Duration::MAX).next_wait(None).is_some());
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let read = |value| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]));
        assert_eq!(
            read(HeaderValue::from_static("7")),
            Some(Duration::from_secs(7))
        );
        let date = HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(read(date), None);
        assert_eq!(read(HeaderValue::from_static("-1")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
