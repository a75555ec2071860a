//! How far the rollup is behind the audit log's stream.

use billing::Timestamp;
use ledger::Ledger;

use super::StatusError;
use crate::rebuild::stream::Stream;

/// The age of the oldest record, at `now`, behind any shard's checkpoint; 0 where there
/// is none. DynamoDB tells a record's time to the second.
pub(super) async fn lag_ms(
    ledger: &Ledger,
    stream: &Stream,
    now: Timestamp,
) -> Result<i64, StatusError> {
    let mut lag_ms = 0;
    for shard_id in stream.shards().await? {
        let checkpoint = ledger.checkpoint(&shard_id).await?;
        let first = stream.first_after(&shard_id, checkpoint.as_deref()).await?;
        let made_at = first
            .and_then(|record| record.dynamodb)
            .and_then(|change| change.approximate_creation_date_time)
            .and_then(|at| at.to_millis().ok());
        if let Some(made_at) = made_at {
            lag_ms = lag_ms.max(now.ms_since(Timestamp::from_unix_ms(made_at)));
        }
    }
    Ok(lag_ms)
}
