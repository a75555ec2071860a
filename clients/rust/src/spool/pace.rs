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

/// Waits that double after each look that leaves something.
#[derive(Debug)]
pub(crate) struct Pace {
    step: Duration,
}

impl Pace {
    pub(crate) const fn new() -> Self {
        Self { step: STEP_MIN }
    }

    /// How long to wait after `round`: never less than Meterline asks for.
    pub(crate) fn after(&mut self, round: Round) -> Duration {
        self.step = match round.is_empty {
            true => STEP_MIN,
            false => (self.step * 2).min(STEP_MAX),
        };
        let asked = round.retry_after.unwrap_or_default().min(ASKED_MAX);
        self.step.max(asked)
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

    #[test]
    fn waits_grow_while_something_is_left_and_begin_anew_after_it() {
        let mut pace = Pace::new();
        let waits = [0; 7].map(|_| pace.after(left(0)).as_secs());
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
        let empty = Round {
            is_empty: true,
            is_unsure: false,
            retry_after: None,
        };
        assert_eq!(pace.after(empty).as_secs(), 1);
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_within_reason() {
        let mut pace = Pace::new();
        assert_eq!(pace.after(left(120)).as_secs(), 120);
        assert_eq!(pace.after(left(u64::MAX)).as_secs(), 300);
        assert_eq!(pace.after(left(1)).as_secs(), 8);
    }
}
