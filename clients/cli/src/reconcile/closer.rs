//! A closer look at minutes that a decision rests on. The days' sums agree where two
//! errors cancel each other out, so Stripe is asked for such a minute by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{LogRow, MeterLog};
use super::narrowing::{Difference, MINUTE_S, Window, round_down};

/// Minutes that Stripe is asked for at most, for one meter of a customer. What rests on
/// the others is not decided; the next run after a repair goes on with them.
const MINUTES_MAX: usize = 300;

/// The minutes of one meter that are looked at more closely.
#[derive(Clone, Debug)]
pub(super) struct Closer<'a> {
    log: &'a MeterLog,
    /// What Stripe has by the log, by the minute.
    by_minute: &'a BTreeMap<i64, i64>,
    range: Window,
    /// The minutes that are known to differ, or were asked for.
    known: BTreeSet<i64>,
    asked: usize,
}

impl<'a> Closer<'a> {
    /// Over `range`, beside the minutes that are known to differ.
    pub(super) fn new(
        log: &'a MeterLog,
        by_minute: &'a BTreeMap<i64, i64>,
        range: Window,
        differences: &[Difference],
    ) -> Self {
        Self {
            log,
            by_minute,
            range,
            known: differences.iter().map(|found| found.minute).collect(),
            asked: 0,
        }
    }

    /// The minute to ask for next, while `differences` are known; none where all is
    /// known that may be asked for.
    pub(super) fn question(&mut self, differences: &[Difference]) -> Option<Window> {
        if self.asked >= MINUTES_MAX {
            return None;
        }
        let start = self.unknown(differences).pop_first()?;
        self.asked = self.asked.saturating_add(1);
        Some(Window {
            start,
            end: start.saturating_add(MINUTE_S),
        })
    }

    /// Takes Stripe's answer for `minute`; the difference, if there is one.
    pub(super) fn answer(&mut self, minute: Window, stripe_units: i64) -> Option<Difference> {
        let minute = minute.start;
        self.known.insert(minute);
        let log_units = self.by_minute.get(&minute).copied().unwrap_or(0);
        (log_units != stripe_units).then_some(Difference {
            minute,
            stripe_units,
            log_units,
        })
    }

    /// The minutes in doubt that nobody has asked for, while `differences` are known.
    pub(super) fn unknown(&self, differences: &[Difference]) -> BTreeSet<i64> {
        let mut doubtful = BTreeSet::new();
        // What would be sent again may be here, or where it was carried over from.
        let given_up = |row: &&LogRow| row.is_open() && row.is_settled;
        for (minute, rows) in &self.log.rows {
            for row in rows.iter().filter(given_up) {
                doubtful.insert(*minute);
                doubtful.extend(minutes_told(row));
            }
        }
        for difference in differences {
            for row in self.log.candidates(difference.minute) {
                if difference.units() > 0 && row.is_in_stripe() {
                    doubtful.extend(row.carried_to);
                } else if difference.units() < 0 && row.counts_here() {
                    doubtful.extend(minutes_told(&row));
                }
            }
        }
        let is_in_range = |minute: &i64| (self.range.start..self.range.end).contains(minute);
        doubtful.retain(|minute| is_in_range(minute) && !self.known.contains(minute));
        doubtful
    }
}

fn minutes_told(row: &LogRow) -> impl Iterator<Item = i64> + '_ {
    row.told_s.iter().map(|at| round_down(*at, MINUTE_S))
}

#[cfg(test)]
mod tests {
    use billing::UsageStatus;

    use super::*;

    fn row(minute: i64, status: UsageStatus, told_s: &[i64]) -> LogRow {
        LogRow {
            billed_at_s: minute,
            told_s: told_s.to_vec(),
            ..LogRow::plain(&minute.to_string(), 5, status)
        }
    }

    fn log(rows: Vec<LogRow>) -> MeterLog {
        let mut log = MeterLog::default();
        for row in rows {
            log.keep_at(row.billed_at_s, row, |at| Some(round_down(at, MINUTE_S)));
        }
        log
    }

    const RANGE: Window = Window {
        start: 600,
        end: 60_000,
    };

    /// The minutes that are asked for, of which Stripe has nothing; and those that are
    /// unknown at the end.
    fn look(log: &MeterLog, mut differences: Vec<Difference>) -> (Vec<i64>, BTreeSet<i64>) {
        let by_minute = log.by_minute();
        let mut closer = Closer::new(log, &by_minute, RANGE, &differences);
        let mut asked = Vec::new();
        while let Some(minute) = closer.question(&differences) {
            asked.push(minute.start);
            differences.extend(closer.answer(minute, 0));
        }
        (asked, closer.unknown(&differences))
    }

    #[test]
    fn where_what_is_given_up_may_be_is_asked_for_within_the_range() {
        let given_up = row(1_200, UsageStatus::Quarantined, &[61, 700]);
        let settled = row(1_800, UsageStatus::Delivered, &[900]);
        let log = log(vec![given_up, settled]);
        assert_eq!(look(&log, Vec::new()), (vec![660, 1_200], BTreeSet::new()));
    }

    #[test]
    fn what_explains_a_surplus_must_be_lacking_where_the_log_has_it() {
        let log = log(vec![row(1_200, UsageStatus::Delivered, &[700])]);
        let surplus = Difference {
            minute: 660,
            stripe_units: 5,
            log_units: 0,
        };
        assert_eq!(look(&log, vec![surplus]).0, [1_200]);
    }

    #[test]
    fn too_many_minutes_stay_unknown() {
        let minutes = (0..MINUTES_MAX + 2).map(|at| RANGE.start + 60 * i64::try_from(at).unwrap());
        let rows = minutes.map(|minute| row(minute, UsageStatus::Quarantined, &[]));
        let (asked, unknown) = look(&log(rows.collect()), Vec::new());
        assert_eq!((asked.len(), unknown.len()), (MINUTES_MAX, 2));
    }
}
