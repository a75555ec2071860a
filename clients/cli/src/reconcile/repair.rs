//! What a repair may do: note as delivered what Stripe surely has, when it has it,
//! and send again what it surely has not.

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, TakenBack, Transition, Transitioned, UsageEventRow};
use metering::delivery::BATCH_EVENTS_MAX;
use metering::{Delivered, PeriodUnknown, Redriven, Redriver};

use super::log::LogRow;

/// Notes `rows`, which Stripe has, as delivered; whether all of them are. A
/// rejected one, too: Stripe's sums are its last word. What was voided was settled by a
/// decision, and is left to one.
pub(super) async fn mark_delivered(
    ledger: &Ledger,
    rows: &[&LogRow],
    now: Timestamp,
) -> Result<bool, LedgerError> {
    if !rows.iter().all(|row| row.is_undecided()) {
        return Ok(false);
    }
    move_all(ledger, rows, UsageStatus::Delivered, now).await
}

/// Notes `rows`, as they are looked at where Stripe has them from before they were
/// carried over, as delivered and billed at the time that was told there; whether all of
/// them are. `period_start_of` tells the start of the billing period that holds a time;
/// where it does not know, and what a decision has settled, stays as it is.
pub(super) async fn bill_as_before(
    ledger: &Ledger,
    rows: &[&LogRow],
    period_start_of: impl AsyncFn(Timestamp) -> Result<Option<Timestamp>, PeriodUnknown>,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let is_ours = |row: &&LogRow| row.is_undecided() || row.status == UsageStatus::Delivered;
    if !rows.iter().all(is_ours) {
        return Ok(false);
    }
    let mut taken_back = 0;
    for compared in rows.chunks(BATCH_EVENTS_MAX) {
        let identifiers: Vec<Identifier> =
            compared.iter().map(|row| row.identifier.clone()).collect();
        for row in ledger.usage_events(&identifiers).await? {
            let Some(billed_at) = compared.iter().find_map(|read| told_there(read, &row)) else {
                continue;
            };
            let Ok(Some(period_start)) = period_start_of(billed_at).await else {
                continue;
            };
            let taken = ledger.take_back_carry_over(&row, billed_at, period_start, now);
            if taken.await? == TakenBack::Done {
                taken_back += 1;
            }
        }
    }
    Ok(taken_back == rows.len())
}

/// The time of `row` that was told where it was `read`, if it is still as it was then.
fn told_there(read: &LogRow, row: &UsageEventRow) -> Option<Timestamp> {
    let is_as_compared = read.identifier == row.identifier
        && read.status == row.status
        && row.billed_at.map(Timestamp::unix_s) == Some(read.billed_at_s);
    let told = row.told_at.iter().copied();
    let mut told = told.filter(|at| read.told_s.contains(&at.unix_s()));
    told.next().filter(|_| is_as_compared)
}

/// Sends `rows`, which are called delivered and are not in Stripe, again;
/// whether all of them are on their way. One that Stripe may still come to
/// count is left as it is.
pub(super) async fn send_again(
    ledger: &Ledger,
    redriver: &Redriver,
    rows: &[&LogRow],
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let to = UsageStatus::Quarantined;
    let are_lost = rows
        .iter()
        .all(|row| row.is_settled && row.status == UsageStatus::Delivered);
    if !are_lost || !move_all(ledger, rows, to, now).await? {
        return Ok(false);
    }
    let given_up: Vec<LogRow> = rows
        .iter()
        .map(|row| LogRow {
            status: to,
            ..(*row).clone()
        })
        .collect();
    redrive(ledger, redriver, &given_up.iter().collect::<Vec<_>>()).await
}

/// Whether all `rows` have the status `to` now.
async fn move_all(
    ledger: &Ledger,
    rows: &[&LogRow],
    to: UsageStatus,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    for row in rows {
        let transition = Transition {
            from: row.status,
            to,
            at: now,
            stripe_code: None,
        };
        let moved = ledger.transition_usage_event(&row.identifier, transition);
        match moved.await? {
            Transitioned::Done => {}
            Transitioned::Was(status) if status == to => {}
            Transitioned::Was(_) | Transitioned::NoSuchEvent => return Ok(false),
        }
    }
    Ok(true)
}

/// Sends `rows`, which Stripe has not, again; whether all of them are on their
/// way. What is not given up yet is left to redelivery, and what has no time at
/// which it can be billed to the operator.
pub(super) async fn redrive(
    ledger: &Ledger,
    redriver: &Redriver,
    rows: &[&LogRow],
) -> Result<bool, LedgerError> {
    let mut is_all = true;
    for compared in rows.chunks(BATCH_EVENTS_MAX) {
        let identifiers: Vec<Identifier> =
            compared.iter().map(|row| row.identifier.clone()).collect();
        // What has changed since it was compared is somebody else's.
        let is_as_compared = |row: &UsageEventRow| {
            let mut same = compared
                .iter()
                .filter(|read| read.identifier == row.identifier);
            same.any(|read| read.status == row.status)
        };
        let mut given_up = ledger.usage_events(&identifiers).await?;
        given_up.retain(is_as_compared);
        let redriven = redriver.redrive(&given_up).await;
        is_all = is_all && given_up.len() == compared.len() && redriven.iter().all(is_on_its_way);
    }
    Ok(is_all)
}

const fn is_on_its_way(redriven: &Redriven) -> bool {
    matches!(
        redriven,
        Redriven::Sent(
            Delivered::Delivered
                | Delivered::Pending
                | Delivered::Settled(UsageStatus::Delivered | UsageStatus::Pending)
        )
    )
}
