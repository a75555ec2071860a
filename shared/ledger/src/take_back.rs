//! Events that were carried over though Stripe had them: back into the period that
//! bills them.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Timestamp, UsageStatus};

use crate::error::is_condition_failure;
use crate::items::{number, text};
use crate::usage_event_row::{history_entry, time_or_null, times};
use crate::{Ledger, LedgerError, UsageEventRow};

/// What became of taking a carry-over back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// The row is delivered, and billed when Stripe has it.
    Done,
    /// Somebody changed the row since it was read, perhaps this very call,
    /// whose answer was lost: nothing was written.
    Changed,
}

impl Ledger {
    /// Notes at `now`, real time, that Stripe has `row`, as it was read, at `billed_at`,
    /// one of the times that it was told, in the period that began at `period_start`: a
    /// sending from before it was carried over, or carried over that far, had arrived.
    /// The rollup moves it between the totals. The time that the row leaves takes the
    /// place of `billed_at` among the told ones, so that this can be taken back as well.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps taken back.
    pub async fn take_back_carry_over(
        &self,
        row: &UsageEventRow,
        billed_at: Timestamp,
        period_start: Timestamp,
        now: Timestamp,
    ) -> Result<TakenBack, LedgerError> {
        let delivered = UsageStatus::Delivered;
        let told = row.told_at.iter().copied().filter(|at| *at != billed_at);
        let told: Vec<Timestamp> = told.chain(row.billed_at).collect();
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(row.identifier.as_str()))
            .update_expression(
                "SET #status = :delivered, #history = list_append(#history, :entry), \
                 billed_at = :billed_at, period_start = :period_start, \
                 carried_over = :carried_over, told_at = :told REMOVE stripe_code",
            )
            .condition_expression(
                "#status = :from AND billed_at = :was_billed_at AND told_at = :was_told",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#history", "history")
            .expression_attribute_values(":delivered", text(delivered.as_str()))
            .expression_attribute_values(":entry", history_entry(delivered, now))
            .expression_attribute_values(":from", text(row.status.as_str()))
            .expression_attribute_values(":was_billed_at", time_or_null(row.billed_at))
            .expression_attribute_values(":billed_at", number(billed_at.unix_ms()))
            .expression_attribute_values(":period_start", number(period_start.unix_ms()))
            .expression_attribute_values(":was_told", times(&row.told_at))
            .expression_attribute_values(":told", times(&told))
            .expression_attribute_values(
                ":carried_over",
                AttributeValue::Bool(row.occurred_at < period_start),
            )
            .send()
            .await;
        match update {
            Ok(_) => Ok(TakenBack::Done),
            Err(error) if is_condition_failure(&error) => Ok(TakenBack::Changed),
            Err(error) => Err(LedgerError::unavailable("take a carry-over back")(error)),
        }
    }
}
