//! Sums over the cells of the totals.

use std::collections::BTreeMap;

use billing::{ActionType, Timestamp, UsageStatus};
use ledger::{Tally, Total};
use serde::Serialize;

use crate::query::GroupBy;

/// Usage of some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Units that are, or will be, on an invoice.
    pub(crate) total_units: u64,
    /// Those of them that Stripe is not yet known to have.
    pub(crate) pending_units: u64,
    /// Units by action, of actions that have any.
    pub(crate) by_action_type: BTreeMap<String, u64>,
}

/// One entry of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum SeriesEntry {
    /// Usage of an hour or a day.
    Time {
        /// When it begins (UTC).
        start: String,
        /// Units.
        units: u64,
    },
    /// Usage of one action.
    Action {
        /// The action.
        action_type: String,
        /// Units.
        units: u64,
    },
}

impl Summary {
    /// Adds the cells up. Cells are added before they are read: what one shard
    /// counted in, another may have counted out.
    pub(crate) fn of(totals: &[Total]) -> Self {
        let mut total = Tally::default();
        for cell in totals {
            total.add(&cell.tally);
        }
        let by_action_type: BTreeMap<ActionType, Tally> =
            grouped(totals, |cell| cell.key.action_type.clone());
        Self {
            total_units: total.billable_units(),
            pending_units: total.units(UsageStatus::Pending),
            by_action_type: by_action_type
                .into_iter()
                .map(|(action_type, tally)| {
                    (action_type.as_str().to_owned(), tally.billable_units())
                })
                .filter(|(_, units)| *units > 0)
                .collect(),
        }
    }
}

/// The cells as a series; stretches without usage have no entry.
pub(crate) fn series(totals: &[Total], group_by: GroupBy) -> Vec<SeriesEntry> {
    if group_by == GroupBy::ActionType {
        let summary = Summary::of(totals);
        return summary
            .by_action_type
            .into_iter()
            .map(|(action_type, units)| SeriesEntry::Action { action_type, units })
            .collect();
    }
    let by_start: BTreeMap<Timestamp, Tally> =
        grouped(totals, |cell| group_by.bucket(cell.key.hour));
    by_start
        .into_iter()
        .map(|(start, tally)| (start.to_string(), tally.billable_units()))
        .filter(|(_, units)| *units > 0)
        .map(|(start, units)| SeriesEntry::Time { start, units })
        .collect()
}

fn grouped<K: Ord>(totals: &[Total], key: impl Fn(&Total) -> K) -> BTreeMap<K, Tally> {
    let mut groups: BTreeMap<K, Tally> = BTreeMap::new();
    for cell in totals {
        groups.entry(key(cell)).or_default().add(&cell.tally);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::CustomerId;
    use ledger::TotalKey;

    const HOUR: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn cell(action: &str, hours: i64, changes: &[(UsageStatus, i64)]) -> Total {
        let mut tally = Tally::default();
        for (status, units) in changes {
            match u64::try_from(*units) {
                Ok(units) => tally.enter(*status, units),
                Err(_) => tally.leave(*status, units.unsigned_abs()),
            }
        }
        let key = TotalKey {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            period_start: Some(HOUR),
            hour: HOUR.plus_ms(hours * 3_600_000),
            meter_event_name: "agent_operations".to_owned(),
            action_type: ActionType::parse(action).unwrap(),
        };
        Total { key, tally }
    }

    fn cells() -> Vec<Total> {
        use UsageStatus::{Delivered, Pending, Rejected, Voided};
        vec![
            // Counted in by one shard, out by another.
            cell("document", 0, &[(Pending, 5)]),
            cell("document", 0, &[(Pending, -5), (Delivered, 5)]),
            cell("document", 13, &[(Delivered, 2), (Pending, 1)]),
            cell("search", 0, &[(Delivered, 10), (Rejected, 7)]),
            cell("mail", 0, &[(Voided, 3)]),
        ]
    }

    #[test]
    fn delivered_and_pending_usage_counts_once() {
        let summary = Summary::of(&cells());
        assert_eq!((summary.total_units, summary.pending_units), (18, 1));
        let by_action: Vec<_> = summary.by_action_type.into_iter().collect();
        assert_eq!(
            by_action,
            [("document".to_owned(), 8), ("search".to_owned(), 10)]
        );
    }

    #[test]
    fn series_add_up_to_the_total() {
        let times = |group_by| -> Vec<(String, u64)> {
            let read = |entry| match entry {
                SeriesEntry::Time { start, units } => (start, units),
                SeriesEntry::Action { action_type, units } => (action_type, units),
            };
            series(&cells(), group_by).into_iter().map(read).collect()
        };
        let entry = |name: &str, units| (name.to_owned(), units);
        assert_eq!(
            times(GroupBy::Hour),
            [
                entry("2026-01-31T12:00:00Z", 15),
                entry("2026-02-01T01:00:00Z", 3)
            ]
        );
        assert_eq!(
            times(GroupBy::Day),
            [
                entry("2026-01-31T00:00:00Z", 15),
                entry("2026-02-01T00:00:00Z", 3)
            ]
        );
        assert_eq!(
            times(GroupBy::ActionType),
            [entry("document", 8), entry("search", 10)]
        );
    }
}
