//! Credits for voided usage that can no longer be taken out of its meter. A
//! credit's amount is fixed here before Stripe is told of it, so that a void
//! that is resumed gives the same one.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use billing::{CustomerId, Timestamp, UsageStatus};
use serde::{Deserialize, Serialize};

use crate::items::{number, text};
use crate::{Ledger, LedgerError, UsageEventRow};

/// What a customer was credited so far for one meter's voided usage of one period. It
/// shares the customers' table; its key holds a `#`, which no customer id can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidCredits {
    /// Units of the credited events.
    pub units: u64,
    /// All their credits, in minor units.
    pub minor_units: i64,
    /// Counts the changes, so that no credit is reckoned from an old sum.
    pub version: u64,
}

/// What became of fixing a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditFixed {
    /// The event's row names its credit now, and the period's sum holds it.
    Done,
    /// The sum or the row has changed since it was read, perhaps by this very
    /// call, whose answer was lost: nothing was written.
    Changed,
}

impl Ledger {
    /// What the customer of `row` was credited for voided usage of the row's
    /// meter in the period that began at `period_start`.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the item is unreadable.
    pub async fn void_credits(
        &self,
        row: &UsageEventRow,
        period_start: Timestamp,
    ) -> Result<VoidCredits, LedgerError> {
        let (customer_id, meter) = (&row.customer_id, &row.meter_event_name);
        self.void_credits_of(customer_id, meter, period_start).await
    }

    /// What `customer_id` was credited for voided usage of the meter that listens
    /// to `meter_event_name`, in the period that began at `period_start`.
    ///
    /// # Errors
    /// As [`void_credits`](Self::void_credits).
    pub async fn void_credits_of(
        &self,
        customer_id: &CustomerId,
        meter_event_name: &str,
        period_start: Timestamp,
    ) -> Result<VoidCredits, LedgerError> {
        let key = credits_key(customer_id, meter_event_name, period_start);
        let credits = self.row_of_customers(&key, "read void credits").await?;
        Ok(credits.unwrap_or_default())
    }

    /// Fixes the credit for `row`, a voiding one, at `minor_units`, if the
    /// credits of its period still are the ones that were read as `read`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps fixed; the row tells.
    pub async fn fix_void_credit(
        &self,
        row: &UsageEventRow,
        period_start: Timestamp,
        read: &VoidCredits,
        minor_units: i64,
    ) -> Result<CreditFixed, LedgerError> {
        let sum = self.add_to_credits(row, period_start, read, minor_units)?;
        let event = Update::builder()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(row.identifier.as_str()))
            .update_expression("SET void_credit_minor_units = :credit")
            .condition_expression(
                "#status = :voiding AND attribute_not_exists(void_credit_minor_units)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":voiding", text(UsageStatus::Voiding.as_str()))
            .expression_attribute_values(":credit", number(minor_units))
            .build()
            .map_err(LedgerError::unavailable("build void credit"))?;
        let items = [sum, event].map(|update| TransactWriteItem::builder().update(update).build());
        let transaction = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items.into()))
            .send()
            .await;
        let Err(error) = transaction else {
            return Ok(CreditFixed::Done);
        };
        let has_changed = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
                .cancellation_reasons()
                .iter()
                .any(|reason| reason.code() == Some("ConditionalCheckFailed")),
            _ => false,
        };
        if has_changed {
            Ok(CreditFixed::Changed)
        } else {
            Err(LedgerError::unavailable("fix void credit")(error))
        }
    }

    fn add_to_credits(
        &self,
        row: &UsageEventRow,
        period_start: Timestamp,
        read: &VoidCredits,
        minor_units: i64,
    ) -> Result<Update, LedgerError> {
        let key = credits_key(&row.customer_id, &row.meter_event_name, period_start);
        let update = Update::builder()
            .table_name(&self.tables.customers)
            .key("customer_id", text(key))
            .update_expression("SET #units = :units, minor_units = :sum, #version = :next")
            .expression_attribute_names("#units", "units")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":units", number(read.units.saturating_add(row.quantity)))
            .expression_attribute_values(
                ":sum",
                number(read.minor_units.saturating_add(minor_units)),
            )
            .expression_attribute_values(":next", number(read.version.saturating_add(1)));
        let update = if read.version == 0 {
            update.condition_expression("attribute_not_exists(#version)")
        } else {
            update
                .condition_expression("#version = :read")
                .expression_attribute_values(":read", number(read.version))
        };
        update
            .build()
            .map_err(LedgerError::unavailable("build void credits"))
    }
}

fn credits_key(
    customer_id: &CustomerId,
    meter_event_name: &str,
    period_start: Timestamp,
) -> String {
    let period_start_s = period_start.unix_s();
    format!("void-credits#{customer_id}#{period_start_s}#{meter_event_name}")
}
