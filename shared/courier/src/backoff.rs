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
    let next = now.plus_ms(pause_ms(attempts.saturating_sub(1)));
    (next.ms_since(since) <= TRIED_MS_MAX).then_some(next)
}

/// When a delivery is due again that waits since `since`, and that a run at `now` did
/// not try: its channel failed with others.
///
/// A channel that `takes` some is slow or failed by chance: a minute later. One that
/// takes nothing is down, perhaps for long: the pause grows with the time that was
/// waited, to an hour, so that what waits is not written anew in every minute.
pub(crate) fn put_off(since: Timestamp, now: Timestamp, takes: bool) -> Timestamp {
    let waited_min = (now.ms_since(since) / MINUTE_MS).max(1);
    let doublings = if takes { 0 } else { waited_min.ilog2() };
    now.plus_ms(pause_ms(doublings))
}

/// A minute, doubled so often, and an hour at most.
fn pause_ms(doublings: u32) -> i64 {
    let doublings = doublings.min(16);
    MINUTE_MS.saturating_mul(1 << doublings).min(PAUSE_MS_MAX)
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

    #[test]
    fn what_is_put_off_waits_as_long_again_and_no_longer_than_an_hour() {
        let since = Timestamp::from_unix_s(1_769_860_800);
        let pauses_min = |takes| {
            let mut now = since;
            let pauses = (0..9).map(|_| {
                let next = put_off(since, now, takes);
                let pause_min = next.ms_since(now) / MINUTE_MS;
                now = next;
                pause_min
            });
            pauses.collect::<Vec<_>>()
        };
        assert_eq!(pauses_min(false), [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses_min(true), [1; 9]);
        // The one clock may be behind the other.
        let before = since.plus_ms(-1);
        assert_eq!(put_off(since, before, false), before.plus_ms(MINUTE_MS));
    }
}
