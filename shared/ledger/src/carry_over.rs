//! Pending events whose period ends before Stripe has them.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use billing::{Timestamp, UsageStatus};

use crate::items::{from_item, number, text};
use crate::usage_event_row::{time_or_null, times};
use crate::usage_events::TABLE;
use crate::{Ledger, LedgerError, UsageEventRow};

/// What became of carrying a pending event over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarriedOver {
    /// The row has the new time of billing.
    Done,
    /// Somebody changed the row since it was read, perhaps this very call,
    /// whose answer was lost: nothing was written. The row as they left it, if it
    /// is there.
    Changed(Option<Box<UsageEventRow>>),
}

impl Ledger {
    /// Bills the pending `row`, as it was read, at `billed_at` in the period that
    /// begins at `period_start` instead. The time that it was billed at stays among
    /// those that Stripe was told: an earlier sending may have arrived.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps carried over; [`LedgerError`] where the row
    /// that somebody changed is unreadable.
    pub async fn carry_over_usage_event(
        &self,
        row: &UsageEventRow,
        billed_at: Timestamp,
        period_start: Timestamp,
    ) -> Result<CarriedOver, LedgerError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(row.identifier.as_str()))
            .update_expression(
                "SET billed_at = :billed_at, period_start = :period_start, \
                 carried_over = :true, \
                 told_at = list_append(if_not_exists(told_at, :none), :told)",
            )
            .condition_expression("#status = :pending AND billed_at = :was_billed_at")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", text(UsageStatus::Pending.as_str()))
            .expression_attribute_values(":was_billed_at", time_or_null(row.billed_at))
            .expression_attribute_values(":billed_at", number(billed_at.unix_ms()))
            .expression_attribute_values(":period_start", number(period_start.unix_ms()))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":none", times(&[]))
            .expression_attribute_values(":told", times(row.billed_at.as_slice()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = update else {
            return Ok(CarriedOver::Done);
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(LedgerError::unavailable("carry usage event over")(error));
        };
        let left = failed.item().map(|item| from_item(TABLE, item.clone()));
        Ok(CarriedOver::Changed(left.transpose()?.map(Box::new)))
    }
}
