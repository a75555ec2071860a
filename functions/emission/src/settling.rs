//! Records an event that names a reservation: in one transaction with settling
//! it, or, where it is held no more, without. What happened is recorded either way.

use billing::{ReservationId, Timestamp};
use ledger::{
    EventReservation, Ledger, LedgerError, Recorded, ReservationOutcome, ReservationRow,
    ReservationState, SettledHold, UsageEventRow,
};
use metering::delivery::SEND_BUDGET_MS;

/// Records `row`, which then says what became of the reservation.
pub(crate) async fn record_settling(
    ledger: &Ledger,
    row: &mut UsageEventRow,
    reservation_id: &ReservationId,
    now: Timestamp,
) -> Result<Recorded, LedgerError> {
    let mut known = ledger.reservation(&row.customer_id, reservation_id).await?;
    if let Some(reservation) = known.as_ref().filter(|it| is_settled_by(it, row)) {
        row.reservation = Some(EventReservation {
            reservation_id: reservation_id.clone(),
            outcome: ReservationOutcome::Settled,
            settled: Some(SettledHold {
                quantity: reservation.quantity,
                meter_event_name: reservation.meter_event_name.clone(),
                period_start: reservation.period_start,
            }),
        });
        let recorded = ledger.record_settling_event(row, reservation, now, SEND_BUDGET_MS);
        if let Some(recorded) = recorded.await? {
            return Ok(recorded);
        }
        // Somebody was faster: what became of it is settled for good.
        known = ledger.reservation(&row.customer_id, reservation_id).await?;
    }
    row.reservation = Some(EventReservation {
        reservation_id: reservation_id.clone(),
        outcome: outcome(known.as_ref()),
        settled: None,
    });
    ledger.record_usage_event(row, now, SEND_BUDGET_MS).await
}

/// Whether `row` settles `reservation`, as both stand. Its time may be over: as
/// long as nobody has ended it, it is held.
fn is_settled_by(reservation: &ReservationRow, row: &UsageEventRow) -> bool {
    reservation.state == ReservationState::Held
        && reservation.meter_event_name == row.meter_event_name
}

/// Why the event settles none.
const fn outcome(known: Option<&ReservationRow>) -> ReservationOutcome {
    let Some(known) = known else {
        return ReservationOutcome::Unknown;
    };
    match known.state {
        ReservationState::Held => ReservationOutcome::OtherMeter,
        ReservationState::Settled => ReservationOutcome::SettledBefore,
        ReservationState::Released => ReservationOutcome::Released,
        ReservationState::Expired => ReservationOutcome::Expired,
    }
}
