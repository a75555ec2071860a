//! The totals against the audit log, cell by cell.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::audit::{Rows, number};
use super::{Findings, Kind, Subject, place_of};
use crate::SoakError;
use crate::agents::ACTIONS;
use crate::direct::text;

const TABLE: &str = "UsageTotalsTable";
const HOUR_MS: i64 = 3_600_000;

/// Customer, period's start (seconds; none for held usage), hour (seconds),
/// meter, action and status.
type Cell = (usize, Option<i64>, i64, String, usize, String);

/// Units and events.
type Count = (i64, i64);

/// The totals that the rows make, and the totals that there are.
pub(super) async fn compare(
    subject: Subject<'_>,
    rows: &Rows,
    findings: &mut Findings,
) -> Result<(), SoakError> {
    let mut expected: BTreeMap<Cell, Count> = BTreeMap::new();
    for row in rows.values() {
        let hour_ms = row.billed_at_ms.unwrap_or(row.occurred_at_ms);
        let cell = (
            row.customer,
            row.period_start_ms.map(|at| at.div_euclid(1_000)),
            (hour_ms - hour_ms.rem_euclid(HOUR_MS)) / 1_000,
            row.meter_event_name().to_owned(),
            row.action,
            row.status.to_owned(),
        );
        let count = expected.entry(cell).or_default();
        *count = (count.0 + row.quantity, count.1 + 1);
    }
    let mut found: BTreeMap<Cell, Count> = BTreeMap::new();
    let take = |item: &Value| read(subject, item, &mut found);
    subject.direct.scan(TABLE, &json!({}), take).await?;
    found.retain(|_, count| *count != (0, 0));
    for (cell, count) in &expected {
        let has = found.remove(cell).unwrap_or_default();
        if has != *count {
            findings.add(Kind::TotalsDiffer, || {
                format!("{cell:?} is {has:?} instead of {count:?} (units, events)")
            });
        }
    }
    for (cell, has) in found {
        findings.add(Kind::TotalsDiffer, || {
            format!("{cell:?} is {has:?} instead of nothing")
        });
    }
    Ok(())
}

/// Adds what an item holds to its cells: a row is a day, its attributes are the
/// hours, as `d07u`. The rollup's checkpoints hold nothing.
fn read(
    subject: Subject<'_>,
    item: &Value,
    found: &mut BTreeMap<Cell, Count>,
) -> Result<(), SoakError> {
    let Some(customer) = place_of(subject.customers, text(&item["customer_id"], "S")?) else {
        return Ok(());
    };
    let key = text(&item["total_key"], "S")?;
    let mut parts = key.split('#');
    let (period, day) = (parts.next(), parts.next());
    let (meter, action) = (parts.next(), parts.next());
    let action = ACTIONS.iter().position(|known| Some(known.0) == action);
    let (Some(day), Some(meter), Some(action)) = (whole(day), meter, action) else {
        return Err(SoakError::Missing("total_key"));
    };
    for (name, value) in item.as_object().into_iter().flatten() {
        let (Some(status), Some(hour)) = (
            STATUSES.iter().find(|it| name.starts_with(it.0)),
            whole(name.get(1..3)),
        ) else {
            continue;
        };
        let cell = (
            customer,
            whole(period),
            day + hour * HOUR_MS / 1_000,
            meter.to_owned(),
            action,
            status.1.to_owned(),
        );
        let count = found.entry(cell).or_default();
        match name.get(3..) {
            Some("u") => count.0 += number(value)?,
            Some("e") => count.1 += number(value)?,
            _ => return Err(SoakError::Missing("an hour of the totals")),
        }
    }
    Ok(())
}

/// What the attributes' first letters stand for.
const STATUSES: [(char, &str); 7] = [
    ('p', "pending"),
    ('d', "delivered"),
    ('r', "rejected"),
    ('q', "quarantined"),
    ('h', "held"),
    ('v', "voiding"),
    ('x', "voided"),
];

fn whole(digits: Option<&str>) -> Option<i64> {
    digits?.parse().ok()
}
