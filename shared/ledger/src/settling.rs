//! Usage that settles a reservation: what the audit log keeps of it, and how both
//! change together.

use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use billing::{ActionType, CustomerId, ReservationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::items::to_item;
use crate::transactions::{is_condition_reason, reasons};
use crate::usage_events::{RECORD, TABLE};
use crate::{
    Ledger, LedgerError, Recorded, ReservationRow, ReservationState, TotalKey, UsageEventRow,
};

/// What became of the reservation that an event named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventReservation {
    /// The agent's id of it.
    pub reservation_id: ReservationId,
    /// Whether the event settled it, or why not.
    pub outcome: ReservationOutcome,
    /// What it held, where the event settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<SettledHold>,
}

/// Whether an event settled the reservation that it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationOutcome {
    /// It did.
    Settled,
    /// Its time was over.
    Expired,
    /// It had been given back.
    Released,
    /// Another event had settled it.
    SettledBefore,
    /// It was for another meter.
    OtherMeter,
    /// There is none of this id.
    Unknown,
}

impl ReservationOutcome {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Settled,
        Self::Expired,
        Self::Released,
        Self::SettledBefore,
        Self::OtherMeter,
        Self::Unknown,
    ];

    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::SettledBefore => "settled_before",
            Self::OtherMeter => "other_meter",
            Self::Unknown => "unknown",
        }
    }
}

/// Units that a reservation held until an event settled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledHold {
    /// Units.
    pub quantity: u64,
    /// The event name of the meter that they were held for.
    pub meter_event_name: String,
    /// The start of the period that they were held in.
    pub period_start: Timestamp,
}

impl SettledHold {
    /// The cell of the totals that it is counted in: that of the event as it was
    /// recorded, in the hold's own period. It never changes, whatever becomes of
    /// the event.
    pub fn total_key(
        &self,
        customer_id: CustomerId,
        action_type: ActionType,
        occurred_at: Timestamp,
    ) -> TotalKey {
        TotalKey::of(
            customer_id,
            self.meter_event_name.clone(),
            action_type,
            Some(self.period_start),
            None,
            occurred_at,
        )
    }
}

impl Ledger {
    /// Records `row`, which names what it settles, unless its identifier is taken;
    /// and settles `reservation`, if it is held, in the same transaction. None
    /// where it is not, and nothing was recorded.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps recorded, and then settled.
    pub async fn record_settling_event(
        &self,
        row: &UsageEventRow,
        reservation: &ReservationRow,
        now: Timestamp,
        budget_ms: i64,
    ) -> Result<Option<Recorded>, LedgerError> {
        let put = Put::builder()
            .table_name(&self.tables.usage_events)
            .set_item(Some(to_item(TABLE, row)?))
            .condition_expression("attribute_not_exists(identifier)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(LedgerError::unavailable(RECORD))?;
        let settled = ReservationState::Settled;
        let settle = self
            .move_reservation(reservation, settled, Some(&row.identifier))
            .condition_expression("#state = :held")
            .build()
            .map_err(LedgerError::unavailable(RECORD))?;
        let items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().update(settle).build(),
        ];
        let Err(error) = self.transact_patiently(items).await else {
            return Ok(Some(Recorded::New));
        };
        let known = match reasons(&error) {
            [known, _] if is_condition_reason(known) => known.item().cloned(),
            [_, settled] if is_condition_reason(settled) => return Ok(None),
            _ => return Err(LedgerError::unavailable(RECORD)(error)),
        };
        match self
            .known_event(row, known.as_ref(), now, budget_ms)
            .await?
        {
            Some(recorded) => Ok(Some(recorded)),
            None => Err(LedgerError::unavailable(RECORD)(error)),
        }
    }
}
