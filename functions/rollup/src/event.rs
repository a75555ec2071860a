//! The rollup as Lambda's event source mapping calls it (AWS Lambda Developer
//! Guide: "Using AWS Lambda with Amazon DynamoDB", tumbling windows).

use std::sync::Arc;

use billing::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_dynamo::Item;
use serde_json::{Map, Value};
use web::SystemClock;
use web::metrics::{Figure, Metrics, Unit};

use crate::limits::{self, LimitLooks};
use crate::record::{InvalidSequenceNumber, SequenceNumber, StreamRecord, unreadable};
use crate::rollup::{Rollup, RollupError};

/// The name under which the only shard of an emulator's stream is checkpointed.
const SINGLE_SHARD: &str = "single-shard";

/// A shard that is behind, by a batch like this, first catches up: limits are looked at
/// once it has.
const LARGE_BATCH_RECORDS: usize = 500;
const BEHIND_MS: i64 = 5_000;

/// A batch of stream records. Only what the rollup uses is read, and the images
/// last, each by itself: one that is malformed must not stop the others.
#[derive(Debug, Deserialize)]
pub struct StreamEvent {
    /// None in the closing call of a window.
    #[serde(rename = "Records", default)]
    records: Vec<EventRecord>,
    /// Present because the mapping has a tumbling window.
    #[serde(rename = "shardId", default)]
    shard_id: Option<String>,
    /// What the last call of this window answered.
    #[serde(default)]
    state: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct EventRecord {
    dynamodb: EventRecordChange,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EventRecordChange {
    /// When the row changed, in Unix seconds: for the metrics alone, so that
    /// whatever it is, the record counts.
    #[serde(default)]
    approximate_creation_date_time: Value,
    #[serde(default)]
    sequence_number: String,
    #[serde(default)]
    old_image: Option<Value>,
    #[serde(default)]
    new_image: Option<Value>,
}

impl EventRecord {
    fn created_at(&self) -> Option<Timestamp> {
        let unix_s = self.dynamodb.approximate_creation_date_time.as_i64();
        unix_s.map(Timestamp::from_unix_s)
    }

    fn read(self) -> Result<StreamRecord, InvalidSequenceNumber> {
        let EventRecordChange {
            sequence_number,
            old_image,
            new_image,
            ..
        } = self.dynamodb;
        let item = |image: Option<Value>| image.map(serde_json::from_value::<Item>).transpose();
        match (item(old_image), item(new_image)) {
            (Ok(old), Ok(new)) => StreamRecord::read(&sequence_number, old, new),
            (Err(error), _) | (_, Err(error)) => Ok(StreamRecord {
                sequence_number: SequenceNumber::parse(&sequence_number)?,
                change: unreadable(None, format!("an image is no item: {error}")),
            }),
        }
    }
}

/// The answer: what a function in a tumbling window must give. The state comes
/// back as it came; the checkpoint is kept with the totals, where it cannot be
/// lost between two calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    state: Map<String, Value>,
}

/// Why a batch must come again.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event names no shard: its records have no checkpoint, and counting
    /// them under another's would count wrongly.
    #[error(
        "the event names no shardId: the mapping needs a tumbling window, \
         or SINGLE_SHARD_STREAM=true for an emulator with one shard"
    )]
    NoShard,
    /// A record has no place in its shard.
    #[error(transparent)]
    SequenceNumber(#[from] InvalidSequenceNumber),
    /// The records could not be applied.
    #[error(transparent)]
    Rollup(#[from] RollupError),
}

/// Handles the calls of an event source mapping.
#[derive(Clone, Debug)]
pub struct Handler {
    rollup: Rollup,
    limits: Option<Arc<LimitLooks>>,
    is_single_shard: bool,
    metrics: Metrics,
}

impl Handler {
    /// Handles events with `rollup`. `is_single_shard` says that the stream has
    /// one shard, so that an event need not name it: for emulators alone.
    pub fn new(rollup: Rollup, is_single_shard: bool) -> Self {
        Self {
            rollup,
            limits: None,
            is_single_shard,
            metrics: Metrics::default(),
        }
    }

    /// Tells `metrics` how many records were counted and set aside, and how
    /// old the oldest of a batch was once it was counted.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Has `limits` looked at after each batch.
    #[must_use]
    pub fn with_limits(self, limits: LimitLooks) -> Self {
        Self {
            limits: Some(Arc::new(limits)),
            ..self
        }
    }

    /// Applies one batch, and then looks at the limits of whose usage grew.
    ///
    /// # Errors
    /// [`HandlerError`]: Lambda brings the batch again.
    pub async fn handle(&self, event: StreamEvent) -> Result<Answer, HandlerError> {
        let shard_id = match event.shard_id {
            Some(shard_id) => shard_id,
            None if self.is_single_shard => SINGLE_SHARD.to_owned(),
            None => return Err(HandlerError::NoShard),
        };
        let oldest = event
            .records
            .iter()
            .filter_map(EventRecord::created_at)
            .min();
        let records: Result<Vec<_>, _> = event.records.into_iter().map(EventRecord::read).collect();
        let records = records?;
        let size = records.len();
        let grown = limits::grown(&records);
        let applied = self.rollup.apply(&shard_id, records).await;
        let applied = applied.inspect_err(|error| log_failure(&shard_id, error))?;
        tracing::info!(
            shard_id,
            records = applied.records,
            skipped = applied.skipped,
            set_aside = applied.set_aside,
            transactions = applied.transactions,
            "rolled up"
        );
        let count = |records: usize| u64::try_from(records).unwrap_or(0);
        let mut figures: Vec<Figure> = vec![
            ("records", Unit::Count, count(applied.records)),
            ("poison", Unit::Count, count(applied.set_aside)),
        ];
        let lag_ms = oldest.map(|oldest| SystemClock.now().ms_since(oldest).max(0));
        if let Some(lag_ms) = lag_ms.and_then(|lag_ms| u64::try_from(lag_ms).ok()) {
            figures.push(("rollup_lag_ms", Unit::Milliseconds, lag_ms));
        }
        let is_behind = size >= LARGE_BATCH_RECORDS && lag_ms > Some(BEHIND_MS);
        if let Some(limits) = self.limits.as_ref().filter(|_| is_behind) {
            limits.put_off(grown);
        } else if let Some(limits) = &self.limits {
            let report = limits.look(grown).await;
            figures.extend([
                ("limit_alerts", Unit::Count, count(report.looked.raised)),
                (
                    "limit_alerts_untold",
                    Unit::Count,
                    count(report.looked.untold),
                ),
                ("limit_looks_failed", Unit::Count, count(report.late)),
            ]);
        }
        self.metrics.write(&figures);
        Ok(Answer {
            state: event.state.unwrap_or_default(),
        })
    }
}

/// The runtime reports an error's own words; its causes are told here.
fn log_failure(shard_id: &str, error: &RollupError) {
    let source = std::error::Error::source(error).map(tracing::field::debug);
    tracing::error!(shard_id, error = %error, source, "the batch must come again");
}
