//! Lambda's event source mapping, here: follows the audit log's stream shard by
//! shard and hands its records to the rollup as Lambda would, over and over
//! until they are taken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::{AttributeValue, Record, Shard, ShardIteratorType};
use ledger::{Ledger, LedgerError};
use rollup::{Handler, HandlerError, LimitLooks, Rollup, StreamEvent};
use serde_dynamo::Item;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dynamodb::StreamRecords;

/// How often a shard is read: as Lambda does it (AWS Lambda Developer Guide:
/// "Using AWS Lambda with Amazon DynamoDB"). Read more often, each event would
/// be met twice, pending and delivered, and cost a trip through the outbox.
const POLL: Duration = Duration::from_millis(250);
/// As many records as the template lets a batch have: where so many came, more
/// may be waiting, and are read at once.
const BATCH_RECORDS: usize = 1_000;
/// The pauses after failures.
const FAILURE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Records that were rolled up before they are forgotten.
const TRIM_EVERY: usize = 1_000;

/// Follows the audit log's stream.
#[derive(Debug)]
pub struct StreamPump {
    tables: aws_sdk_dynamodb::Client,
    streams: Client,
    ledger: Ledger,
    handler: Handler,
    /// Of an embedded DynamoDB, which does not forget by itself.
    records: Option<StreamRecords>,
    /// One pass at a time: two would only overtake each other.
    place: Mutex<Place>,
}

/// How far the stream is read. The checkpoints beside the totals count; this is
/// lost at every failure and found again from them.
#[derive(Debug, Default)]
struct Place {
    /// The iterator of each shard that is being read.
    iterators: HashMap<String, String>,
    /// Shards that are read to their end.
    finished: HashSet<String>,
    is_known: bool,
    /// Records rolled up since the last trimming.
    untrimmed: usize,
    /// Sequence number of the last record that was rolled up.
    last: Option<String>,
}

/// Why a pass ended early. Nothing is skipped: the next begins at the checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The stream cannot be read.
    #[error("cannot {operation}: {}", DisplayErrorContext(.source.as_ref()))]
    Stream {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The table has no stream.
    #[error("{0} has no stream")]
    NoStream(String),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The records are not of the form of an event.
    #[error("the stream's records make no event")]
    Event(#[from] serde_json::Error),
    /// The rollup did not take the records.
    #[error("the rollup failed: {0}")]
    Rollup(#[from] HandlerError),
    /// The records that were rolled up could not be forgotten.
    #[error("cannot trim the stream")]
    Trim(#[from] rusqlite::Error),
}

fn failed<E>(operation: &'static str) -> impl Fn(E) -> PumpError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| PumpError::Stream {
        operation,
        source: Box::new(source),
    }
}

impl StreamPump {
    /// Follows the stream of `ledger`'s audit log, found through `tables` and
    /// read through `streams`, and has `limits` looked at; what is consumed is
    /// trimmed from `records`.
    pub fn new(
        tables: aws_sdk_dynamodb::Client,
        streams: Client,
        ledger: Ledger,
        limits: LimitLooks,
        records: Option<StreamRecords>,
    ) -> Self {
        Self {
            handler: Handler::new(Rollup::new(ledger.clone()), false).with_limits(limits),
            tables,
            streams,
            ledger,
            records,
            place: Mutex::default(),
        }
    }

    /// One pass: a batch of every shard that has one. Returns how many records
    /// were rolled up; 0 where none are left.
    ///
    /// # Errors
    /// A [`PumpError`]; the next pass repeats what this one did not finish.
    pub async fn pump(&self) -> Result<usize, PumpError> {
        let mut place = self.place.lock().await;
        let passed = self.pass(&mut place).await;
        if passed.is_err() {
            *place = Place::default();
        }
        passed
    }

    async fn run(&self, stop: CancellationToken) {
        let mut failure = Pause::new(FAILURE);
        loop {
            let passed = self.pump().await;
            if let Err(error) = &passed {
                tracing::warn!(%error, "the stream waits, and is read again");
            }
            if stop.is_cancelled() && !matches!(passed, Ok(1..)) {
                return;
            }
            let pause = match passed {
                Ok(BATCH_RECORDS..) => continue,
                Ok(_) => {
                    failure = Pause::new(FAILURE);
                    POLL
                }
                Err(_) => failure.next(),
            };
            // Already stopped, it ends at the next pass.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn pass(&self, place: &mut Place) -> Result<usize, PumpError> {
        if !place.is_known {
            self.find_shards(place).await?;
        }
        let mut rolled_up: usize = 0;
        for shard_id in place.iterators.keys().cloned().collect::<Vec<_>>() {
            rolled_up = rolled_up.saturating_add(self.read(place, &shard_id).await?);
        }
        if place.untrimmed >= TRIM_EVERY {
            self.trim_at(place).await?;
        }
        Ok(rolled_up)
    }

    /// Takes up every shard whose parent is read to its end, as order within an
    /// item demands (Amazon DynamoDB Developer Guide: "Reading and processing a
    /// stream").
    async fn find_shards(&self, place: &mut Place) -> Result<(), PumpError> {
        let stream_arn = self.stream_arn().await?;
        let shards = self.shards(&stream_arn).await?;
        let listed: HashSet<_> = shards.iter().filter_map(Shard::shard_id).collect();
        for shard in &shards {
            let Some(shard_id) = shard.shard_id() else {
                continue;
            };
            let is_started =
                place.finished.contains(shard_id) || place.iterators.contains_key(shard_id);
            let parent = shard.parent_shard_id();
            let waits = parent
                .is_some_and(|parent| listed.contains(parent) && !place.finished.contains(parent));
            if !is_started && !waits {
                let iterator = self.iterator(&stream_arn, shard_id).await?;
                place
                    .iterators
                    .extend(iterator.map(|it| (shard_id.to_owned(), it)));
            }
        }
        place.is_known = true;
        Ok(())
    }

    async fn stream_arn(&self) -> Result<String, PumpError> {
        let table = &self.ledger.tables().usage_events;
        let described = self.tables.describe_table().table_name(table).send().await;
        described
            .map_err(failed("describe the audit log"))?
            .table
            .and_then(|table| table.latest_stream_arn)
            .ok_or_else(|| PumpError::NoStream(table.clone()))
    }

    async fn shards(&self, stream_arn: &str) -> Result<Vec<Shard>, PumpError> {
        let mut shards = Vec::new();
        let mut start = None;
        loop {
            let described = self
                .streams
                .describe_stream()
                .stream_arn(stream_arn)
                .set_exclusive_start_shard_id(start)
                .send()
                .await
                .map_err(failed("describe the stream"))?;
            let Some(description) = described.stream_description else {
                return Ok(shards);
            };
            start = description.last_evaluated_shard_id;
            shards.extend(description.shards.unwrap_or_default());
            if start.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Where `shard_id` is to be read on: behind its checkpoint.
    async fn iterator(&self, arn: &str, shard_id: &str) -> Result<Option<String>, PumpError> {
        let checkpoint = self.ledger.checkpoint(shard_id).await?;
        // The checkpoint is padded to 40 digits; the stream's own are not.
        let after = checkpoint.as_deref().map(|at| at.trim_start_matches('0'));
        let kind = match after {
            Some(_) => ShardIteratorType::AfterSequenceNumber,
            None => ShardIteratorType::TrimHorizon,
        };
        let iterator = self
            .streams
            .get_shard_iterator()
            .stream_arn(arn)
            .shard_id(shard_id)
            .shard_iterator_type(kind)
            .set_sequence_number(after.map(str::to_owned))
            .send()
            .await
            .map_err(failed("begin to read the stream"))?;
        Ok(iterator.shard_iterator)
    }

    async fn read(&self, place: &mut Place, shard_id: &str) -> Result<usize, PumpError> {
        let Some(iterator) = place.iterators.get(shard_id) else {
            return Ok(0);
        };
        let got = self
            .streams
            .get_records()
            .shard_iterator(iterator)
            .send()
            .await
            .map_err(failed("read the stream"))?;
        let records = got.records.unwrap_or_default();
        let count = records.len();
        if count > 0 {
            let last = records.last().and_then(|record| record.dynamodb.as_ref());
            place.last = last.and_then(|change| change.sequence_number.clone());
            self.handler.handle(event(shard_id, records)?).await?;
            place.untrimmed = place.untrimmed.saturating_add(count);
        }
        match got.next_shard_iterator {
            Some(next) => {
                place.iterators.insert(shard_id.to_owned(), next);
            }
            None => {
                // Its children can be read now.
                place.iterators.remove(shard_id);
                place.finished.insert(shard_id.to_owned());
                place.is_known = false;
            }
        }
        Ok(count)
    }

    async fn trim_at(&self, place: &mut Place) -> Result<(), PumpError> {
        place.untrimmed = 0;
        let (Some(records), Some(last)) = (self.records.clone(), place.last.clone()) else {
            return Ok(());
        };
        let table = self.ledger.tables().usage_events.clone();
        let trimming = move || records.trim_before(&table, &last);
        let trimmed = tokio::task::spawn_blocking(trimming).await;
        let trimmed = trimmed.map_err(failed("wait for the trimming"))??;
        tracing::debug!(trimmed, "trimmed the stream");
        Ok(())
    }
}

/// A pause that doubles each time, from the shortest to the longest.
struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    const fn new((shortest, longest): (Duration, Duration)) -> Self {
        Self {
            next: shortest,
            longest,
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }
}

/// A pump that runs by itself. Dropped, it ends by itself.
#[derive(Debug)]
pub struct Following {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Following {
    /// Passes over the stream, again and again.
    pub fn start(pump: Arc<StreamPump>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self {
            task: tokio::spawn(async move { pump.run(stopped).await }),
            stop: stop.drop_guard(),
        }
    }

    /// Goes on until nothing is left, so that the totals of a stopped system are
    /// complete, or until a pass fails.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the stream pump failed");
        }
    }
}

/// `records` as Lambda hands them to a function (AWS Lambda Developer Guide:
/// "Using AWS Lambda with Amazon DynamoDB").
fn event(shard_id: &str, records: Vec<Record>) -> Result<StreamEvent, serde_json::Error> {
    let records: Result<Vec<_>, _> = records.into_iter().map(event_record).collect();
    serde_json::from_value(json!({
        "Records": records?,
        "shardId": shard_id,
        "state": {},
    }))
}

fn event_record(record: Record) -> Result<Value, serde_json::Error> {
    let mut change = Map::new();
    if let Some(stream_record) = record.dynamodb {
        for (name, image) in [
            ("Keys", stream_record.keys),
            ("OldImage", stream_record.old_image),
            ("NewImage", stream_record.new_image),
        ] {
            if let Some(image) = image {
                change.insert(name.to_owned(), item(image)?);
            }
        }
        change.insert(
            "SequenceNumber".to_owned(),
            json!(stream_record.sequence_number),
        );
    }
    Ok(json!({
        "eventID": record.event_id,
        "eventName": record.event_name.as_ref().map(|name| name.as_str()),
        "dynamodb": change,
    }))
}

fn item(image: HashMap<String, AttributeValue>) -> Result<Value, serde_json::Error> {
    serde_json::to_value(Item::from(image))
}
