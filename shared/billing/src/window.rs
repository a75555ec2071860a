//! Which times are accepted, and for how long an event may be sent.

use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use crate::usage_event::FieldError;

/// Stripe takes meter events of the past 35 days (Stripe API reference: Meter
/// Events). An event may reach Stripe up to a day after it was accepted, so a
/// day is kept back: what is accepted can still be delivered at the last moment.
pub const OCCURRED_PAST_MS_MAX: i64 = 34 * DAY_MS;

/// Stripe takes meter events up to 5 minutes ahead; so does the API. Such an
/// event is billed at the present, so a slow clock here costs nothing.
pub const OCCURRED_AHEAD_MS_MAX: i64 = 5 * MINUTE_MS;

/// How long before its billing an event has hardly ever happened: what is accepted
/// is 34 days old at most, and sent for a day. Only what was redriven later than
/// that is older.
pub const CARRIED_MS: i64 = OCCURRED_PAST_MS_MAX + 2 * DAY_MS;

/// How long after its billing an event can have happened: one that is ahead of
/// the clock is billed at the clock's present, and a minute is for the clock.
pub const AHEAD_MS: i64 = OCCURRED_AHEAD_MS_MAX + MINUTE_MS;

/// Stripe dedupes an identifier for "at least 24 hours". An hour less is used.
pub const SEND_WINDOW_MS: i64 = 23 * HOUR_MS;

/// How far the clocks of two senders may be apart.
pub const CLOCK_MARGIN_MS: i64 = 5 * MINUTE_MS;

/// Accepts `occurred_at` at the time `now`.
///
/// # Errors
/// A [`FieldError`] where it is too old for Stripe or too far ahead.
pub fn check_occurred_at(occurred_at: Timestamp, now: Timestamp) -> Result<(), FieldError> {
    let age_ms = now.ms_since(occurred_at);
    if age_ms > OCCURRED_PAST_MS_MAX {
        let reason = "must lie within the past 34 days: Stripe takes no older usage";
        return Err(FieldError::new("occurred_at", reason));
    }
    if age_ms < -OCCURRED_AHEAD_MS_MAX {
        let reason = "must not lie more than 5 minutes ahead";
        return Err(FieldError::new("occurred_at", reason));
    }
    Ok(())
}

/// Whether a sending that starts at `now` and takes up to `budget_ms` surely
/// ends while Stripe still knows the identifier that was first sent at
/// `first_attempt_at`.
pub const fn may_send(first_attempt_at: Timestamp, now: Timestamp, budget_ms: i64) -> bool {
    now.plus_ms(budget_ms)
        .plus_ms(CLOCK_MARGIN_MS)
        .ms_since(first_attempt_at)
        < SEND_WINDOW_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn usage_is_accepted_from_34_days_back_to_5_minutes_ahead() {
        for (offset_ms, accepted) in [
            (-OCCURRED_PAST_MS_MAX, true),
            (-OCCURRED_PAST_MS_MAX - 1, false),
            (0, true),
            (OCCURRED_AHEAD_MS_MAX, true),
            (OCCURRED_AHEAD_MS_MAX + 1, false),
        ] {
            let checked = check_occurred_at(NOW.plus_ms(offset_ms), NOW);
            assert_eq!(checked.is_ok(), accepted, "{offset_ms}");
        }
    }

    #[test]
    fn the_send_window_leaves_room_for_the_call_and_for_clocks() {
        let last = SEND_WINDOW_MS - CLOCK_MARGIN_MS - 10_000;
        assert!(may_send(NOW, NOW.plus_ms(last - 1), 10_000));
        assert!(!may_send(NOW, NOW.plus_ms(last), 10_000));
    }
}
