//! What is pending, a moment after it became so: kept by the rollup, read by
//! redelivery. An entry says "look at this event"; the audit log decides.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Identifier, Timestamp};
use serde::{Deserialize, Serialize};

use crate::items::{from_item, text};
use crate::{Ledger, LedgerError};

const TABLE: &str = "outbox";

/// The hex digits that outbox and audit index are spread over.
const BUCKETS: &str = "0123456789abcdef";

/// Where an event stands in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    /// The first hex digit of the identifier.
    pub bucket: String,
    /// `{pending_since}#{identifier}`, so that a bucket is read oldest first.
    pub outbox_key: String,
}

impl OutboxKey {
    /// The place of the event `identifier` that became pending at `pending_since`.
    pub fn new(identifier: &Identifier, pending_since: Timestamp) -> Self {
        Self {
            bucket: identifier.bucket().to_owned(),
            outbox_key: format!("{:013}#{identifier}", pending_since.unix_ms()),
        }
    }
}

/// An entry of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// The first hex digit of the identifier.
    pub bucket: String,
    /// `{pending_since}#{identifier}`.
    pub outbox_key: String,
    /// The event.
    pub identifier: Identifier,
}

impl Ledger {
    /// The oldest events that became pending before `before`: up to `limit` of
    /// each of the 16 buckets, oldest first over all.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or an entry is unreadable.
    pub async fn outbox_entries(
        &self,
        before: Timestamp,
        limit: i32,
    ) -> Result<Vec<OutboxEntry>, LedgerError> {
        let mut entries: Vec<OutboxEntry> = Vec::new();
        for bucket in BUCKETS.chars() {
            let page = self
                .client
                .query()
                .table_name(&self.tables.outbox)
                .key_condition_expression("bucket = :bucket AND outbox_key < :before")
                .expression_attribute_values(":bucket", AttributeValue::S(bucket.to_string()))
                .expression_attribute_values(":before", text(format!("{:013}", before.unix_ms())))
                .limit(limit)
                .send()
                .await
                .map_err(LedgerError::unavailable("read outbox"))?;
            for item in page.items.unwrap_or_default() {
                entries.push(from_item(TABLE, item)?);
            }
        }
        entries.sort_by(|a, b| a.outbox_key.cmp(&b.outbox_key));
        Ok(entries)
    }
}
