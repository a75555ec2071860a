//! Usage that Stripe took, refused later and did not name: nobody knows which,
//! until `meterline reconcile` has compared. One item of the billing events'
//! table lists such reports, each as an attribute under its event's id, so that
//! whoever reconciles finds them by one read.

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use billing::Timestamp;
use serde::{Deserialize, Serialize};

use crate::billing_events::TABLE;
use crate::items::{from_item, text, to_item};
use crate::{Ledger, LedgerError};

const KEY: &str = "under-reconciliation";

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
    /// Those that nobody has settled yet, the oldest first.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or one is unreadable.
    pub async fn unnamed_refusals(&self) -> Result<Vec<UnnamedRefusals>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(KEY))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read unnamed refusals"))?;
        let listed = got.item.unwrap_or_default().into_values();
        let mut all = Vec::new();
        for value in listed {
            if let AttributeValue::M(item) = value {
                all.push(from_item::<UnnamedRefusals>(TABLE, item)?);
            }
        }
        all.sort_by_key(|refusals| refusals.validation_start);
        Ok(all)
    }

    /// Takes the report of `stripe_event_id` off the list: what it was about is
    /// found. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps off.
    pub async fn settle_unnamed_refusals(&self, stripe_event_id: &str) -> Result<(), LedgerError> {
        self.client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(KEY))
            .update_expression("REMOVE #report")
            .expression_attribute_names("#report", stripe_event_id)
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("settle unnamed refusals"))
    }

    /// The write that puts `refusals` on the list, for a transaction.
    pub(crate) fn list_unnamed_refusals(
        &self,
        refusals: &UnnamedRefusals,
    ) -> Result<Update, LedgerError> {
        Update::builder()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(KEY))
            .update_expression("SET #report = :report")
            .expression_attribute_names("#report", &refusals.stripe_event_id)
            .expression_attribute_values(":report", AttributeValue::M(to_item(TABLE, refusals)?))
            .build()
            .map_err(LedgerError::unavailable("build unnamed refusals"))
    }
}
