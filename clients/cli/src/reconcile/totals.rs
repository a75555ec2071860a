//! Whether the totals are what the audit log adds up to.

use std::collections::{BTreeMap, BTreeSet};

use billing::{CustomerId, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Tally, TotalKey};

use super::log::CustomerLog;
use super::narrowing::{HOUR_S, Window, round_down, round_up};
use super::report::{Finding, FindingKind};

/// Compares the whole hours of `range`, but for those that changed a moment
/// ago. One finding for each hour that differs.
pub(super) async fn compare(
    ledger: &Ledger,
    customer_id: &CustomerId,
    log: &CustomerLog,
    range: Window,
) -> Result<Vec<Finding>, LedgerError> {
    let from = Timestamp::from_unix_s(round_up(range.start, HOUR_S));
    let to = Timestamp::from_unix_s(round_down(range.end, HOUR_S));
    let mut totals: BTreeMap<TotalKey, Tally> = BTreeMap::new();
    if from < to {
        // The slots of a cell make sense only together.
        for total in ledger.totals_of_range(customer_id, from, to).await? {
            totals.entry(total.key).or_default().add(&total.tally);
        }
    }
    totals.retain(|_, tally| !tally.is_zero());
    let cells: BTreeSet<&TotalKey> = totals.keys().chain(log.totals.keys()).collect();
    let hours: BTreeSet<Timestamp> = cells
        .into_iter()
        .filter(|cell| totals.get(cell) != log.totals.get(cell))
        .map(|cell| cell.hour)
        .filter(|hour| !log.hours_in_flight.contains(&hour.unix_s()))
        .collect();
    let finding = |hour: Timestamp| Finding {
        kind: FindingKind::TotalsDiffer,
        from: Some(hour.to_string()),
        log_units: Some(delivered_units(&log.totals, hour)),
        other_units: Some(delivered_units(&totals, hour)),
        events: Vec::new(),
        more_events: 0,
        is_repaired: false,
    };
    Ok(hours.into_iter().map(finding).collect())
}

fn delivered_units(cells: &BTreeMap<TotalKey, Tally>, hour: Timestamp) -> i64 {
    let cells = cells.iter().filter(|(cell, _)| cell.hour == hour);
    cells.fold(0, |sum, (_, tally)| {
        let units = tally.units(UsageStatus::Delivered);
        sum.saturating_add(i64::try_from(units).unwrap_or(i64::MAX))
    })
}
