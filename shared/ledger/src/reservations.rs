//! Units that agents hold of a customer's limit before they act: a row for each
//! reservation, and one for each customer and period that sums them up.
//!
//! A unit that is reserved is in that sum from the moment it is held. It leaves
//! it when its reservation is released or expires, in one transaction with that.
//! Where usage settles the reservation, it stays in the sum, and the rollup counts
//! it as settled in the very row of the totals, and in the very transaction, in
//! which it counts the usage. So `reserved - settled` is held, whoever reads in
//! between reads no unit less than there are, and neither emission nor the rollup
//! ever writes the sum, which all of a customer's agents contend for.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{
    Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use billing::{ActionType, CustomerId, Identifier, ReservationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::due::{RESERVATION_PREFIX, due_attributes};
use crate::items::{Item, from_item, number, text, to_item};
use crate::transactions::{is_condition_reason, reasons};
use crate::{Ledger, LedgerError, Room};

const TABLE: &str = "usage-totals (reservations)";
/// For how long a reservation is known after it has ended, in seconds. DynamoDB
/// deletes it then.
const KNOWN_S: i64 = 7 * 24 * 3_600;

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Its units are held.
    Held,
    /// Usage was recorded for it.
    Settled,
    /// Its agent gave it back.
    Released,
    /// Its time was over before either.
    Expired,
}

impl ReservationState {
    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// A reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRow {
    /// Of whose limit.
    pub customer_id: CustomerId,
    /// The agent's id of it.
    pub reservation_id: ReservationId,
    /// Units.
    pub quantity: u64,
    /// What they are for.
    pub action_type: ActionType,
    /// The event name of the meter that would count them.
    pub meter_event_name: String,
    /// The start of the period that they are held in, in whole seconds.
    pub period_start: Timestamp,
    /// When they were held, in real time.
    pub held_at: Timestamp,
    /// Until when, in real time.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: ReservationState,
    /// The usage event that settled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<Identifier>,
}

/// What became of reserving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserving {
    /// The units are held.
    Held,
    /// There is a reservation of this id: its row, as it stands.
    Exists(Box<ReservationRow>),
    /// More is reserved than there is room for.
    NoRoom,
}

/// What became of ending a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its units are held no more.
    Done,
    /// It stands like this already, perhaps by this very call.
    Was(Box<ReservationRow>),
    /// There is none.
    NoSuchReservation,
}

impl ReservationRow {
    fn key(&self) -> Item {
        key(&self.customer_id, &self.reservation_id)
    }

    fn to_item(&self) -> Result<Item, LedgerError> {
        let mut item: Item = to_item(TABLE, self)?;
        item.extend(self.key());
        let due = due_attributes(&self.customer_id, self.expires_at).into_iter();
        item.extend(due.map(|(name, value)| (name.to_owned(), value)));
        Ok(item)
    }

    /// Reads an item; none where it is another row.
    pub(crate) fn from_item(item: &Item) -> Option<Result<Self, LedgerError>> {
        let total_key = item.get("total_key")?.as_s().ok()?;
        total_key
            .starts_with(RESERVATION_PREFIX)
            .then(|| from_item(TABLE, item.clone()))
    }
}

fn key(customer_id: &CustomerId, reservation_id: &ReservationId) -> Item {
    let total_key = format!("{RESERVATION_PREFIX}{reservation_id}");
    key_of(customer_id, total_key)
}

pub(crate) fn key_of(customer_id: &CustomerId, total_key: String) -> Item {
    HashMap::from([
        ("customer_id".to_owned(), text(customer_id.as_str())),
        ("total_key".to_owned(), text(total_key)),
    ])
}

impl Ledger {
    /// The reservation of `customer_id` with an id, read consistently.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn reservation(
        &self,
        customer_id: &CustomerId,
        reservation_id: &ReservationId,
    ) -> Result<Option<ReservationRow>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(key(customer_id, reservation_id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read reservation"))?;
        let row = got.item.as_ref().and_then(ReservationRow::from_item);
        row.transpose()
    }

    /// Holds the units of `row`, if its id is free and no more is reserved than
    /// `room` says. Its period's sum has begun: [`Ledger::begin_reserving`].
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps held; asking again tells.
    pub async fn reserve(
        &self,
        row: &ReservationRow,
        room: &Room,
    ) -> Result<Reserving, LedgerError> {
        const OPERATION: &str = "reserve";
        let put = Put::builder()
            .table_name(&self.tables.usage_totals)
            .set_item(Some(row.to_item()?))
            .condition_expression("attribute_not_exists(total_key)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(LedgerError::unavailable(OPERATION))?;
        let sum = self.add_to_sum(row, i128::from(row.quantity), Some(room))?;
        let items = vec![
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().update(sum).build(),
        ];
        let Err(error) = self.transact_patiently(items).await else {
            return Ok(Reserving::Held);
        };
        match reasons(&error) {
            [existing, _] if is_condition_reason(existing) => {
                let known = existing.item().and_then(ReservationRow::from_item);
                match known.transpose()? {
                    Some(known) => Ok(Reserving::Exists(Box::new(known))),
                    None => match self
                        .reservation(&row.customer_id, &row.reservation_id)
                        .await?
                    {
                        Some(known) => Ok(Reserving::Exists(Box::new(known))),
                        None => Err(LedgerError::unavailable(OPERATION)(error)),
                    },
                }
            }
            [_, sum] if is_condition_reason(sum) => Ok(Reserving::NoRoom),
            _ => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }

    /// Ends `row`, if it is held: it is `to`, and its units are held no more. As
    /// expired it ends only where its time is over at `now`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps ended; asking again tells.
    pub async fn end_reservation(
        &self,
        row: &ReservationRow,
        to: ReservationState,
        now: Timestamp,
    ) -> Result<Ended, LedgerError> {
        const OPERATION: &str = "end reservation";
        let mut condition = "#state = :held".to_owned();
        let mut update = self.move_reservation(row, to, None);
        if to == ReservationState::Expired {
            condition.push_str(" AND expires_at <= :now");
            update = update.expression_attribute_values(":now", number(now.unix_ms()));
        }
        let update = update
            .condition_expression(condition)
            .build()
            .map_err(LedgerError::unavailable(OPERATION))?;
        let sum = self.add_to_sum(row, -i128::from(row.quantity), None)?;
        let items = vec![
            TransactWriteItem::builder().update(update).build(),
            TransactWriteItem::builder().update(sum).build(),
        ];
        let Err(error) = self.transact_patiently(items).await else {
            return Ok(Ended::Done);
        };
        match reasons(&error) {
            [moved, _] if is_condition_reason(moved) => {
                let known = self.reservation(&row.customer_id, &row.reservation_id);
                let known = known.await?;
                Ok(known.map_or(Ended::NoSuchReservation, |known| {
                    Ended::Was(Box::new(known))
                }))
            }
            _ => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }

    /// An update, without its condition, that moves a reservation from held to
    /// `to`: with whatever else is in the same transaction.
    pub(crate) fn move_reservation(
        &self,
        row: &ReservationRow,
        to: ReservationState,
        settled_by: Option<&Identifier>,
    ) -> UpdateBuilder {
        // One that is held is never forgotten: its units would be held for ever.
        let forget_at_s = row.expires_at.unix_s().saturating_add(KNOWN_S);
        let update = Update::builder()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(row.key()))
            .expression_attribute_values(":forget", number(forget_at_s))
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":held", text(ReservationState::Held.as_str()))
            .expression_attribute_values(":to", text(to.as_str()));
        match settled_by {
            Some(identifier) => update
                .update_expression(
                    "SET #state = :to, forget_at_s = :forget, settled_by = :by \
                     REMOVE due_bucket, due_key",
                )
                .expression_attribute_values(":by", text(identifier.as_str())),
            None => update.update_expression(
                "SET #state = :to, forget_at_s = :forget REMOVE due_bucket, due_key",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reserved;

    fn a_row() -> ReservationRow {
        ReservationRow {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            reservation_id: ReservationId::parse("run-7").unwrap(),
            quantity: 5,
            action_type: ActionType::parse("document_processed").unwrap(),
            meter_event_name: "agent_operations".to_owned(),
            period_start: Timestamp::from_unix_s(1_769_860_800),
            held_at: Timestamp::from_unix_ms(1_769_864_400_001),
            expires_at: Timestamp::from_unix_ms(1_769_864_700_001),
            state: ReservationState::Held,
            settled_by: None,
        }
    }

    #[test]
    fn a_reservation_reads_back_and_is_due_when_it_expires() {
        let row = a_row();
        let item = row.to_item().unwrap();
        assert_eq!(ReservationRow::from_item(&item).unwrap().unwrap(), row);
        assert_eq!(item["due_key"], text("1769864700001#cus_1"));
        assert!(!item.contains_key("forget_at_s"), "it is held");
        assert!(Reserved::from_item(&item).is_none());
    }
}
