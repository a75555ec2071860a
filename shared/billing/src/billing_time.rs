//! The one place that chooses the time that Stripe is told.
//!
//! Stripe bills a meter event by its timestamp. One that lies in a period whose
//! invoice is final is taken with a 200 and billed never; so the timestamp is
//! chosen here, for every way into Stripe alike.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::window::{CLOCK_MARGIN_MS, OCCURRED_PAST_MS_MAX};

/// What the choice needs to know of a customer's subscription. All times are
/// the customer's own: of the test clock, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// When it began to bill.
    pub started_at: Timestamp,
    /// When it ended or is set to end, if so.
    pub ends_at: Option<Timestamp>,
    /// When the item that bills the usage was added, where that was after the
    /// subscription had begun. Stripe bills an added item for usage from then on
    /// (Stripe documentation: "Manage your usage-based billing setup").
    pub item_added_at: Option<Timestamp>,
    /// Its last free trial, if it had one.
    pub trial: Option<Trial>,
    /// The start of the period that Stripe last told us of.
    pub period_start: Timestamp,
    /// The end of that period, itself not part of it.
    pub period_end: Timestamp,
}

/// A free trial: a period whose invoice bills usage at nothing (Stripe documentation: "Use trial
/// periods on subscriptions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// When it began.
    pub start: Timestamp,
    /// When it ended or will end, itself not part of it.
    pub end: Timestamp,
}

impl Trial {
    /// Whether usage of `at` is free.
    pub fn contains(&self, at: Timestamp) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// What is known of a period that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedPeriod {
    /// Its invoice is a draft for long enough, or about to be made.
    TakesUsage {
        /// When it began.
        period_start: Timestamp,
    },
    /// Its invoice is final, or nearly so, or there is none: what is sent into
    /// it is billed never. Also where nobody asked.
    Final,
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
        /// Whether it was moved out of an earlier period, or from a time of the same
        /// one that Stripe takes no more.
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
    /// It happened in a free trial, and was heard of when that one's invoice took no more:
    /// in a later period it would cost.
    FreeTrial,
    /// The subscription has no item for the meter that counts its action.
    NoSubscriptionItem,
}

impl HeldReason {
    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSubscription => "before_subscription",
            Self::AfterSubscription => "after_subscription",
            Self::NoOpenPeriod => "no_open_period",
            Self::FreeTrial => "free_trial",
            Self::NoSubscriptionItem => "no_subscription_item",
        }
    }
}

impl Subscription {
    /// The start of the period that is open at `now`.
    pub fn open_period_start(&self, now: Timestamp) -> Timestamp {
        if now < self.period_end {
            self.period_start
        } else {
            self.period_end
        }
    }
}

/// The period that begins at `start`: `known`, or one that is taken to be as long, where
/// Stripe has not told of it yet.
pub fn period_starting_at(start: Timestamp, known: &Range<Timestamp>) -> Range<Timestamp> {
    if start == known.start {
        return known.clone();
    }
    start..start.plus_ms(known.end.ms_since(known.start))
}

impl BillingTime {
    /// Whether this choice would be another one if the invoice of the event's
    /// own period still took usage.
    pub const fn depends_on_invoice(self) -> bool {
        matches!(
            self,
            Self::Billable {
                carried_over: true,
                ..
            } | Self::Held(HeldReason::NoOpenPeriod | HeldReason::FreeTrial)
        )
    }

    /// Chooses the time for an event of `occurred_at`, decided at `now`.
    ///
    /// An event of a period that is over keeps its time while that period's
    /// invoice takes usage, which `ended` says; else it is carried into the
    /// current period. So is one of before its item was added: no invoice bills
    /// that at its own time. And so is one that is older than Stripe takes, though its own
    /// period, of a quarter or a year, be that one. But what happened in a free trial is held
    /// rather than carried out of it. One that is ahead of `now` is billed at `now`. Where `now`
    /// has passed the last known period, the next one is known to begin at its end.
    ///
    /// `ended` is looked at where it matters only: whoever chooses with
    /// [`EndedPeriod::Final`] first, and [`depends_on_invoice`](Self::depends_on_invoice)
    /// then, asks Stripe for nothing in vain.
    pub fn choose(
        occurred_at: Timestamp,
        now: Timestamp,
        subscription: &Subscription,
        ended: EndedPeriod,
    ) -> Self {
        let Subscription {
            started_at,
            ends_at,
            ..
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
        let added_at = subscription.item_added_at.unwrap_or(started_at);
        let is_billed_then =
            occurred_at >= added_at && now.ms_since(occurred_at) <= OCCURRED_PAST_MS_MAX;
        let is_over = occurred_at < subscription.open_period_start(now)
            || ends_at.is_some_and(|end| now >= end);
        if let EndedPeriod::TakesUsage { period_start } = ended
            && is_over
            && is_billed_then
        {
            return Self::Billable {
                billed_at: occurred_at,
                period_start,
                carried_over: false,
            };
        }
        // One that is canceled in its period gets no invoice at the period's end.
        if ends_at.is_some_and(|end| now >= end) {
            return Self::Held(HeldReason::NoOpenPeriod);
        }
        let open_period_start = subscription.open_period_start(now);
        if occurred_at >= open_period_start && is_billed_then {
            return Self::Billable {
                billed_at: occurred_at,
                period_start: open_period_start,
                carried_over: false,
            };
        }
        let billed_at = now.max(open_period_start).max(added_at);
        let was_free = |trial: Trial| trial.contains(occurred_at) && !trial.contains(billed_at);
        if subscription.trial.is_some_and(was_free) {
            return Self::Held(HeldReason::FreeTrial);
        }
        Self::Billable {
            billed_at,
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
            item_added_at: None,
            trial: None,
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

    /// Where an ended period's invoice is final.
    fn choose(occurred_at: Timestamp, now: Timestamp, subscription: &Subscription) -> BillingTime {
        BillingTime::choose(occurred_at, now, subscription, EndedPeriod::Final)
    }

    #[test]
    fn usage_of_a_trial_is_carried_over_within_it_and_held_after_it() {
        let trial = Trial {
            start: day(0),
            end: day(30),
        };
        let after_trial = Subscription {
            trial: Some(trial),
            ..subscription()
        };
        let held = BillingTime::Held(HeldReason::FreeTrial);
        assert_eq!(choose(day(29), day(31), &after_trial), held);
        assert!(held.depends_on_invoice());
        let draft = EndedPeriod::TakesUsage {
            period_start: day(0),
        };
        let in_draft = BillingTime::choose(day(29), day(31), &after_trial, draft);
        assert_eq!(in_draft, billed(day(29), day(0), false));
        // What was not free is carried over as ever.
        let at_its_end = choose(day(30), day(61), &after_trial);
        assert_eq!(at_its_end, billed(day(61), day(60), true));
        // Older than Stripe takes, in a trial that goes on.
        let trial = Trial {
            end: day(60),
            ..trial
        };
        let in_trial = Subscription {
            trial: Some(trial),
            period_start: day(0),
            ..subscription()
        };
        assert_eq!(
            choose(day(2), day(50), &in_trial),
            billed(day(50), day(0), true)
        );
    }

    #[test]
    fn usage_of_a_period_whose_invoice_is_a_draft_keeps_its_time() {
        let draft = EndedPeriod::TakesUsage {
            period_start: day(0),
        };
        let late = BillingTime::choose(day(29), day(30), &subscription(), draft);
        assert_eq!(late, billed(day(29), day(0), false));
        let ended = Subscription {
            ends_at: Some(day(60)),
            ..subscription()
        };
        let draft = EndedPeriod::TakesUsage {
            period_start: day(30),
        };
        let last = BillingTime::choose(day(59), day(60), &ended, draft);
        assert_eq!(last, billed(day(59), day(30), false));
        // Where the period is open its invoice does not matter.
        let open = BillingTime::choose(day(31), day(32), &ended, draft);
        assert_eq!(open, billed(day(31), day(30), false));
        let after = BillingTime::choose(day(61), day(61), &ended, draft);
        assert_eq!(after, BillingTime::Held(HeldReason::AfterSubscription));
    }

    #[test]
    fn usage_of_before_its_item_is_billed_with_what_comes_after() {
        let added = Subscription {
            item_added_at: Some(day(40)),
            ..subscription()
        };
        let before = choose(day(35), day(41), &added);
        assert_eq!(before, billed(day(41), day(30), true));
        assert_eq!(
            choose(day(40), day(41), &added),
            billed(day(40), day(30), false)
        );
        // A draft of the period before was made without the item.
        let draft = EndedPeriod::TakesUsage {
            period_start: day(0),
        };
        let late = BillingTime::choose(day(29), day(41), &added, draft);
        assert_eq!(late, billed(day(41), day(30), true));
        // Our clock may be behind the one that the item was added by.
        let early = choose(day(39), day(39), &added);
        assert_eq!(early, billed(day(40), day(30), true));
    }

    #[test]
    fn only_what_an_invoice_could_change_depends_on_it() {
        let chosen = |occurred_at| choose(occurred_at, day(40), &subscription());
        assert!(chosen(day(29)).depends_on_invoice());
        assert!(!chosen(day(31)).depends_on_invoice());
        assert!(!chosen(day(-1)).depends_on_invoice());
    }

    #[test]
    fn usage_of_the_current_period_keeps_its_time() {
        let chosen = choose(day(31), day(40), &subscription());
        assert_eq!(chosen, billed(day(31), day(30), false));
    }

    #[test]
    fn usage_ahead_of_the_clock_is_billed_now() {
        let chosen = choose(day(40).plus_ms(60_000), day(40), &subscription());
        assert_eq!(chosen, billed(day(40), day(30), false));
    }

    #[test]
    fn usage_of_an_earlier_period_is_carried_over() {
        let chosen = choose(day(29), day(40), &subscription());
        assert_eq!(chosen, billed(day(40), day(30), true));
    }

    #[test]
    fn usage_that_is_older_than_stripe_takes_is_billed_now() {
        let quarterly = Subscription {
            period_start: day(0),
            period_end: day(90),
            ..subscription()
        };
        assert_eq!(
            choose(day(5), day(39), &quarterly),
            billed(day(5), day(0), false)
        );
        let late = day(39).plus_ms(1);
        assert_eq!(choose(day(5), late, &quarterly), billed(late, day(0), true));
        // A draft would take it, and Stripe does not.
        let draft = EndedPeriod::TakesUsage {
            period_start: day(0),
        };
        let over = BillingTime::choose(day(5), day(90), &quarterly, draft);
        assert_eq!(over, billed(day(90), day(90), true));
        let ended = Subscription {
            ends_at: Some(day(90)),
            ..quarterly
        };
        let last = BillingTime::choose(day(5), day(90), &ended, draft);
        assert_eq!(last, BillingTime::Held(HeldReason::NoOpenPeriod));
    }

    #[test]
    fn past_the_known_period_the_next_one_has_begun() {
        let chosen = choose(day(61), day(61), &subscription());
        assert_eq!(chosen, billed(day(61), day(60), false));
        let late = choose(day(59), day(61), &subscription());
        assert_eq!(late, billed(day(61), day(60), true));
    }

    #[test]
    fn usage_outside_the_subscription_is_held() {
        let before = choose(day(-1), day(40), &subscription());
        assert_eq!(before, BillingTime::Held(HeldReason::BeforeSubscription));
        let ended = Subscription {
            ends_at: Some(day(45)),
            ..subscription()
        };
        let after = choose(day(46), day(46), &ended);
        assert_eq!(after, BillingTime::Held(HeldReason::AfterSubscription));
        for occurred_at in [day(29), day(44)] {
            let too_late = choose(occurred_at, day(46), &ended);
            assert_eq!(too_late, BillingTime::Held(HeldReason::NoOpenPeriod));
        }
        let in_time = choose(day(44), day(45).plus_ms(-1), &ended);
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
        assert_eq!(choose(early, early, &fresh), billed(day(0), day(0), false));
    }
}
