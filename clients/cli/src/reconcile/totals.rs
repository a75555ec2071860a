//! Whether the totals are what the audit log adds up to.

use std::collections::{BTreeMap, BTreeSet};

use billing::{CustomerId, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Tally, TotalKey};

use super::log::CustomerLog;
use super::narrowing::{HOUR_S, Window, round_down, round_up};
use super::report::{Finding, FindingKind};

/// Compares the whole hours of `range`, but for those that changed a moment
/// ago. One finding for each hour of a meter that differs.
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
            let tally = total.tally.of_events();
            totals.entry(total.key).or_default().add(&tally);
        }
    }
    totals.retain(|_, tally| !tally.is_zero());
    let cells: BTreeSet<&TotalKey> = totals.keys().chain(log.totals.keys()).collect();
    let hours: BTreeSet<(Timestamp, &str)> = cells
        .into_iter()
        .filter(|cell| totals.get(cell) != log.totals.get(cell))
        .filter(|cell| !log.hours_in_flight.contains(&cell.hour.unix_s()))
        .map(|cell| (cell.hour, cell.meter_event_name.as_str()))
        .collect();
    let finding = |(hour, meter): (Timestamp, &str)| Finding {
        meter_event_name: Some(meter.to_owned()),
        from: Some(hour.to_string()),
        log_units: Some(delivered_units(&log.totals, hour, meter)),
        other_units: Some(delivered_units(&totals, hour, meter)),
        ..Finding::of(FindingKind::TotalsDiffer)
    };
    Ok(hours.into_iter().map(finding).collect())
}

fn delivered_units(cells: &BTreeMap<TotalKey, Tally>, hour: Timestamp, meter: &str) -> i64 {
    let of_hour = |cell: &TotalKey| cell.hour == hour && cell.meter_event_name == meter;
    let cells = cells.iter().filter(|(cell, _)| of_hour(cell));
    cells.fold(0, |sum, (_, tally)| {
        let units = tally.units(UsageStatus::Delivered);
        sum.saturating_add(i64::try_from(units).unwrap_or(i64::MAX))
    })
}
