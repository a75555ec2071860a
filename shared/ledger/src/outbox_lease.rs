//! Who may send from a bucket of the outbox: one run of redelivery at a time.
//!
//! Leases lie in the outbox's table, beside the buckets. They spare a second
//! sending; that there is never a second usage rests on the identifier alone.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use billing::{Timestamp, window};
use serde::{Deserialize, Serialize};

use crate::error::is_condition_failure;
use crate::items::{Item, from_item, number, text, to_item};
use crate::{Ledger, LedgerError};

const TABLE: &str = "outbox";
/// The leases' own partition: no bucket's, and no reader of a bucket sees it.
pub(crate) const PARTITION: &str = "lease";

/// A claim on one bucket of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxLease {
    /// The bucket: one of 16 hex digits.
    pub bucket: String,
    /// Names the process that holds it.
    pub holder: String,
    /// When it was taken, by the holder's clock.
    pub leased_at: Timestamp,
    /// For how long it holds.
    pub lasts_ms: i64,
}

/// What became of taking a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leased {
    /// The bucket is the holder's.
    Taken,
    /// Another one holds it.
    Held(OutboxLease),
}

impl Ledger {
    /// Takes `lease` where nobody holds the bucket, or the holder itself does,
    /// or another's lease is over by more than clocks may differ.
    ///
    /// `overdue` is a lease that stood unchanged for all its time, as the taker
    /// saw it: it is replaced whatever its own times say. So a clock that is
    /// minutes off neither takes a lease too early nor makes it last longer.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps taken; taking it again tells.
    pub async fn lease_outbox_bucket(
        &self,
        lease: &OutboxLease,
        overdue: Option<&OutboxLease>,
    ) -> Result<Leased, LedgerError> {
        const OPERATION: &str = "lease outbox bucket";
        let mut item = to_item(TABLE, lease)?;
        item.extend(lease_key(&lease.bucket));
        let expired = lease.leased_at.plus_ms(-window::CLOCK_MARGIN_MS);
        item.insert(
            "expires_at".to_owned(),
            number(lease.expires_at().unix_ms()),
        );
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.outbox)
            .set_item(Some(item))
            .expression_attribute_values(":holder", text(&lease.holder))
            .expression_attribute_values(":expired", number(expired.unix_ms()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let is_free = "attribute_not_exists(holder) OR holder = :holder OR expires_at < :expired";
        let put = match overdue {
            None => put.condition_expression(is_free),
            Some(overdue) => put
                .condition_expression(format!(
                    "{is_free} OR (holder = :overdue AND leased_at = :leased_at)"
                ))
                .expression_attribute_values(":overdue", text(&overdue.holder))
                .expression_attribute_values(":leased_at", number(overdue.leased_at.unix_ms())),
        };
        let Err(error) = put.send().await else {
            return Ok(Leased::Taken);
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(LedgerError::unavailable(OPERATION)(error));
        };
        match failed.item() {
            Some(held) => read_lease(&lease.bucket, held.clone()).map(Leased::Held),
            // Given back between the two.
            None => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }

    /// Gives the bucket back, if `holder` holds it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: else it is over when its time is.
    pub async fn release_outbox_bucket(
        &self,
        bucket: &str,
        holder: &str,
    ) -> Result<(), LedgerError> {
        let released = self
            .client
            .delete_item()
            .table_name(&self.tables.outbox)
            .set_key(Some(lease_key(bucket)))
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(holder))
            .send()
            .await;
        match released {
            Ok(_) => Ok(()),
            Err(error) if is_condition_failure(&error) => Ok(()),
            Err(error) => Err(LedgerError::unavailable("release outbox bucket")(error)),
        }
    }
}

impl OutboxLease {
    /// When it is over, by the holder's clock.
    const fn expires_at(&self) -> Timestamp {
        self.leased_at.plus_ms(self.lasts_ms)
    }
}

fn lease_key(bucket: &str) -> Item {
    Item::from([
        ("bucket".to_owned(), text(PARTITION)),
        ("outbox_key".to_owned(), text(bucket)),
    ])
}

/// The item's `bucket` is the partition; the lease's is its sort key.
fn read_lease(bucket: &str, mut item: Item) -> Result<OutboxLease, LedgerError> {
    item.insert("bucket".to_owned(), text(bucket));
    from_item(TABLE, item)
}
