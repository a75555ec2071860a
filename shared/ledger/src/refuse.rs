//! Events that Stripe took and refused afterwards.

use billing::{Timestamp, UsageStatus};

use crate::error::is_condition_failure;
use crate::items::{number, text};
use crate::usage_event_row::history_entry;
use crate::{Ledger, LedgerError, UsageEventRow};

/// What became of noting a later refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaterRefused {
    /// The row has the new status, with Stripe's code.
    Done,
    /// Somebody changed the row since it was read, perhaps this very call,
    /// whose answer was lost: nothing was written.
    Changed,
}

impl Ledger {
    /// Moves `row`, as it was read, to `to` at `at`, real time: Stripe refused one of
    /// its sendings by `stripe_code`. A row that was redriven meanwhile, and may have
    /// the same status again, stays as it is: the refusal is of a sending before that.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps moved.
    pub async fn refuse_usage_event(
        &self,
        row: &UsageEventRow,
        to: UsageStatus,
        stripe_code: &str,
        at: Timestamp,
    ) -> Result<LaterRefused, LedgerError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(row.identifier.as_str()))
            .update_expression(
                "SET #status = :to, #history = list_append(#history, :entry), \
                 stripe_code = :code",
            )
            .condition_expression("#status = :from AND first_attempt_at = :read")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#history", "history")
            .expression_attribute_values(":from", text(row.status.as_str()))
            .expression_attribute_values(":read", number(row.first_attempt_at.unix_ms()))
            .expression_attribute_values(":to", text(to.as_str()))
            .expression_attribute_values(":entry", history_entry(to, at))
            .expression_attribute_values(":code", text(stripe_code))
            .send()
            .await;
        match update {
            Ok(_) => Ok(LaterRefused::Done),
            Err(error) if is_condition_failure(&error) => Ok(LaterRefused::Changed),
            Err(error) => Err(LedgerError::unavailable("refuse usage event")(error)),
        }
    }
}
