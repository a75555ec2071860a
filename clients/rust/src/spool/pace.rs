//! How long the sending in the background waits.

use std::time::Duration;

/// Between two looks at what waits, while Meterline answers; and at first while
/// it does not.
const STEP_MIN: Duration = Duration::from_secs(1);
/// Between two attempts, after many that failed.
const STEP_MAX: Duration = Duration::from_secs(30);
/// What waits is not put off for longer than this, whoever asks for it.
const ASKED_MAX: Duration = Duration::from_secs(300);

/// What a look at the spool came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Whether nothing is left that was there.
    pub(crate) is_empty: bool,
    /// Whether some of what is left had no clear answer, so that it may fare better
    /// at once: it does not under a key that is refused.
    pub(crate) is_unsure: bool,
    /// How long Meterline asks to wait, if it does.
    pub(crate) retry_after: Option<Duration>,
}

/// Waits that grow after each look that leaves something.
#[derive(Debug)]
pub(crate) struct Pace {
    step: Duration,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Self { step: STEP_MIN }
    }

    /// How long to wait after `round`: never less than Meterline asks for, and after a
    /// failure anywhere within a step that doubles, so that agents which lost Meterline
    /// together do not come back together.
    pub(crate) fn after(&mut self, round: Round) -> Duration {
        if round.is_empty {
            self.step = STEP_MIN;
            return STEP_MIN;
        }
        self.step = (self.step * 2).min(STEP_MAX);
        let asked = round.retry_after.unwrap_or_default().min(ASKED_MAX);
        asked + self.step.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn left(retry_after_s: u64) -> Round {
        Round {
            is_empty: false,
            is_unsure: true,
            retry_after: Some(Duration::from_secs(retry_after_s)),
        }
    }

    const EMPTY: Round = Round {
        is_empty: true,
        is_unsure: false,
        retry_after: None,
    };

    /// The longest of many first, second, … waits, in whole seconds.
    fn longest_waits<const N: usize>() -> [u64; N] {
        let mut longest = [Duration::ZERO; N];
        for _ in 0..10_000 {
            let mut pace = Pace::new();
            for longest in &mut longest {
                *longest = pace.after(left(0)).max(*longest);
            }
        }
        longest.map(|wait| wait.as_millis().div_ceil(1_000).try_into().unwrap_or(0))
    }

    #[test]
    fn waits_grow_while_something_is_left_and_begin_anew_after_it() {
        assert_eq!(longest_waits(), [2, 4, 8, 16, 30, 30, 30]);
        let mut pace = Pace::new();
        for _ in 0..7 {
            pace.after(left(0));
        }
        assert_eq!(pace.after(EMPTY), STEP_MIN);
        assert!(pace.after(left(0)) <= 2 * STEP_MIN);
    }

    #[test]
    fn agents_that_failed_together_do_not_come_back_together() {
        let waits: std::collections::HashSet<_> =
            (0..100).map(|_| Pace::new().after(left(7))).collect();
        assert!(waits.len() > 50);
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_within_reason() {
        for (asked_s, kept_s) in [(120, 120), (u64::MAX, 300)] {
            let (wait, kept) = (
                Pace::new().after(left(asked_s)),
                Duration::from_secs(kept_s),
            );
            assert!((kept..=kept + 2 * STEP_MIN).contains(&wait), "{wait:?}");
        }
    }
}
