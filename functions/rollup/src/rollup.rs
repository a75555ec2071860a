//! Applies records, each once, however often and in whatever batches they come.

use std::time::Duration;

use billing::Clock;
use ledger::{Advanced, Ledger, LedgerError};
use web::SystemClock;

use crate::chunk::Chunk;
use crate::record::{SequenceNumber, StreamRecord};

/// Failures in a row after which a batch is given back, to come again.
const FAILURES_MAX: u32 = 4;
/// The wait after the first failure; it grows with each.
const FAILURE_WAIT: Duration = Duration::from_millis(50);

/// Keeps totals and outbox in step with the audit log's stream.
#[derive(Clone, Debug)]
pub struct Rollup {
    ledger: Ledger,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that this call counted, the unreadable ones included.
    pub records: usize,
    /// Records that had been counted before, by this call's checkpoint.
    pub skipped: usize,
    /// Unreadable records that this call set aside.
    pub set_aside: usize,
    /// Transactions that this call made.
    pub transactions: usize,
}

/// Why a batch must come again. What was applied of it stays applied.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// DynamoDB keeps failing.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The checkpoint is refused as outdated, and reads as it did before.
    #[error("the checkpoint of a shard can be read and not moved")]
    Checkpoint,
}

impl Rollup {
    /// A rollup into the totals and the outbox of `ledger`.
    pub const fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Applies `records` of the shard `shard_id`: every one that lies beyond
    /// the shard's checkpoint, in order, and once, whatever overlaps or repeats.
    ///
    /// # Errors
    /// [`RollupError`] where DynamoDB keeps failing: the batch must come again.
    pub async fn apply(
        &self,
        shard_id: &str,
        mut records: Vec<StreamRecord>,
    ) -> Result<Applied, RollupError> {
        records.sort_by(|a, b| a.sequence_number.cmp(&b.sequence_number));
        records.dedup_by(|a, b| a.sequence_number == b.sequence_number);
        let mut applied = Applied::default();
        let mut checkpoint = self.ledger.checkpoint(shard_id).await?;
        let mut failures = 0;
        while let Some(chunk) = Chunk::next(beyond(&records, checkpoint.as_deref())) {
            let next = chunk.last.as_str();
            let mut is_overtaken = false;
            let advanced = self
                .ledger
                .advance(
                    shard_id,
                    checkpoint.as_deref(),
                    next,
                    &chunk.advance,
                    SystemClock.now(),
                )
                .await;
            match advanced {
                Ok(Advanced::Done) => {
                    applied.add(&chunk);
                    log_set_aside(shard_id, &chunk);
                    checkpoint = Some(next.to_owned());
                    failures = 0;
                    continue;
                }
                Ok(Advanced::Overtaken) => is_overtaken = true,
                Err(error) if failures + 1 >= FAILURES_MAX => return Err(error.into()),
                Err(error) => {
                    failures += 1;
                    log_failure(shard_id, failures, &error);
                    tokio::time::sleep(FAILURE_WAIT * failures).await;
                }
            }
            // Whether the answer was lost or another batch was first: the
            // checkpoint says what has been counted.
            let found = self.ledger.checkpoint(shard_id).await?;
            if found.as_deref() == Some(next) {
                applied.add(&chunk);
                log_set_aside(shard_id, &chunk);
                failures = 0;
            }
            if is_overtaken && found == checkpoint {
                return Err(RollupError::Checkpoint);
            }
            checkpoint = found;
        }
        applied.skipped = records.len().saturating_sub(applied.records);
        Ok(applied)
    }
}

impl Applied {
    fn add(&mut self, chunk: &Chunk<'_>) {
        self.records += chunk.records;
        self.set_aside += chunk.poison.len();
        self.transactions += 1;
    }
}

/// The records after `checkpoint`.
fn beyond<'a>(records: &'a [StreamRecord], checkpoint: Option<&str>) -> &'a [StreamRecord] {
    let is_counted = |sequence_number: &SequenceNumber| {
        checkpoint.is_some_and(|checkpoint| sequence_number.as_str() <= checkpoint)
    };
    let counted = records.partition_point(|record| is_counted(&record.sequence_number));
    records.get(counted..).unwrap_or_default()
}

fn log_set_aside(shard_id: &str, chunk: &Chunk<'_>) {
    for (sequence_number, poison) in &chunk.poison {
        tracing::error!(
            shard_id,
            %sequence_number,
            identifier = poison.identifier,
            reason = poison.reason,
            "a stream record cannot be counted: it is set aside, and the totals need a rebuild"
        );
    }
}

fn log_failure(shard_id: &str, failures: u32, error: &LedgerError) {
    tracing::warn!(
        shard_id,
        failures,
        error = %error,
        source = std::error::Error::source(error).map(tracing::field::debug),
        "the rollup did not move; its checkpoint is read again"
    );
}
