//! What was compared of one customer, and which rows it speaks of.

use std::collections::BTreeSet;

use billing::Identifier;

use super::explanation::Explanation;
use super::invoices::Invoices;
use super::log::{Held, LogRow, MeterLog};
use super::narrowing::{Difference, MINUTE_S, Window, round_down};
use super::report::Finding;

/// What was compared of one customer.
pub(super) struct Comparison {
    pub(super) meters: Vec<MeterComparison>,
    pub(super) totals: Vec<Finding>,
    pub(super) held: Held,
}

/// What was compared of one meter's usage of one customer.
pub(super) struct MeterComparison {
    pub(super) event_name: String,
    pub(super) range: Window,
    pub(super) log: MeterLog,
    pub(super) stripe_units: i64,
    pub(super) explained: Vec<(Difference, Explanation)>,
    /// Minutes that Stripe was not asked for by themselves, though decisions rest on them.
    pub(super) unknown: BTreeSet<i64>,
    pub(super) invoices: Invoices,
}

impl Comparison {
    /// Whether nothing hints at a row that was not read.
    pub(super) fn is_clear(&self) -> bool {
        self.totals.is_empty() && self.meters.iter().all(MeterComparison::is_clear)
    }
}

impl MeterComparison {
    fn is_clear(&self) -> bool {
        let is_accounted_for =
            |(_, explanation): &(_, Explanation)| matches!(explanation, Explanation::InFlight);
        self.invoices.findings.is_empty() && self.explained.iter().all(is_accounted_for)
    }

    /// What `explained` has the places of.
    pub(super) fn rows_of(&self, difference: &Difference) -> Vec<LogRow> {
        self.log.candidates(difference.minute)
    }

    /// What Stripe has at another time that it was told.
    fn billed_before(&self) -> BTreeSet<Identifier> {
        let mut billed = BTreeSet::new();
        for (difference, explanation) in &self.explained {
            if let Explanation::StripeHas(there) = explanation {
                let rows = self.rows_of(difference);
                let rows = there.iter().filter_map(|place| rows.get(*place));
                let rows = rows.filter(|row| row.carried_to.is_some());
                billed.extend(rows.map(|row| row.identifier.clone()));
            }
        }
        billed
    }

    /// Every row that nobody sends any more, but for those that a difference of
    /// their minute may point to: first what Stripe has not, then what it may
    /// have at another time.
    pub(super) fn undelivered<'a>(&'a self) -> (Vec<&'a LogRow>, Vec<&'a LogRow>) {
        let mut undelivered = Vec::new();
        let billed_before = self.billed_before();
        for (minute, rows) in &self.log.rows {
            let found = |(difference, _): &&(Difference, _)| difference.minute == *minute;
            let explained = self.explained.iter().find(found);
            for (place, row) in rows.iter().enumerate() {
                let may_be_there = match explained {
                    None => false,
                    Some((_, Explanation::StripeHas(there))) => there.contains(&place),
                    Some(_) => true,
                };
                let may_be_there = may_be_there || billed_before.contains(&row.identifier);
                if row.is_open() && row.is_settled && !may_be_there {
                    undelivered.push((minute, row));
                }
            }
        }
        let (not_there, perhaps_there): (Vec<_>, Vec<_>) = undelivered
            .into_iter()
            .partition(|(minute, row)| !self.unknown.contains(minute) && self.is_here_alone(row));
        let rows = |found: Vec<(&i64, &'a LogRow)>| found.into_iter().map(|(_, row)| row).collect();
        (rows(not_there), rows(perhaps_there))
    }

    /// Whether Stripe surely has `row` at no other time that it was told: each was looked
    /// at, and no surplus is left that it may be part of.
    pub(super) fn is_here_alone(&self, row: &LogRow) -> bool {
        let Window { start, end } = self.range;
        let is_known = |at: &i64| {
            (start..end).contains(at) && !self.unknown.contains(&round_down(*at, MINUTE_S))
        };
        row.told_s.is_empty() || row.told_s.iter().all(is_known) && !self.has_more_than_explained()
    }

    /// Whether Stripe has more, somewhere, than the log can tell.
    fn has_more_than_explained(&self) -> bool {
        self.explained.iter().any(|(difference, explanation)| {
            difference.units() > 0 && !matches!(explanation, Explanation::StripeHas(_))
        })
    }

    /// Altered rows in minutes that agree all the same.
    pub(super) fn altered_elsewhere(&self) -> Vec<&LogRow> {
        let is_told = |minute: &i64| {
            self.explained.iter().any(|(difference, explanation)| {
                difference.minute == *minute && matches!(explanation, Explanation::Altered(_))
            })
        };
        let minutes = self.log.rows.iter();
        let rows = minutes.filter(|(minute, _)| !is_told(minute));
        let rows = rows.flat_map(|(_, rows)| rows);
        rows.filter(|row| row.is_altered).collect()
    }

    pub(super) fn in_flight_units(&self) -> u64 {
        let rows = self.log.rows.values().flatten();
        let waiting = rows.filter(|row| row.is_open() && !row.is_settled);
        waiting.fold(0, |sum, row| sum.saturating_add(row.quantity))
    }
}
