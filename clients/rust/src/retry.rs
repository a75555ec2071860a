//! When to try again.

use std::time::Duration;

use httpdate::parse_http_date;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
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

/// `Retry-After`, in whole seconds or as a date (RFC 9110, 10.2.3). A date is one of the
/// server's clock, which need not agree with this machine's: so it counts from the answer's
/// own `Date`, and means nothing without one.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse_http_date(asked).ok()?;
    let answered_at = parse_http_date(text(DATE)?).ok()?;
    // What is over by then is not waited for.
    Some(until.duration_since(answered_at).unwrap_or_default())
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

    fn read<const N: usize>(headers: [(HeaderName, &'static str); N]) -> Option<Duration> {
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        retry_after(&HeaderMap::from_iter(headers))
    }

    #[test]
    fn retry_after_may_be_whole_seconds() {
        let asked = Some(Duration::from_secs(7));
        assert_eq!(read([(RETRY_AFTER, "7")]), asked);
        let date = (DATE, "Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(read([(RETRY_AFTER, " 7 "), date]), asked);
        for neither in ["-1", "7.5", "soon", ""] {
            assert_eq!(read([(RETRY_AFTER, neither)]), None, "{neither}");
        }
        assert_eq!(read([]), None);
    }

    /// This machine's clock is not asked: both are long ago, or both yet to come.
    #[test]
    fn retry_after_may_be_a_date_which_counts_from_that_of_the_answer() {
        for (date, until, seconds) in [
            (
                "Wed, 21 Oct 2015 07:28:00 GMT",
                "Wed, 21 Oct 2015 07:29:30 GMT",
                90,
            ),
            // The older forms, which a recipient takes, too.
            (
                "Sunday, 06-Nov-94 08:49:37 GMT",
                "Sun Nov  6 08:50:37 1994",
                60,
            ),
            (
                "Tue, 31 Dec 2199 23:59:59 GMT",
                "Wed, 01 Jan 2200 00:00:00 GMT",
                1,
            ),
            // Over by then.
            (
                "Wed, 21 Oct 2015 07:28:00 GMT",
                "Wed, 21 Oct 2015 07:27:59 GMT",
                0,
            ),
        ] {
            let asked = Some(Duration::from_secs(seconds));
            assert_eq!(read([(RETRY_AFTER, until), (DATE, date)]), asked, "{until}");
            assert_eq!(read([(RETRY_AFTER, until)]), None, "{until}");
            assert_eq!(read([(RETRY_AFTER, until), (DATE, "noon")]), None);
        }
    }
}
