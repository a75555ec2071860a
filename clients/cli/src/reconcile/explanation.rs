//! What a minute's difference points to.

use billing::UsageStatus;

use super::log::LogRow;
use super::subset::Subset;

/// The rows that explain a difference, by their places in the minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// What changed a moment ago accounts for it.
    InFlight,
    /// Rows do not say any more what was recorded: their units are nobody's word.
    Altered(Vec<usize>),
    /// Stripe has these, and no others, though the log does not say so, or says
    /// that it has them at another time.
    StripeHas(Vec<usize>),
    /// Stripe does not have these, and no others, though the log says so.
    StripeLacks(Vec<usize>),
    /// Several sets of these rows would explain it.
    Ambiguous(Vec<usize>),
    /// Stripe has more than all rows account for. If it counted some twice,
    /// these would fit.
    PerhapsDoubled(Vec<usize>),
    /// No set of rows explains it.
    Unexplained,
}

impl Explanation {
    /// Explains that Stripe has `difference` units more (less, if negative)
    /// than the log says, by the minute's `rows`, those that were carried over from
    /// it among them.
    pub fn of(difference: i64, rows: &[LogRow]) -> Self {
        if is_in_flight(difference, rows) {
            return Self::InFlight;
        }
        let altered = places(rows, |row| row.is_altered && row.carried_to.is_none());
        if !altered.is_empty() {
            return Self::Altered(altered);
        }
        let delivered = places(rows, LogRow::counts_here);
        let units = difference.unsigned_abs();
        if difference < 0 {
            return match search(rows, &delivered, units) {
                Found::Only(lacking) => Self::StripeLacks(lacking),
                Found::Several(candidates) => Self::Ambiguous(candidates),
                Found::None => Self::Unexplained,
            };
        }
        match search(rows, &places(rows, may_be_in_stripe), units) {
            Found::Only(there) => Self::StripeHas(there),
            Found::Several(candidates) => Self::Ambiguous(candidates),
            Found::None => match search(rows, &delivered, units) {
                Found::Only(doubled) | Found::Several(doubled) => Self::PerhapsDoubled(doubled),
                Found::None => Self::Unexplained,
            },
        }
    }
}

/// Whether what Stripe has not yet counted of what is delivered, or what is
/// being delivered, can account for the difference.
fn is_in_flight(difference: i64, rows: &[LogRow]) -> bool {
    let units = |delivered: bool| -> i128 {
        let rows = rows.iter().filter(|row| row.is_in_flight);
        let rows = rows.filter(|row| row.counts_here() == delivered);
        rows.map(|row| i128::from(row.quantity)).sum()
    };
    let difference = i128::from(difference);
    -units(true) <= difference && difference <= units(false)
}

/// Whether it was perhaps sent though the log does not count it as delivered.
/// What is held never was.
const fn may_be_in_stripe(row: &LogRow) -> bool {
    !row.counts_here() && !row.is_altered && !matches!(row.status, UsageStatus::Held)
}

fn places(rows: &[LogRow], is_meant: impl Fn(&LogRow) -> bool) -> Vec<usize> {
    let places = rows.iter().enumerate();
    let places = places.filter(|(_, row)| is_meant(row));
    places.map(|(place, _)| place).collect()
}

enum Found {
    None,
    Only(Vec<usize>),
    /// Every row that could be in a set.
    Several(Vec<usize>),
}

/// The sets of the rows at `places` that come to `units`.
fn search(rows: &[LogRow], places: &[usize], units: u64) -> Found {
    let candidates: Vec<(usize, u64)> = places
        .iter()
        .filter_map(|place| Some((*place, rows.get(*place)?.quantity)))
        .filter(|(_, quantity)| *quantity <= units)
        .collect();
    let place = |at: usize| candidates.get(at).map(|(place, _)| *place);
    let quantities: Vec<u64> = candidates.iter().map(|(_, quantity)| *quantity).collect();
    match Subset::of(&quantities, units) {
        Subset::None => Found::None,
        Subset::Only(members) => Found::Only(members.into_iter().filter_map(place).collect()),
        Subset::Several | Subset::Unknown => {
            Found::Several(candidates.iter().map(|(place, _)| *place).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use UsageStatus::{Delivered, Held, Pending, Quarantined, Rejected};

    fn row(status: UsageStatus, quantity: u64) -> LogRow {
        LogRow::plain("job-1", quantity, status)
    }

    fn in_flight(status: UsageStatus, quantity: u64) -> LogRow {
        LogRow {
            is_in_flight: true,
            ..row(status, quantity)
        }
    }

    #[test]
    fn one_set_is_named_and_several_are_candidates() {
        let rows = [
            row(Delivered, 3),
            row(Quarantined, 5),
            row(Pending, 7),
            row(Held, 12),
        ];
        for (difference, explanation) in [
            (5, Explanation::StripeHas(vec![1])),
            (12, Explanation::StripeHas(vec![1, 2])),
            (3, Explanation::PerhapsDoubled(vec![0])),
            (-3, Explanation::StripeLacks(vec![0])),
            (-2, Explanation::Unexplained),
            (4, Explanation::Unexplained),
        ] {
            assert_eq!(
                Explanation::of(difference, &rows),
                explanation,
                "{difference}"
            );
        }
        let twins = [row(Quarantined, 5), row(Rejected, 5), row(Quarantined, 9)];
        assert_eq!(
            Explanation::of(5, &twins),
            Explanation::Ambiguous(vec![0, 1])
        );
    }

    #[test]
    fn what_changed_a_moment_ago_may_be_counted_or_not() {
        let rows = [
            in_flight(Delivered, 3),
            in_flight(Pending, 5),
            row(Delivered, 9),
        ];
        for difference in -3..=5 {
            assert_eq!(Explanation::of(difference, &rows), Explanation::InFlight);
        }
        assert_eq!(Explanation::of(6, &rows), Explanation::Unexplained);
        assert_eq!(
            Explanation::of(-9, &rows),
            Explanation::StripeLacks(vec![2])
        );
    }

    #[test]
    fn an_altered_row_is_believed_in_nothing() {
        let altered = LogRow {
            is_altered: true,
            ..row(Delivered, 5)
        };
        let rows = [row(Delivered, 2), altered];
        assert_eq!(Explanation::of(-2, &rows), Explanation::Altered(vec![1]));
    }
}
