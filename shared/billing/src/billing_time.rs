//! The one place that chooses the time that Stripe is told.
//!
//! Stripe bills a meter event by its timestamp. One that lies in a period whose
//! invoice is final is taken with a 200 and billed never; so the timestamp is
//! chosen here, for every way into Stripe alike.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::window::CLOCK_MARGIN_MS;

/// What the choice needs to know of a customer's subscription. All times are
/// the customer's own: of the test clock, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// When it began to bill.
    pub started_at: Timestamp,
    /// When it ended or is set to end, if so.
    pub ends_at: Option<Timestamp>,
    /// The start of the period that Stripe last told us of.
    pub period_start: Timestamp,
    /// The end of that period, itself not part of it.
    pub period_end: Timestamp,
}

/// When an event is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillingTime {
    /// In the period that begins at `period_start`.
    Billable {
        /// The timestamp of the meter event.
        billed_at: Timestamp,
        /// The start of the period that it falls into.
        period_start: Timestamp,
        /// Whether it was moved out of an earlier period.
        carried_over: bool,
    },
    /// In no period: it would be taken and billed never.
    Held(HeldReason),
}

/// Why an event has no billable period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldReason {
    /// It happened before the subscription began.
    BeforeSubscription,
    /// It happened after the subscription's end.
    AfterSubscription,
    /// It happened before the subscription's end, and was heard of after it.
    NoOpenPeriod,
}

impl HeldReason {
    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSubscription => "before_subscription",
            Self::AfterSubscription => "after_subscription",
            Self::NoOpenPeriod => "no_open_period",
        }
    }
}

impl BillingTime {
    /// Chooses the time for an event of `occurred_at`, decided at `now`.
    ///
    /// An event of an earlier period is carried into the current one, since
    /// that period's invoice may be final. One that is ahead of `now` is billed
    /// at `now`. Where `now` has passed the last known period, the next one is
    /// known to begin at its end.
    pub fn choose(occurred_at: Timestamp, now: Timestamp, subscription: &Subscription) -> Self {
        let Subscription {
            started_at,
            ends_at,
            period_start,
            period_end,
        } = *subscription;
        // Our clock and Stripe's may differ by more than the moment between a
        // subscription's creation and its first event.
        if occurred_at < started_at.plus_ms(-CLOCK_MARGIN_MS) {
            return Self::Held(HeldReason::BeforeSubscription);
        }
        let occurred_at = occurred_at.min(now).max(started_at);
        if ends_at.is_some_and(|end| occurred_at >= end) {
            return Self::Held(HeldReason::AfterSubscription);
        }
        // One that is canceled in its period gets no invoice at the period's end.
        if ends_at.is_some_and(|end| now >= end) {
            return Self::Held(HeldReason::NoOpenPeriod);
        }
        let open_period_start = if now < period_end {
            period_start
        } else {
            period_end
        };
        if occurred_at >= open_period_start {
            return Self::Billable {
                billed_at: occurred_at,
                period_start: open_period_start,
                carried_over: false,
            };
        }
        Self::Billable {
            billed_at: now.max(open_period_start),
            period_start: open_period_start,
            carried_over: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;
    const START: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn day(n: i64) -> Timestamp {
        START.plus_ms(n * DAY_MS)
    }

    /// Began on day 0, is in its second period of 30 days.
    fn subscription() -> Subscription {
        Subscription {
            started_at: day(0),
            ends_at: None,
            period_start: day(30),
            period_end: day(60),
        }
    }

    fn billed(billed_at: Timestamp, period_start: Timestamp, carried_over: bool) -> BillingTime {
        BillingTime::Billable {
            billed_at,
            period_start,
            carried_over,
        }
    }

    #[test]
    fn usage_of_the_current_period_keeps_its_time() {
        let chosen = BillingTime::choose(day(31), day(40), &subscription());
        assert_eq!(chosen, billed(day(31), day(30), false));
    }

    #[test]
    fn usage_ahead_of_the_clock_is_billed_now() {
        let chosen = BillingTime::choose(day(40).plus_ms(60_000), day(40), &subscription());
        assert_eq!(chosen, billed(day(40), day(30), false));
    }

    #[test]
    fn usage_of_an_earlier_period_is_carried_over() {
        let chosen = BillingTime::choose(day(29), day(40), &subscription());
        assert_eq!(chosen, billed(day(40), day(30), true));
    }

    #[test]
    fn past_the_known_period_the_next_one_has_begun() {
        let chosen = BillingTime::choose(day(61), day(61), &subscription());
        assert_eq!(chosen, billed(day(61), day(60), false));
        let late = BillingTime::choose(day(59), day(61), &subscription());
        assert_eq!(late, billed(day(61), day(60), true));
    }

    #[test]
    fn usage_outside_the_subscription_is_held() {
        let before = BillingTime::choose(day(-1), day(40), &subscription());
        assert_eq!(before, BillingTime::Held(HeldReason::BeforeSubscription));
        let ended = Subscription {
            ends_at: Some(day(45)),
            ..subscription()
        };
        let after = BillingTime::choose(day(46), day(46), &ended);
        assert_eq!(after, BillingTime::Held(HeldReason::AfterSubscription));
        for occurred_at in [day(29), day(44)] {
            let too_late = BillingTime::choose(occurred_at, day(46), &ended);
            assert_eq!(too_late, BillingTime::Held(HeldReason::NoOpenPeriod));
        }
        let in_time = BillingTime::choose(day(44), day(45).plus_ms(-1), &ended);
        assert_eq!(in_time, billed(day(44), day(30), false));
    }

    #[test]
    fn a_clock_slightly_behind_stripes_loses_nothing() {
        let fresh = Subscription {
            period_start: day(0),
            period_end: day(30),
            ..subscription()
        };
        let early = day(0).plus_ms(-2_000);
        assert_eq!(
            BillingTime::choose(early, early, &fresh),
            billed(day(0), day(0), false)
        );
    }
}
