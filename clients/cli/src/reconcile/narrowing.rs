//! Down to the minute: which minutes Stripe and the log disagree on, by few
//! questions to Stripe. No I/O: it says what to ask, and is told the answers.
//!
//! The range is asked for by days, a day that differs by hours, an hour that
//! differs by halves. Differences within one day that cancel each other out are
//! not seen: that day is billed right. (Where a decision rests on a minute, `closer` asks for it.) Where a billing period ends within a day, its
//! parts are looked at apart.

use std::collections::BTreeMap;

use stripe::ValueGroupingWindow;

pub(crate) const MINUTE_S: i64 = 60;
pub(crate) const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;

/// From a minute up to another, in unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// From.
    pub start: i64,
    /// Up to.
    pub end: i64,
}

impl Window {
    /// Whether it has anything in common with `other`.
    pub(crate) const fn touches(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// From the earlier start to the later end.
    pub(crate) fn around(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// What is to be asked of Stripe: the sum of a window, or the sums of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The window.
    pub window: Window,
    /// By which parts; none for one sum.
    pub grouping: Option<ValueGroupingWindow>,
    /// What the answer tells of, besides.
    besides: Besides,
}

impl Question {
    /// For the sum of `window` alone.
    pub(super) const fn of(window: Window) -> Self {
        Self {
            window,
            grouping: None,
            besides: Besides::Nothing,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Besides {
    /// Of the range as a whole.
    Range,
    /// Of nothing new.
    Nothing,
    /// Of the half next to the window: Stripe has this in both together.
    OtherHalf { window: Window, both_units: i64 },
}

/// A minute that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The minute's start, in unix seconds.
    pub minute: i64,
    /// What Stripe has.
    pub stripe_units: i64,
    /// What Stripe has by the log.
    pub log_units: i64,
}

impl Difference {
    /// How much more Stripe has; negative where it has less.
    pub const fn units(self) -> i64 {
        self.stripe_units.saturating_sub(self.log_units)
    }
}

/// What the search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// What Stripe has in the whole range.
    pub stripe_units: i64,
    /// The minutes that differ, in no order.
    pub differences: Vec<Difference>,
}

impl Narrowed {
    /// Adds what was found in another window.
    pub fn add(&mut self, other: Self) {
        self.stripe_units = self.stripe_units.saturating_add(other.stripe_units);
        self.differences.extend(other.differences);
    }
}

/// The search for the minutes that differ.
#[derive(Clone, Debug)]
pub struct Narrowing<'a> {
    /// What Stripe has by the log, by the minute.
    log: &'a BTreeMap<i64, i64>,
    questions: Vec<Question>,
    narrowed: Narrowed,
}

impl<'a> Narrowing<'a> {
    /// Over `range`. `log` holds, by the minutes' starts, what Stripe has by the log.
    pub fn new(log: &'a BTreeMap<i64, i64>, range: Window) -> Self {
        Self {
            log,
            questions: first_questions(range),
            narrowed: Narrowed::default(),
        }
    }

    /// What to ask next; none where all is known.
    pub fn question(&mut self) -> Option<Question> {
        self.questions.pop()
    }

    /// Takes Stripe's answer to `question`: units by the starts of the parts,
    /// or of the window where there are none. Parts without usage may be left out.
    pub fn answer(&mut self, question: Question, units: &BTreeMap<i64, i64>) {
        let whole: i64 = units.values().sum();
        match question.grouping {
            None => self.compare(question.window, whole),
            Some(grouping) => {
                for part in parts(question.window, grouping) {
                    self.compare(part, units.get(&part.start).copied().unwrap_or(0));
                }
            }
        }
        match question.besides {
            Besides::Range => {
                let before = self.narrowed.stripe_units;
                self.narrowed.stripe_units = before.saturating_add(whole);
            }
            Besides::Nothing => {}
            Besides::OtherHalf { window, both_units } => {
                self.compare(window, both_units.saturating_sub(whole));
            }
        }
    }

    /// What was found.
    pub fn narrowed(self) -> Narrowed {
        self.narrowed
    }

    fn compare(&mut self, window: Window, stripe_units: i64) {
        let log_units = self.log.range(window.start..window.end);
        let log_units: i64 = log_units.map(|(_, units)| units).sum();
        if stripe_units == log_units {
            return;
        }
        let length_s = window.end - window.start;
        if length_s <= MINUTE_S {
            self.narrowed.differences.push(Difference {
                minute: window.start,
                stripe_units,
                log_units,
            });
        } else if length_s <= HOUR_S {
            let middle = window.start + length_s / MINUTE_S / 2 * MINUTE_S;
            let half = |start, end| Window { start, end };
            self.questions.push(Question {
                window: half(window.start, middle),
                grouping: None,
                besides: Besides::OtherHalf {
                    window: half(middle, window.end),
                    both_units: stripe_units,
                },
            });
        } else {
            self.questions.push(Question {
                window,
                grouping: Some(ValueGroupingWindow::Hour),
                besides: Besides::Nothing,
            });
        }
    }
}

/// Days, as far as the range holds whole ones, then hours, then the rest.
fn first_questions(range: Window) -> Vec<Question> {
    let Window { start, end } = range;
    let first_hour = round_up(start, HOUR_S).min(end);
    let last_hour = round_down(end, HOUR_S).max(first_hour);
    let first_day = round_up(first_hour, DAY_S).min(last_hour);
    let last_day = round_down(last_hour, DAY_S).max(first_day);
    [
        (start, first_hour, None),
        (first_hour, first_day, Some(ValueGroupingWindow::Hour)),
        (first_day, last_day, Some(ValueGroupingWindow::Day)),
        (last_day, last_hour, Some(ValueGroupingWindow::Hour)),
        (last_hour, end, None),
    ]
    .into_iter()
    .filter(|(start, end, _)| start < end)
    .map(|(start, end, grouping)| Question {
        window: Window { start, end },
        grouping,
        besides: Besides::Range,
    })
    .collect()
}

fn parts(window: Window, grouping: ValueGroupingWindow) -> impl Iterator<Item = Window> {
    let length_s = match grouping {
        ValueGroupingWindow::Hour => HOUR_S,
        ValueGroupingWindow::Day => DAY_S,
    };
    let mut start = window.start;
    std::iter::from_fn(move || {
        let part = Window {
            start,
            end: start + length_s,
        };
        start = part.end;
        (part.start < window.end).then_some(part)
    })
}

/// The last multiple of `unit` that is no later than `at`.
pub(crate) const fn round_down(at: i64, unit: i64) -> i64 {
    at.div_euclid(unit) * unit
}

/// The first multiple of `unit` that is no earlier than `at`.
pub(crate) const fn round_up(at: i64, unit: i64) -> i64 {
    round_down(at.saturating_add(unit - 1), unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 1_769_860_800;
    /// Three days and a bit, from and to odd minutes.
    const MINUTES: i64 = 3 * 24 * 60 + 91;

    type Usage = BTreeMap<i64, i64>;

    fn range() -> Window {
        Window {
            start: START + 7 * MINUTE_S,
            end: START + MINUTES * MINUTE_S,
        }
    }

    fn units_in(usage: &Usage, window: Window) -> i64 {
        usage
            .range(window.start..window.end)
            .map(|(_, units)| units)
            .sum()
    }

    /// As Stripe answers: windows without usage are left out.
    fn ask(stripe: &Usage, question: &Question) -> Usage {
        let Some(grouping) = question.grouping else {
            return Usage::from([(question.window.start, units_in(stripe, question.window))]);
        };
        let parts = parts(question.window, grouping);
        let answers = parts.map(|part| (part.start, units_in(stripe, part)));
        answers.filter(|(_, units)| *units != 0).collect()
    }

    /// What is found, and how many questions it took.
    fn narrow(log: &Usage, stripe: &Usage) -> (Narrowed, usize) {
        let mut narrowing = Narrowing::new(log, range());
        let mut questions = 0;
        while let Some(question) = narrowing.question() {
            questions += 1;
            let unit_s = match question.grouping {
                None => MINUTE_S,
                Some(ValueGroupingWindow::Hour) => HOUR_S,
                Some(ValueGroupingWindow::Day) => DAY_S,
            };
            assert_eq!(question.window.start % unit_s, 0);
            assert_eq!(question.window.end % unit_s, 0);
            narrowing.answer(question, &ask(stripe, &question));
        }
        let mut narrowed = narrowing.narrowed();
        narrowed
            .differences
            .sort_by_key(|difference| difference.minute);
        (narrowed, questions)
    }

    fn differences(log: &Usage, stripe: &Usage) -> Vec<Difference> {
        let minutes = (range().start..range().end).step_by(60);
        let compared = minutes.map(|minute| Difference {
            minute,
            stripe_units: stripe.get(&minute).copied().unwrap_or(0),
            log_units: log.get(&minute).copied().unwrap_or(0),
        });
        compared
            .filter(|difference| difference.units() != 0)
            .collect()
    }

    fn usage() -> impl Strategy<Value = Usage> {
        let minute = (0..MINUTES).prop_map(|minute| START + minute * MINUTE_S);
        prop::collection::btree_map(minute, 1_i64..1_000, 0..60)
    }

    fn with(usage: &Usage, more: &Usage) -> Usage {
        let mut sum = usage.clone();
        for (minute, units) in more {
            *sum.entry(*minute).or_default() += units;
        }
        sum
    }

    proptest! {
        #[test]
        fn every_minute_that_stripe_has_more_or_less_of_is_found(
            usage in usage(), more in usage(), stripe_has_more in any::<bool>(),
        ) {
            let (log, stripe) = if stripe_has_more {
                (usage.clone(), with(&usage, &more))
            } else {
                (with(&usage, &more), usage.clone())
            };
            let (narrowed, _) = narrow(&log, &stripe);
            prop_assert_eq!(narrowed.differences, differences(&log, &stripe));
            prop_assert_eq!(narrowed.stripe_units, units_in(&stripe, range()));
        }

        #[test]
        fn what_is_found_does_differ(log in usage(), stripe in usage()) {
            let (narrowed, _) = narrow(&log, &stripe);
            let all = differences(&log, &stripe);
            prop_assert!(narrowed.differences.iter().all(|found| all.contains(found)));
        }

        #[test]
        fn agreement_takes_five_questions_and_a_difference_a_dozen(
            usage in usage(), minute in 7..MINUTES,
        ) {
            let (_, questions) = narrow(&usage, &usage);
            prop_assert!(questions <= 5);
            let more = Usage::from([(START + minute * MINUTE_S, 1)]);
            let (_, questions) = narrow(&usage, &with(&usage, &more));
            prop_assert!(questions <= 12, "{questions}");
        }
    }
}
