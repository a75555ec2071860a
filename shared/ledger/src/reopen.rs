//! Back to pending, on the operator's word: what a redrive does to a row before
//! it is sent.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Timestamp, UsageStatus};

use crate::error::is_condition_failure;
use crate::items::{number, text};
use crate::usage_event_row::history_entry;
use crate::{HistoryEntry, Ledger, LedgerError, UsageEventRow};

/// How a reopened event is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebilling {
    /// The timestamp of the meter event.
    pub billed_at: Timestamp,
    /// The start of the period that it falls into.
    pub period_start: Timestamp,
    /// Whether it is billed later than it happened: carried over.
    pub carried_over: bool,
    /// The meter that counts it, by its event name.
    pub meter_event_name: String,
    /// The item that usage records are added to; what the row says where none is.
    pub subscription_item_id: Option<String>,
}

/// What became of reopening an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// It is pending, with a send window of its own: this is its row now.
    Done(Box<UsageEventRow>),
    /// Somebody changed the row since it was read, perhaps this very call,
    /// whose answer was lost: nothing was written.
    Changed,
}

impl Ledger {
    /// Makes `row`, as it was read, pending again at `at`, real time: billed as
    /// `billing` says, in a send window that begins at `at`, under its old identifier.
    /// Whoever reopens it knows that Stripe has it at none of the times it was told.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps reopened; redelivery sends it then.
    pub async fn reopen_usage_event(
        &self,
        row: &UsageEventRow,
        billing: Rebilling,
        at: Timestamp,
    ) -> Result<Reopened, LedgerError> {
        let status = UsageStatus::Pending;
        let mut sets = String::from(
            "SET #status = :pending, #history = list_append(#history, :entry), \
             billed_at = :billed_at, period_start = :period_start, \
             carried_over = :carried_over, first_attempt_at = :at, pending_since = :at, \
             meter_event_name = :meter",
        );
        if billing.subscription_item_id.is_some() {
            sets.push_str(", subscription_item_id = :item");
        }
        let item_id = billing.subscription_item_id.as_deref().map(text);
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(row.identifier.as_str()))
            .update_expression(format!("{sets} REMOVE held_reason, stripe_code, told_at"))
            .condition_expression("#status = :from AND first_attempt_at = :read")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#history", "history")
            .expression_attribute_values(":pending", text(status.as_str()))
            .expression_attribute_values(":from", text(row.status.as_str()))
            .expression_attribute_values(":read", number(row.first_attempt_at.unix_ms()))
            .expression_attribute_values(":entry", history_entry(status, at))
            .expression_attribute_values(":billed_at", number(billing.billed_at.unix_ms()))
            .expression_attribute_values(":period_start", number(billing.period_start.unix_ms()))
            .expression_attribute_values(
                ":carried_over",
                AttributeValue::Bool(billing.carried_over),
            )
            .expression_attribute_values(":meter", text(&billing.meter_event_name))
            .expression_attribute_values(":at", number(at.unix_ms()));
        let update = match item_id {
            Some(item_id) => update.expression_attribute_values(":item", item_id),
            None => update,
        };
        match update.send().await {
            Ok(_) => Ok(Reopened::Done(Box::new(reopened(row, billing, at)))),
            Err(error) if is_condition_failure(&error) => Ok(Reopened::Changed),
            Err(error) => Err(LedgerError::unavailable("reopen usage event")(error)),
        }
    }
}

fn reopened(row: &UsageEventRow, billing: Rebilling, at: Timestamp) -> UsageEventRow {
    let status = UsageStatus::Pending;
    let mut row = UsageEventRow {
        status,
        billed_at: Some(billing.billed_at),
        period_start: Some(billing.period_start),
        carried_over: billing.carried_over,
        told_at: Vec::new(),
        first_attempt_at: at,
        pending_since: at,
        held_reason: None,
        stripe_code: None,
        meter_event_name: billing.meter_event_name,
        subscription_item_id: billing
            .subscription_item_id
            .or_else(|| row.subscription_item_id.clone()),
        ..row.clone()
    };
    row.history.push(HistoryEntry { status, at });
    row
}
