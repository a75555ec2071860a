//! What a repair may do: note as delivered what Stripe surely has, and make
//! pending again what it surely has not.

use billing::{BillingTime, Identifier, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, Reopened, ReopenedTime, Transition, Transitioned};
use metering::KnownCustomer;

use super::log::LogRow;

/// Rows of one read.
const ROWS_MAX: usize = 100;

/// Notes `rows`, which Stripe has, as delivered; whether all of them are. Rows
/// that are neither pending nor quarantined were settled by a decision, and are
/// left to one.
pub(super) async fn mark_delivered(
    ledger: &Ledger,
    rows: &[&LogRow],
    now: Timestamp,
) -> Result<bool, LedgerError> {
    if !rows.iter().all(|row| row.is_open()) {
        return Ok(false);
    }
    for row in rows {
        let transition = Transition {
            from: row.status,
            to: UsageStatus::Delivered,
            at: now,
            stripe_code: None,
        };
        let moved = ledger.transition_usage_event(&row.identifier, transition);
        match moved.await? {
            Transitioned::Done | Transitioned::Was(UsageStatus::Delivered) => {}
            Transitioned::Was(_) | Transitioned::NoSuchEvent => return Ok(false),
        }
    }
    Ok(true)
}

/// Makes `rows`, which Stripe has not, pending again, for redelivery to send;
/// whether all of them are. Each is billed when its customer can be billed for
/// it now; one without such a time stays as it is.
pub(super) async fn reopen(
    ledger: &Ledger,
    customer: &KnownCustomer,
    rows: &[&LogRow],
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let mut reopened = 0;
    for rows in rows.chunks(ROWS_MAX) {
        let identifiers: Vec<Identifier> = rows.iter().map(|row| row.identifier.clone()).collect();
        for row in ledger.usage_events(&identifiers).await? {
            // What has changed since it was compared is somebody else's.
            if !rows
                .iter()
                .any(|read| read.identifier == row.identifier && read.status == row.status)
            {
                continue;
            }
            let chosen = customer.row.billing_time(row.occurred_at, customer.now);
            let BillingTime::Billable {
                billed_at,
                period_start,
                carried_over,
            } = chosen
            else {
                continue;
            };
            let time = ReopenedTime {
                billed_at,
                period_start,
                carried_over,
            };
            match ledger.reopen_usage_event(&row, time, now).await? {
                Reopened::Done(_) => reopened += 1,
                Reopened::Changed => {}
            }
        }
    }
    Ok(reopened == rows.len())
}
