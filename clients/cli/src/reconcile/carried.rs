//! What was carried over though Stripe had it already: an earlier sending arrived,
//! its answer did not, and the identifier keeps the later one out. Stripe has such an
//! event in the minute in which it happened, and lacks it in the one that the log names.

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
/// A set of carried rows that would explain a surplus is believed only where the
/// minutes that the log has them in lack as much.
pub(super) fn explain(
    differences: &[Difference],
    log: &MeterLog,
) -> Vec<(Difference, Explanation)> {
    let explained = differences.iter().map(|difference| {
        let rows = log.candidates(difference.minute);
        (*difference, Explanation::of(difference.units(), &rows))
    });
    let mut explained: Vec<_> = explained.collect();
    let units_at = |minute: i64| {
        let mut found = differences.iter().filter(|it| it.minute == minute);
        found.next().map_or(0, |difference| difference.units())
    };
    let unfit: BTreeSet<i64> = lacking(&explained, log)
        .into_iter()
        .filter(|(minute, rows)| units_at(*minute).saturating_add(units(rows)) > 0)
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

fn units(rows: &[LogRow]) -> i64 {
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
    difference.log_units = difference.log_units.saturating_sub(units(moved));
    if difference.units() == 0 {
        explained.remove(at);
        return;
    }
    let moved: BTreeSet<&Identifier> = moved.iter().map(|row| &row.identifier).collect();
    let rows = log.candidates(minute);
    // Places stay what they are: what is elsewhere is no candidate any more.
    let rows: Vec<LogRow> = rows
        .into_iter()
        .map(|row| LogRow {
            quantity: if moved.contains(&row.identifier) {
                0
            } else {
                row.quantity
            },
            ..row
        })
        .collect();
    *explanation = Explanation::of(difference.units(), &rows);
}

#[cfg(test)]
mod tests {
    use billing::{CustomerId, EventId, UsageStatus};

    use super::*;

    const BEFORE: i64 = 600;
    const AFTER: i64 = 6_000;

    fn row(event_id: &str, quantity: u64, status: UsageStatus) -> LogRow {
        LogRow {
            identifier: Identifier::of(
                &CustomerId::parse("cus_1").unwrap(),
                &EventId::parse(event_id).unwrap(),
            ),
            quantity,
            status,
            billed_at_s: AFTER,
            carried_from_s: None,
            is_in_flight: false,
            is_altered: false,
            is_settled: true,
            is_credited: false,
            carried_to: None,
        }
    }

    /// A log of rows at `AFTER`, some of which were carried over from `BEFORE`.
    fn log(rows: Vec<(LogRow, bool)>) -> MeterLog {
        let mut log = MeterLog::default();
        for (row, is_carried) in rows {
            log.keep_at(AFTER, is_carried.then_some(BEFORE), row);
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
        let explained = explain(&differences, &log);
        assert_eq!(
            explained,
            [(differences[0], Explanation::StripeHas(vec![0]))]
        );
        // Besides, another is lost.
        let differences = [difference(BEFORE, 0, 9), difference(AFTER, 23, 9)];
        let explained = explain(&differences, &log);
        assert_eq!(explained[1].1, Explanation::StripeLacks(vec![1]));
        assert_eq!(explained[1].0.units(), -5);
    }

    #[test]
    fn without_a_lack_where_the_log_has_it_nothing_is_decided() {
        let log = log(vec![(row("a", 9, UsageStatus::Delivered), true)]);
        let differences = [difference(BEFORE, 0, 9)];
        let explained = explain(&differences, &log);
        assert_eq!(explained[0].1, Explanation::Ambiguous(vec![0]));
    }

    #[test]
    fn of_two_that_would_fit_none_is_chosen() {
        let twin = |event_id| (row(event_id, 9, UsageStatus::Delivered), true);
        let log = log(vec![twin("a"), twin("b")]);
        let differences = [difference(BEFORE, 0, 9), difference(AFTER, 18, 9)];
        let explained = explain(&differences, &log);
        assert_eq!(explained[0].1, Explanation::Ambiguous(vec![0, 1]));
        assert_eq!(explained[1].1, Explanation::Ambiguous(vec![0, 1]));
    }

    #[test]
    fn one_that_was_given_up_after_it_was_carried_over_is_found_where_it_happened() {
        let log = log(vec![(row("a", 9, UsageStatus::Quarantined), true)]);
        let differences = [difference(BEFORE, 0, 9)];
        let explained = explain(&differences, &log);
        assert_eq!(
            explained,
            [(differences[0], Explanation::StripeHas(vec![0]))]
        );
    }
}
