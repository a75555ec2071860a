//! `meterline rebuild`: totals and outbox against the audit log they were made
//! from, and set right by it.
//!
//! Exact because of one condition, which is checked and not assumed: between
//! the rollup's checkpoints and the end of the reading, the audit log did not
//! change. Its stream says so: it holds no record after any checkpoint, before
//! the reading and after it. Why that is enough: `docs/corrections.md`, "Rebuild".

mod comparison;
pub(crate) mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

use billing::{CustomerId, Timestamp};
use ledger::{ENTRY_EVENTS_MAX, Ledger, LedgerError, OutboxEntry, Updated, UsageEventFilter};
use tokio::time::Instant;

use comparison::Comparison;
use stream::Stream;

pub use comparison::Difference;
pub use stream::StreamError;

/// How long a change may take to appear in the stream; a second is much.
const STREAM_DELAY: Duration = Duration::from_secs(10);
/// What nobody would have sent is due at once, whatever clock said since when it
/// is pending.
const DUE_AT_ONCE: Timestamp = Timestamp::from_unix_ms(0);
/// Between two looks at a system that is not at rest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A table failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The audit log has no stream.
    #[error("the audit log has no stream")]
    NoStream,
    /// The rollup has not caught up, or usage was recorded meanwhile.
    #[error(
        "the system is not at rest: the rollup has not read what shard {shard_id} holds. \
         Pause emission and redelivery, and let the rollup catch up"
    )]
    NotAtRest {
        /// A shard with records after its checkpoint.
        shard_id: String,
    },
    /// Somebody reserved meanwhile.
    #[error(
        "the system is not at rest: units of {0} were reserved or given back meanwhile. Pause \
         emission and redelivery"
    )]
    Reserved(CustomerId),
}

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Events of the audit log.
    pub events: u64,
    /// What was not as the log says.
    pub differences: Vec<Difference>,
}

/// Compares, and rebuilds.
pub struct Rebuilder {
    ledger: Ledger,
    streams: aws_sdk_dynamodbstreams::Client,
    patience: Duration,
    stream_delay: Duration,
}

impl Rebuilder {
    /// For the tables of `ledger`, whose stream is read through `streams`.
    pub const fn new(ledger: Ledger, streams: aws_sdk_dynamodbstreams::Client) -> Self {
        Self {
            ledger,
            streams,
            patience: Duration::ZERO,
            stream_delay: STREAM_DELAY,
        }
    }

    /// Waits for up to `patience` for the system to come to rest.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// For a DynamoDB whose stream has a change at once: an embedded one.
    #[must_use]
    pub const fn with_stream_delay(mut self, stream_delay: Duration) -> Self {
        self.stream_delay = stream_delay;
        self
    }

    /// Compares, and changes nothing. `progress` is told how many events have
    /// been read.
    ///
    /// # Errors
    /// A [`RebuildError`].
    pub async fn check(&self, progress: impl FnMut(u64)) -> Result<RebuildReport, RebuildError> {
        let stream = self.stream().await?;
        self.await_rest(&stream).await?;
        self.compare(&stream, progress).await
    }

    /// Compares, and sets right what differs. The report says what was found
    /// before.
    ///
    /// What it sets lies in a slot of its own, whose value follows from what
    /// was read at rest alone: what the rollup counts from then on comes on top.
    ///
    /// # Errors
    /// A [`RebuildError`]. Cut short, it is run again.
    pub async fn rebuild(&self, progress: impl FnMut(u64)) -> Result<RebuildReport, RebuildError> {
        let report = self.check(progress).await?;
        let mut missing = Vec::new();
        for difference in &report.differences {
            match difference {
                Difference::Total { key, to_add, .. } => {
                    self.ledger.set_rebuilt_total(key, to_add).await?;
                }
                Difference::Reserved {
                    customer_id,
                    period_start,
                    due,
                    found,
                } => {
                    let period = (customer_id, *period_start);
                    let set = self
                        .ledger
                        .set_reserved(period, found.as_ref(), due)
                        .await?;
                    if set == Updated::VersionConflict {
                        return Err(RebuildError::Reserved(customer_id.clone()));
                    }
                }
                Difference::NotInOutbox {
                    identifier,
                    pending_since,
                } => missing.push((identifier.clone(), *pending_since)),
                Difference::Unreadable(_) | Difference::UnreadableEntry(_) => {}
            }
        }
        for missing in missing.chunks(ENTRY_EVENTS_MAX) {
            let missing: BTreeMap<_, _> = missing.iter().cloned().collect();
            // Of what lies at the same place, the last became pending at the same time.
            let last = missing.values().max().map(|last| last.unix_ms());
            let named = missing.keys().next().zip(last);
            let origin = named.map(|(first, last)| format!("rebuilt#{last}#{first}"));
            let entry = origin.and_then(|it| OutboxEntry::new(&it, &missing, DUE_AT_ONCE));
            if let Some(entry) = entry {
                self.ledger.put_outbox_entry(&entry).await?;
            }
        }
        Ok(report)
    }

    async fn stream(&self) -> Result<Stream, RebuildError> {
        let arn = self.ledger.usage_events_stream().await?;
        let arn = arn.ok_or(RebuildError::NoStream)?;
        Ok(Stream::new(self.streams.clone(), arn))
    }

    async fn await_rest(&self, stream: &Stream) -> Result<(), RebuildError> {
        let until = Instant::now() + self.patience;
        loop {
            let checkpoints = self.checkpoints(stream).await?;
            match at_rest(stream, &checkpoints).await {
                Err(RebuildError::NotAtRest { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                rest => return rest,
            }
        }
    }

    /// Reads both sides, between two looks at the stream.
    async fn compare(
        &self,
        stream: &Stream,
        progress: impl FnMut(u64),
    ) -> Result<RebuildReport, RebuildError> {
        let checkpoints = self.checkpoints(stream).await?;
        at_rest(stream, &checkpoints).await?;
        let mut comparison = Comparison::default();
        self.read_log(&mut comparison, progress).await?;
        self.read_totals(&mut comparison).await?;
        self.read_outbox(&mut comparison).await?;
        tokio::time::sleep(self.stream_delay).await;
        let mut checkpoints_after = self.checkpoints(stream).await?;
        at_rest(stream, &checkpoints).await?;
        checkpoints_after
            .retain(|shard_id, checkpoint| checkpoints.get(shard_id) != Some(checkpoint));
        // A new shard, or a checkpoint that has moved: the log has changed.
        if let Some((shard_id, _)) = checkpoints_after.pop_first() {
            return Err(RebuildError::NotAtRest { shard_id });
        }
        Ok(RebuildReport {
            events: comparison.events(),
            differences: comparison.differences(),
        })
    }

    async fn checkpoints(
        &self,
        stream: &Stream,
    ) -> Result<BTreeMap<String, Option<String>>, RebuildError> {
        let mut checkpoints = BTreeMap::new();
        for shard_id in stream.shards().await? {
            let checkpoint = self.ledger.checkpoint(&shard_id).await?;
            checkpoints.insert(shard_id, checkpoint);
        }
        Ok(checkpoints)
    }

    async fn read_log(
        &self,
        comparison: &mut Comparison,
        mut progress: impl FnMut(u64),
    ) -> Result<(), RebuildError> {
        let everything = UsageEventFilter::default();
        let mut cursor = None;
        loop {
            let page = self.ledger.scan_usage_events(&everything, cursor).await?;
            for row in &page.rows {
                comparison.log(row);
            }
            for key in page.unreadable {
                comparison.unreadable(key);
            }
            progress(comparison.events());
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_totals(&self, comparison: &mut Comparison) -> Result<(), RebuildError> {
        let mut cursor = None;
        loop {
            let page = self.ledger.scan_totals(cursor).await?;
            page.counted
                .iter()
                .for_each(|total| comparison.counted(total));
            page.rebuilt
                .iter()
                .for_each(|total| comparison.rebuilt(total));
            for row in &page.reservations {
                comparison.reservation(row);
            }
            for (customer_id, period_start, found) in page.reserved {
                comparison.reserved(customer_id, period_start, found);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_outbox(&self, comparison: &mut Comparison) -> Result<(), RebuildError> {
        let mut cursor = None;
        loop {
            let page = self.ledger.scan_outbox(cursor).await?;
            for entry in page.entries {
                comparison.outbox(entry);
            }
            for key in page.unreadable {
                comparison.unreadable_entry(key);
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}

/// Whether the stream holds nothing after `checkpoints`.
async fn at_rest(
    stream: &Stream,
    checkpoints: &BTreeMap<String, Option<String>>,
) -> Result<(), RebuildError> {
    for (shard_id, checkpoint) in checkpoints {
        if stream.has_more(shard_id, checkpoint.as_deref()).await? {
            let shard_id = shard_id.clone();
            return Err(RebuildError::NotAtRest { shard_id });
        }
    }
    Ok(())
}
