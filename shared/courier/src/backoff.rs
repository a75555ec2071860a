//! When what failed is tried again, and when no more.

use billing::{MINUTE_MS, Timestamp};

/// The longest pause.
const PAUSE_MS_MAX: i64 = 60 * MINUTE_MS;
/// How long a delivery is tried.
pub(crate) const TRIED_MS_MAX: i64 = 3 * 24 * 60 * MINUTE_MS;

/// When the next attempt is due after `attempts` that failed, the last of them at
/// `now`: a minute later, then two, four and so on, up to an hour; none where three
/// days since `since` would be over by then.
pub(crate) fn next_attempt(attempts: u32, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let doublings = attempts.saturating_sub(1).min(16);
    let pause_ms = MINUTE_MS.saturating_mul(1 << doublings).min(PAUSE_MS_MAX);
    let next = now.plus_ms(pause_ms);
    (next.ms_since(since) <= TRIED_MS_MAX).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour_and_end_after_three_days() {
        let since = Timestamp::from_unix_s(1_769_860_800);
        let mut now = since;
        let mut pauses_min = Vec::new();
        let mut attempts = 1;
        while let Some(next) = next_attempt(attempts, since, now) {
            pauses_min.push(next.ms_since(now) / MINUTE_MS);
            now = next;
            attempts += 1;
        }
        assert_eq!(pauses_min[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(attempts, 77);
        let tried_ms = now.ms_since(since);
        assert!(tried_ms <= TRIED_MS_MAX && tried_ms > TRIED_MS_MAX - PAUSE_MS_MAX);
        assert_eq!(
            next_attempt(u32::MAX, since, since),
            Some(since.plus_ms(PAUSE_MS_MAX))
        );
    }
}
