//! What was carried over into a period: it happened before, when that period's
//! invoice was final already. Nothing but the rows themselves tell which events
//! those are, so the events before the period are looked at, the last ones first.

use billing::{CustomerId, Timestamp, UsageStatus, window};
use ledger::{
    Ledger, LedgerError, UsageEventOrder, UsageEventReader, UsageEventRow, UsageEventsWanted,
};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use super::lines::BilledUsage;
use super::logged::Totals;

/// Rows that are read at once.
const READ_ROWS_MAX: usize = 1_000;

/// What happened before a period and is billed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CarriedOver {
    /// Units, delivered or on their way.
    pub units: u64,
    /// Events.
    pub events: u64,
    /// Whether all events were looked at that can have been carried over. What was
    /// redriven more than 36 days after it happened is not among them.
    pub is_complete: bool,
    /// Since when events were looked at.
    #[schema(schema_with = schema::time)]
    pub looked_back_to: String,
}

/// Looks at up to `looked_at_max` events before the period of `billed`.
pub(super) async fn find(
    ledger: &Ledger,
    customer_id: &CustomerId,
    billed: &BilledUsage,
    totals: &Totals,
    looked_at_max: usize,
) -> Result<CarriedOver, LedgerError> {
    let period = billed.period();
    let is_carried = |row: &&UsageEventRow| {
        let is_billed = matches!(row.status, UsageStatus::Delivered | UsageStatus::Pending);
        row.carried_over
            && (is_billed || row.void_credit_minor_units.is_some())
            && row.billed_at.is_some_and(|at| period.contains(&at))
            && totals.has_name(&row.meter_event_name)
    };
    let earliest = period.start.plus_ms(-window::CARRIED_MS);
    let wanted = UsageEventsWanted {
        occurred: earliest..period.start,
        ..UsageEventsWanted::all(customer_id.clone(), UsageEventOrder::NewestFirst)
    };
    let mut reader =
        UsageEventReader::new(ledger.clone(), wanted, looked_at_max.min(READ_ROWS_MAX));
    let (mut units, mut events) = (0_u64, 0_u64);
    let mut left = looked_at_max;
    let mut looked_back_to: Timestamp = period.start;
    while left > 0 {
        let looked_at = reader.take(left.min(READ_ROWS_MAX)).await?;
        let Some(last) = looked_at.last() else { break };
        looked_back_to = last.occurred_at;
        left = left.saturating_sub(looked_at.len());
        let rows = ledger.rows_in_order(&looked_at).await?;
        for row in rows.iter().filter(is_carried) {
            units = units.saturating_add(row.quantity);
            events = events.saturating_add(1);
        }
    }
    let is_complete = reader.is_at_end().await?;
    let looked_back_to = if is_complete {
        earliest
    } else {
        looked_back_to
    };
    Ok(CarriedOver {
        units,
        events,
        is_complete,
        looked_back_to: looked_back_to.to_string(),
    })
}
