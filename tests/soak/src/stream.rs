//! The audit log's stream, brought to the rollup as Lambda brings it on a bad
//! day: several shards, batches repeated, split and twice at once, shards that
//! split. What Lambda promises is kept: a shard's records come in order, and no
//! later batch before the earlier one was taken.

use std::collections::VecDeque;
use std::rc::Rc;

use futures_util::future::join_all;
use rollup::StreamEvent;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stack::dynamodb::StreamRecords;

use crate::SoakError;
use crate::direct::{Direct, text};
use crate::fault::{Fault, Faults};
use crate::functions::Functions;
use crate::random::{Random, hash};

/// The embedded DynamoDB has one shard; its records are dealt out to four, by
/// item, as a larger table's are.
const SHARDS: u64 = 4;

/// The most records in a batch: a mapping of Lambda's takes up to 10,000.
const BATCH_RECORDS_MAX: u64 = 1_000;

/// Records that were read before they are forgotten.
const TRIM_EVERY: usize = 5_000;

/// A shard of the stream.
#[derive(Debug)]
struct Shard {
    id: String,
    /// It holds the items whose hash divided by `modulus` leaves `residue`.
    modulus: u64,
    residue: u64,
    parent: Option<usize>,
    is_open: bool,
    /// What the rollup has not taken, as DynamoDB wrote it.
    records: VecDeque<Rc<RawValue>>,
    /// What it took last.
    taken: Vec<Rc<RawValue>>,
}

/// The answer to `GetRecords`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records {
    records: Vec<Box<RawValue>>,
    next_shard_iterator: String,
}

/// What must be known of a record to deal it out.
#[derive(Deserialize)]
struct Record {
    dynamodb: Change,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    keys: Keys,
    sequence_number: String,
}

#[derive(Deserialize)]
struct Keys {
    identifier: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Text {
    s: String,
}

/// The stream, and how far it has been taken.
pub(crate) struct Stream {
    random: Random,
    table: String,
    iterator: String,
    records: StreamRecords,
    untrimmed: usize,
    shards: Vec<Shard>,
}

impl Stream {
    /// The stream of `table`, from its beginning.
    pub(crate) async fn open(
        seed: u64,
        direct: &Direct,
        table: &str,
        records: StreamRecords,
    ) -> Result<Self, SoakError> {
        let request = json!({ "TableName": table });
        let described: Value = direct.dynamodb("DescribeTable", &request).await?;
        let arn = text(&described["Table"], "LatestStreamArn")?.to_owned();
        let request = json!({ "StreamArn": arn });
        let described: Value = direct.dynamodb("Streams.DescribeStream", &request).await?;
        let shard = text(&described["StreamDescription"]["Shards"][0], "ShardId")?;
        let request = json!({
            "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON",
        });
        let iterator: Value = direct
            .dynamodb("Streams.GetShardIterator", &request)
            .await?;
        let shard = |residue| Shard::new(SHARDS, residue, None);
        Ok(Self {
            random: Random::of(seed, "stream"),
            table: table.to_owned(),
            iterator: text(&iterator, "ShardIterator")?.to_owned(),
            records,
            untrimmed: 0,
            shards: (0..SHARDS).map(shard).collect(),
        })
    }

    /// Reads what has been written since.
    pub(crate) async fn read(&mut self, direct: &Direct) -> Result<(), SoakError> {
        loop {
            let request = json!({ "ShardIterator": self.iterator });
            let got: Records = direct.dynamodb("Streams.GetRecords", &request).await?;
            self.iterator = got.next_shard_iterator;
            self.untrimmed += got.records.len();
            let mut last = None;
            for record in got.records {
                last = Some(self.deal(record)?);
            }
            let Some(last) = last else { return Ok(()) };
            if self.untrimmed >= TRIM_EVERY {
                self.untrimmed = 0;
                self.trim(last).await?;
            }
        }
    }

    /// Answers the record's sequence number.
    fn deal(&mut self, record: Box<RawValue>) -> Result<String, SoakError> {
        let Record { dynamodb } = serde_json::from_str(record.get())?;
        let hash = hash(&dynamodb.keys.identifier.s);
        let mut open = self.shards.iter_mut();
        if let Some(shard) = open.find(|shard| shard.is_open && shard.holds(hash)) {
            shard.records.push_back(record.into());
        }
        Ok(dynamodb.sequence_number)
    }

    async fn trim(&self, last: String) -> Result<(), SoakError> {
        let (records, table) = (self.records.clone(), self.table.clone());
        let trimming = move || records.trim_before(&table, &last);
        let trimmed = tokio::task::spawn_blocking(trimming).await;
        trimmed.map_err(std::io::Error::other)??;
        Ok(())
    }

    /// Ends a shard; two take its place.
    pub(crate) fn split(&mut self, faults: &Faults) {
        let parent = self.random.place(self.shards.len());
        let Some(shard) = self.shards.get_mut(parent).filter(|shard| shard.is_open) else {
            return;
        };
        faults.count(Fault::ShardSplit);
        shard.is_open = false;
        let (modulus, residue) = (shard.modulus * 2, shard.residue);
        for residue in [residue, residue + modulus / 2] {
            self.shards.push(Shard::new(modulus, residue, Some(parent)));
        }
    }

    /// Brings a batch of every shard to the rollup, all shards at once.
    pub(crate) async fn deliver(&mut self, functions: &Functions, faults: &Faults) {
        let is_drained: Vec<bool> = self.shards.iter().map(|it| it.records.is_empty()).collect();
        let is_ready = |shard: &Shard| {
            let parent = shard.parent.and_then(|parent| is_drained.get(parent));
            !shard.records.is_empty() && parent.is_none_or(|is_drained| *is_drained)
        };
        let random = &mut self.random;
        let ready = self.shards.iter_mut().filter(|shard| is_ready(shard));
        let deliveries = ready.map(|shard| shard.deliver(random.fork(), functions, faults));
        join_all(deliveries).await;
    }

    /// Brings everything there is, in peace.
    pub(crate) async fn drain(
        &mut self,
        direct: &Direct,
        functions: &Functions,
    ) -> Result<(), SoakError> {
        const FAILURES_MAX: u32 = 20;
        let mut failures = 0;
        self.read(direct).await?;
        while self.shards.iter().any(|shard| !shard.records.is_empty()) {
            for place in 0..self.shards.len() {
                let is_behind = |parent: usize| {
                    self.shards
                        .get(parent)
                        .is_some_and(|it| !it.records.is_empty())
                };
                let parent = self.shards.get(place).and_then(|shard| shard.parent);
                if parent.is_some_and(is_behind) {
                    continue;
                }
                if let Some(shard) = self.shards.get_mut(place)
                    && !shard.take_in_order(BATCH_RECORDS_MAX, functions).await
                {
                    failures += 1;
                }
            }
            if failures >= FAILURES_MAX {
                return Err(SoakError::Restless("the rollup does not take the stream"));
            }
        }
        Ok(())
    }
}

impl Shard {
    fn new(modulus: u64, residue: u64, parent: Option<usize>) -> Self {
        Self {
            id: format!("shardId-{modulus:08}-{residue:08}"),
            modulus,
            residue,
            parent,
            is_open: true,
            records: VecDeque::new(),
            taken: Vec::new(),
        }
    }

    const fn holds(&self, hash: u64) -> bool {
        hash % self.modulus == self.residue
    }

    async fn deliver(&mut self, mut random: Random, functions: &Functions, faults: &Faults) {
        let length = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        let most = length.min(BATCH_RECORDS_MAX);
        let records = if random.percent(70) {
            most
        } else {
            1 + random.below(most)
        };
        match random.below(100) {
            0..=7 if !self.taken.is_empty() => {
                faults.count(Fault::StreamRepeated);
                // By itself, or in front of what comes next.
                if random.percent(50) {
                    let _ = self.bring(&self.taken, functions).await;
                } else {
                    let mut batch = self.taken.clone();
                    batch.extend(self.front(records));
                    let _ = self.bring(&batch, functions).await;
                }
            }
            8..=13 => {
                faults.count(Fault::StreamSplit);
                let part = self.front(1 + random.below(records));
                let _ = self.bring(&part, functions).await;
            }
            14..=21 => {
                faults.count(Fault::StreamTwoAtOnce);
                let (whole, part) = (self.front(records), self.front(1 + random.below(records)));
                tokio::join!(self.bring(&whole, functions), self.bring(&part, functions));
            }
            _ => {}
        }
        self.take_in_order(records, functions).await;
    }

    fn front(&self, records: u64) -> Vec<Rc<RawValue>> {
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        self.records.iter().take(records).cloned().collect()
    }

    /// One batch as it should be: whether it was taken.
    async fn take_in_order(&mut self, records: u64, functions: &Functions) -> bool {
        let batch = self.front(records);
        let is_taken = self.bring(&batch, functions).await;
        if is_taken {
            self.records.drain(..batch.len());
            self.taken = batch;
        }
        is_taken
    }

    async fn bring(&self, records: &[Rc<RawValue>], functions: &Functions) -> bool {
        let records: Vec<&str> = records.iter().map(|record| record.get()).collect();
        let (records, id) = (records.join(","), &self.id);
        let event = format!(r#"{{"Records":[{records}],"shardId":"{id}","state":{{}}}}"#);
        match serde_json::from_str::<StreamEvent>(&event) {
            Ok(event) => functions.rollup.handle(event).await.is_ok(),
            Err(_) => false,
        }
    }
}
