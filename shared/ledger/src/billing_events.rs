//! Stripe's webhook events, each applied once.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use billing::{CustomerId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::is_condition_failure;
use crate::items::{from_item, number, text, to_item};
use crate::{CustomerRow, Delivery, Ledger, LedgerError, UnnamedRefusals, customers};

pub(crate) const TABLE: &str = "billing-events";

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingEventState {
    /// Its effect is stored; the notifications may not be out.
    Applied,
    /// The notifications are out too.
    Done,
}

/// One webhook event of Stripe; or news that Meterline has itself, and that goes out as
/// what comes of those does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingEventRow {
    /// Stripe's id of the event: the table's key. Of news of ours, the notification's.
    pub stripe_event_id: String,
    /// Its type, such as `invoice.paid`. Of news of ours, its kind.
    pub event_type: String,
    /// The customer that it is about, where it is about one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// When Stripe made it.
    pub created_at: Timestamp,
    /// When it was applied.
    pub applied_at: Timestamp,
    /// How far it has come.
    pub state: BillingEventState,
    /// What to tell the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<StoredNotification>,
    /// How each of them stands that goes out by another way than the topic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deliveries: Vec<Delivery>,
}

/// Something to tell the operator; repeated as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredNotification {
    /// The same at each repeat, to drop repeats by.
    pub id: String,
    /// What kind of news it is.
    pub kind: String,
    /// The news, as JSON.
    pub message: String,
}

/// What follows from an event, and is stored with it or not at all.
#[derive(Clone, Debug)]
pub enum Consequence<'a> {
    /// The customer who was read as `read` becomes `row`.
    CustomerChanges {
        /// The row as it was read.
        read: &'a CustomerRow,
        /// The new one.
        row: &'a CustomerRow,
    },
    /// Usage was refused that has to be looked for.
    UnnamedRefusals(&'a UnnamedRefusals),
}

/// What became of applying an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Event and customer are stored, together.
    Done,
    /// The event was applied before; its row, as it stands.
    Before(BillingEventRow),
    /// The customer changed since it was read: nothing was written.
    VersionConflict,
}

impl Ledger {
    /// Stores `event` and, in the same transaction, what follows from it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps applied; a repeat tells.
    pub async fn apply_billing_event(
        &self,
        event: &BillingEventRow,
        consequence: Option<Consequence<'_>>,
    ) -> Result<Applied, LedgerError> {
        const OPERATION: &str = "apply billing event";
        let mut item = to_item(TABLE, event)?;
        item.extend(event.index_key());
        let put_event = Put::builder()
            .table_name(&self.tables.billing_events)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(stripe_event_id)")
            .build()
            .map_err(LedgerError::unavailable(OPERATION))?;
        let mut items = vec![TransactWriteItem::builder().put(put_event).build()];
        match consequence {
            Some(Consequence::CustomerChanges { read, row }) => {
                let put = self.replace_customer(read, row)?;
                items.push(TransactWriteItem::builder().put(put).build());
            }
            Some(Consequence::UnnamedRefusals(refusals)) => {
                let put = self.list_unnamed_refusals(refusals)?;
                items.push(TransactWriteItem::builder().put(put).build());
            }
            None => {}
        }
        let transaction = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .send()
            .await;
        let Err(error) = transaction else {
            return Ok(Applied::Done);
        };
        let failed = |position: usize| match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
                .cancellation_reasons()
                .get(position)
                .is_some_and(|reason| reason.code() == Some("ConditionalCheckFailed")),
            _ => false,
        };
        if failed(0) {
            return match self.billing_event(&event.stripe_event_id).await? {
                Some(before) => Ok(Applied::Before(before)),
                None => Err(LedgerError::unavailable(OPERATION)(error)),
            };
        }
        if failed(1) {
            return Ok(Applied::VersionConflict);
        }
        Err(LedgerError::unavailable(OPERATION)(error))
    }

    /// Stores `event`, from which nothing else follows, unless it is stored.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps stored; a repeat is safe.
    pub async fn store_billing_event(&self, event: &BillingEventRow) -> Result<(), LedgerError> {
        let mut item = to_item(TABLE, event)?;
        item.extend(event.index_key());
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.billing_events)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(stripe_event_id)")
            .send()
            .await;
        match put {
            Err(error) if !is_condition_failure(&error) => {
                Err(LedgerError::unavailable("store billing event")(error))
            }
            _ => Ok(()),
        }
    }

    fn replace_customer(&self, read: &CustomerRow, row: &CustomerRow) -> Result<Put, LedgerError> {
        let row = CustomerRow {
            version: read.version.saturating_add(1),
            ..row.clone()
        };
        Put::builder()
            .table_name(&self.tables.customers)
            .set_item(Some(to_item(customers::TABLE, &row)?))
            .condition_expression("#version = :read")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":read", number(read.version))
            .build()
            .map_err(LedgerError::unavailable("build customer's change"))
    }

    /// The row of a Stripe event, if it was applied.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn billing_event(
        &self,
        stripe_event_id: &str,
    ) -> Result<Option<BillingEventRow>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(stripe_event_id))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read billing event"))?;
        got.item.map(|item| from_item(TABLE, item)).transpose()
    }

    /// Notes that an applied event's notifications are out.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: the notifications may be sent again.
    pub async fn finish_billing_event(&self, stripe_event_id: &str) -> Result<(), LedgerError> {
        self.client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(stripe_event_id))
            .update_expression("SET #state = :done")
            .condition_expression("attribute_exists(stripe_event_id)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":done", text("done"))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("finish billing event"))
    }
}
