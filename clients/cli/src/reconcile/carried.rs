//! What was carried over though Stripe had it already: an earlier sending arrived,
//! its answer did not, and the identifier keeps the later one out. Stripe has such an
//! event in the minute that was told first, and lacks it in the one that the log names.

use std::collections::{BTreeMap, BTreeSet};

use billing::Identifier;

use super::explanation::Explanation;
use super::log::{LogRow, MeterLog};
use super::narrowing::Difference;

/// Rows that one place lacks, since Stripe has them where they were carried from.
type Lacking = BTreeMap<i64, Vec<LogRow>>;

/// Explains each of `differences` by the rows of `log`: what a minute has too much and
/// another lacks for it is told once, where Stripe has it.
///
/// A carried row may explain a surplus only where the minute that the log has it in
/// lacks as much, or is `unknown`; a set of them is believed only where that is known.
pub(super) fn explain(
    differences: &[Difference],
    log: &MeterLog,
    unknown: &BTreeSet<i64>,
) -> Vec<(Difference, Explanation)> {
    let units: BTreeMap<i64, i64> = differences
        .iter()
        .map(|it| (it.minute, it.units()))
        .collect();
    let units_at = |minute: i64| units.get(&minute).copied().unwrap_or(0);
    let is_here = |row: &LogRow| {
        delivered_to(row).is_some_and(|minute| {
            !unknown.contains(&minute) && units_at(minute).saturating_add(row.units()) > 0
        })
    };
    let explained = differences.iter().map(|difference| {
        let rows = without(log.candidates(difference.minute), is_here);
        (*difference, Explanation::of(difference.units(), &rows))
    });
    let mut explained: Vec<_> = explained.collect();
    let unfit: BTreeSet<i64> = lacking(&explained, log)
        .into_iter()
        .filter(|(minute, rows)| units_at(*minute).saturating_add(units_of(rows)) > 0)
        .map(|(minute, _)| minute)
        .collect();
    for (difference, explanation) in &mut explained {
        let Explanation::StripeHas(places) = explanation else {
            continue;
        };
        let rows = log.candidates(difference.minute);
        let mut meant = places.iter().filter_map(|place| rows.get(*place));
        if meant.any(|row| delivered_to(row).is_some_and(|minute| unfit.contains(&minute))) {
            *explanation = Explanation::Ambiguous(std::mem::take(places));
        }
    }
    for (minute, moved) in lacking(&explained, log) {
        take_out(&mut explained, minute, &moved, log);
    }
    explained
}

/// The rows that Stripe has elsewhere by what is `explained`, by where the log has them.
fn lacking(explained: &[(Difference, Explanation)], log: &MeterLog) -> Lacking {
    let mut lacking = Lacking::new();
    for (difference, explanation) in explained {
        let Explanation::StripeHas(places) = explanation else {
            continue;
        };
        let rows = log.candidates(difference.minute);
        for row in places.iter().filter_map(|place| rows.get(*place)) {
            if let Some(minute) = delivered_to(row) {
                lacking.entry(minute).or_default().push(row.clone());
            }
        }
    }
    lacking
}

/// Where the log says that Stripe has a row that was carried over.
fn delivered_to(row: &LogRow) -> Option<i64> {
    row.carried_to.filter(|_| row.is_in_stripe())
}

/// `rows`, of which those that are `meant` are no candidates any more. Places stay what
/// they are.
fn without(rows: Vec<LogRow>, is_meant: impl Fn(&LogRow) -> bool) -> Vec<LogRow> {
    let quantity = |row: &LogRow| if is_meant(row) { 0 } else { row.quantity };
    let rows = rows.into_iter().map(|row| LogRow {
        quantity: quantity(&row),
        ..row
    });
    rows.collect()
}

fn units_of(rows: &[LogRow]) -> i64 {
    rows.iter()
        .fold(0, |sum, row| sum.saturating_add(row.units()))
}

/// Explains the difference of `minute` anew, without the rows that Stripe has elsewhere.
fn take_out(
    explained: &mut Vec<(Difference, Explanation)>,
    minute: i64,
    moved: &[LogRow],
    log: &MeterLog,
) {
    let Some(at) = explained.iter().position(|(it, _)| it.minute == minute) else {
        return;
    };
    let Some((difference, explanation)) = explained.get_mut(at) else {
        return;
    };
    difference.log_units = difference.log_units.saturating_sub(units_of(moved));
    if difference.units() == 0 {
        explained.remove(at);
        return;
    }
    let moved: BTreeSet<&Identifier> = moved.iter().map(|row| &row.identifier).collect();
    let rows = without(log.candidates(minute), |row| {
        moved.contains(&row.identifier)
    });
    *explanation = Explanation::of(difference.units(), &rows);
}

#[cfg(test)]
mod tests {
    use billing::UsageStatus;

    use super::*;

    const BEFORE: i64 = 600;
    const AFTER: i64 = 6_000;

    fn row(event_id: &str, quantity: u64, status: UsageStatus) -> LogRow {
        LogRow {
            billed_at_s: AFTER,
            ..LogRow::plain(event_id, quantity, status)
        }
    }

    /// A log of rows at `AFTER`, some of which were carried over from `BEFORE`.
    fn log(rows: Vec<(LogRow, bool)>) -> MeterLog {
        let mut log = MeterLog::default();
        for (mut row, is_carried) in rows {
            row.told_s.extend(is_carried.then_some(BEFORE));
            log.keep_at(AFTER, row, Some);
        }
        log
    }

    fn difference(minute: i64, log_units: i64, stripe_units: i64) -> Difference {
        Difference {
            minute,
            stripe_units,
            log_units,
        }
    }

    #[test]
    fn what_stripe_has_from_before_is_told_where_it_has_it_and_nowhere_else() {
        let delivered = |event_id, quantity| row(event_id, quantity, UsageStatus::Delivered);
        let log = log(vec![
            (delivered("a", 9), true),
            (delivered("b", 5), true),
            (delivered("c", 9), false),
        ]);
        let differences = [difference(BEFORE, 0, 9), difference(AFTER, 23, 14)];
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(
            explained,
            [(differences[0], Explanation::StripeHas(vec![0]))]
        );
        // Besides, another is lost.
        let differences = [difference(BEFORE, 0, 9), difference(AFTER, 23, 9)];
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(explained[1].1, Explanation::StripeLacks(vec![1]));
        assert_eq!(explained[1].0.units(), -5);
    }

    #[test]
    fn without_a_lack_where_the_log_has_it_it_explains_nothing() {
        let mut log = log(vec![(row("a", 9, UsageStatus::Delivered), true)]);
        let differences = [difference(BEFORE, 0, 9)];
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(explained[0].1, Explanation::Unexplained);
        // Nor does it keep another from being the only one that does.
        log.keep_at(BEFORE, row("b", 9, UsageStatus::Quarantined), Some);
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(explained[0].1, Explanation::StripeHas(vec![0]));
    }

    #[test]
    fn where_it_is_not_known_whether_the_log_is_right_nothing_is_decided() {
        let log = log(vec![(row("a", 9, UsageStatus::Delivered), true)]);
        let differences = [difference(BEFORE, 0, 9)];
        let explained = explain(&differences, &log, &BTreeSet::from([AFTER]));
        assert_eq!(explained[0].1, Explanation::Ambiguous(vec![0]));
    }

    #[test]
    fn of_two_that_would_fit_none_is_chosen() {
        let twin = |event_id| (row(event_id, 9, UsageStatus::Delivered), true);
        let log = log(vec![twin("a"), twin("b")]);
        let differences = [difference(BEFORE, 0, 9), difference(AFTER, 18, 9)];
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(explained[0].1, Explanation::Ambiguous(vec![0, 1]));
        assert_eq!(explained[1].1, Explanation::Ambiguous(vec![0, 1]));
    }

    #[test]
    fn one_that_was_given_up_after_it_was_carried_over_is_found_where_it_happened() {
        let log = log(vec![(row("a", 9, UsageStatus::Quarantined), true)]);
        let differences = [difference(BEFORE, 0, 9)];
        let explained = explain(&differences, &log, &BTreeSet::new());
        assert_eq!(
            explained,
            [(differences[0], Explanation::StripeHas(vec![0]))]
        );
    }
}
