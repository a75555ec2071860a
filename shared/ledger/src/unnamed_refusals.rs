//! Usage that Stripe took, refused later and did not name: nobody knows which,
//! until `meterline reconcile` has compared. Each such report has an item of its own
//! in the billing events' table, beside its event's, so that any number of them has
//! room; an index of that table lists them for whoever reconciles.

use aws_sdk_dynamodb::types::{AttributeValue, Put};
use billing::Timestamp;
use serde::{Deserialize, Serialize};

use crate::billing_events::TABLE;
use crate::event_progress::{INDEX, PROGRESS, PROGRESS_AT};
use crate::items::{Item, from_item, number, text, to_item};
use crate::usage_log::READ_EVENTS_MAX;
use crate::{Ledger, LedgerError};

const KEY: &str = "stripe_event_id";
/// Where the index lists them. Their keys begin so, too, which no event's id does.
const LIST: &str = "unnamed-refusals";
const REPORT: &str = "report";

/// A report of Stripe's that says of more usage that it was refused than it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnnamedRefusals {
    /// The report's event.
    pub stripe_event_id: String,
    /// The meter, where the report is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_id: Option<String>,
    /// From when Stripe checked what it had taken, in real time.
    pub validation_start: Timestamp,
    /// Until when.
    pub validation_end: Timestamp,
    /// Events that were refused.
    pub refused_events: u64,
    /// Those of them that Stripe named.
    pub named_events: u64,
    /// Why: Stripe's codes.
    pub codes: Vec<String>,
}

impl Ledger {
    /// Those that nobody has settled yet, the oldest first. The index is behind the
    /// table for a moment.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or one is unreadable.
    pub async fn unnamed_refusals(&self) -> Result<Vec<UnnamedRefusals>, LedgerError> {
        let mut all = Vec::new();
        let mut after: Option<Item> = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.tables.billing_events)
                .index_name(INDEX)
                .projection_expression(KEY)
                .key_condition_expression("#progress = :list")
                .expression_attribute_names("#progress", PROGRESS)
                .expression_attribute_values(":list", text(LIST))
                .set_exclusive_start_key(after.take())
                .limit(i32::try_from(READ_EVENTS_MAX).unwrap_or(i32::MAX))
                .send()
                .await
                .map_err(LedgerError::unavailable("list unnamed refusals"))?;
            let keys = page.items.unwrap_or_default();
            let items = self.items_of(&self.tables.billing_events, keys).await?;
            for mut item in items {
                if let Some(AttributeValue::M(report)) = item.remove(REPORT) {
                    all.push(from_item::<UnnamedRefusals>(TABLE, report)?);
                }
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                all.sort_by_key(|refusals| refusals.validation_start);
                return Ok(all);
            }
        }
    }

    /// Takes the report of `stripe_event_id` off the list: what it was about is
    /// found. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps off.
    pub async fn settle_unnamed_refusals(&self, stripe_event_id: &str) -> Result<(), LedgerError> {
        self.client
            .delete_item()
            .table_name(&self.tables.billing_events)
            .key(KEY, key_of(stripe_event_id))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("settle unnamed refusals"))
    }

    /// The write that puts `refusals` on the list, for a transaction.
    pub(crate) fn list_unnamed_refusals(
        &self,
        refusals: &UnnamedRefusals,
    ) -> Result<Put, LedgerError> {
        let at = refusals.validation_start.unix_ms();
        Put::builder()
            .table_name(&self.tables.billing_events)
            .item(KEY, key_of(&refusals.stripe_event_id))
            .item(PROGRESS, text(LIST))
            .item(PROGRESS_AT, number(at))
            .item(REPORT, AttributeValue::M(to_item(TABLE, refusals)?))
            .build()
            .map_err(LedgerError::unavailable("build unnamed refusals"))
    }
}

fn key_of(stripe_event_id: &str) -> AttributeValue {
    text(format!("{LIST}#{stripe_event_id}"))
}
