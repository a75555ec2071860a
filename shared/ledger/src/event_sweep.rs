//! How far the sweep through Stripe's lists of events has come: what it brings
//! is what no webhook brought. It shares the billing events' table; its keys are
//! no event's id.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::Timestamp;
use serde::{Deserialize, Serialize};

use crate::billing_events::TABLE;
use crate::error::is_condition_failure;
use crate::items::{from_item, number, text, to_item};
use crate::{Ledger, LedgerError, Updated};

/// A list of Stripe's that is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweptList {
    /// `GET /v1/events`.
    Snapshot,
    /// `GET /v2/core/events`.
    Thin,
}

impl SweptList {
    const fn key(self) -> &'static str {
        match self {
            Self::Snapshot => "event-sweep",
            Self::Thin => "event-sweep-thin",
        }
    }
}

/// How far a sweep has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSweep {
    /// What Stripe made before this is dealt with.
    pub through: Timestamp,
    /// The part of the list that is being gone through; none between two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<SweepWindow>,
    /// Counts the changes, so that of two runs at once only one goes on.
    pub version: u64,
}

/// A part of the list, from the newest event to the oldest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepWindow {
    /// Events made at or after this.
    pub from: Timestamp,
    /// And before this.
    pub until: Timestamp,
    /// The page that comes next, by Stripe's name for it; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// The last event of that page that was looked at; none before its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<String>,
    /// When the oldest event was made that could not be dealt with up to
    /// there: the next window begins there again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_failed: Option<Timestamp>,
}

impl SweepWindow {
    /// Up to where all is dealt with, once its last page is gone through.
    pub fn dealt_with_through(&self) -> Timestamp {
        self.oldest_failed
            .map_or(self.until, |failed| failed.min(self.until))
    }
}

impl Ledger {
    /// How far the sweep through `list` has come; none before the first one.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn event_sweep(&self, list: SweptList) -> Result<Option<EventSweep>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(list.key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read event sweep"))?;
        got.item.map(|item| from_item(TABLE, item)).transpose()
    }

    /// Notes how far it has come, if it still is where `read` says.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps noted.
    pub async fn put_event_sweep(
        &self,
        list: SweptList,
        read: Option<&EventSweep>,
        sweep: &EventSweep,
    ) -> Result<Updated, LedgerError> {
        let mut item = to_item(TABLE, sweep)?;
        let key = AttributeValue::S(list.key().to_owned());
        item.insert("stripe_event_id".to_owned(), key);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.billing_events)
            .set_item(Some(item));
        let put = match read {
            None => put.condition_expression("attribute_not_exists(stripe_event_id)"),
            Some(read) => put
                .condition_expression("#version = :read")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":read", number(read.version)),
        };
        match put.send().await {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("note event sweep")(error)),
        }
    }
}
