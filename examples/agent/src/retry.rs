//! How long to wait before the next attempt.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The first step, in milliseconds.
const STEP_MS_MIN: u64 = 50;
/// No step is longer, in milliseconds.
const STEP_MS_MAX: u64 = 1000;

/// Steps that double, each with jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    step_ms: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            step_ms: STEP_MS_MIN,
        }
    }

    /// The next wait: between half a step and a whole one, so that agents whose
    /// connections broke together do not come back together, but never shorter
    /// than what the server asked for.
    pub(crate) fn next_wait(&mut self, retry_after: Option<Duration>) -> Duration {
        let half_ms = self.step_ms / 2;
        let wait = Duration::from_millis(half_ms + fastrand::u64(0..=half_ms));
        self.step_ms = (self.step_ms * 2).min(STEP_MS_MAX);
        wait.max(retry_after.unwrap_or_default())
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
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_never_undercut_the_server() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.next_wait(None)).collect();
        assert!((25..=50).contains(&waits[0].as_millis()), "{waits:?}");
        assert!((500..=1000).contains(&waits[19].as_millis()), "{waits:?}");
        let asked = Duration::from_secs(30);
        assert_eq!(backoff.next_wait(Some(asked)), asked);
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let headers = |value| HeaderMap::from_iter([(RETRY_AFTER, value)]);
        let read = |value: &'static str| {
            retry_after(&headers(reqwest::header::HeaderValue::from_static(value)))
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
