//! The audit log's stream, as far as a rebuild asks: what of it the rollup has
//! not read yet.

use std::error::Error;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::operation::get_shard_iterator::GetShardIteratorError;
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};

/// Empty pages in a row after which an open shard counts as read. DynamoDB may
/// answer with an empty page in the middle of a shard.
const EMPTY_PAGES: u32 = 3;

/// What the digits of a sequence number are padded to in a checkpoint.
const DIGITS_MAX: usize = 40;

/// The stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}")]
pub struct StreamError {
    operation: &'static str,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl StreamError {
    fn at<E: Error + Send + Sync + 'static>(operation: &'static str) -> impl Fn(E) -> Self {
        move |source| Self {
            operation,
            source: Box::new(source),
        }
    }
}

/// One stream.
pub(crate) struct Stream {
    client: Client,
    arn: String,
}

impl Stream {
    pub(crate) const fn new(client: Client, arn: String) -> Self {
        Self { client, arn }
    }

    /// The ids of its shards, those that are closed among them.
    pub(crate) async fn shards(&self) -> Result<Vec<String>, StreamError> {
        let mut shards = Vec::new();
        let mut start = None;
        loop {
            let described = self
                .client
                .describe_stream()
                .stream_arn(&self.arn)
                .set_exclusive_start_shard_id(start)
                .send()
                .await
                .map_err(StreamError::at("describe the stream"))?;
            let Some(description) = described.stream_description else {
                return Ok(shards);
            };
            let listed = description.shards.unwrap_or_default().into_iter();
            shards.extend(listed.filter_map(|shard| shard.shard_id));
            start = description.last_evaluated_shard_id;
            if start.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Whether `shard_id` holds a record after `checkpoint`, or any where there
    /// is no checkpoint.
    pub(crate) async fn has_more(
        &self,
        shard_id: &str,
        checkpoint: Option<&str>,
    ) -> Result<bool, StreamError> {
        let first = self.first_after(shard_id, checkpoint).await?;
        Ok(first.is_some())
    }

    /// The first record of `shard_id` after `checkpoint`, or the first of all where
    /// there is no checkpoint.
    pub(crate) async fn first_after(
        &self,
        shard_id: &str,
        checkpoint: Option<&str>,
    ) -> Result<Option<Record>, StreamError> {
        let mut iterator = self.iterator(shard_id, checkpoint).await?;
        let mut empty_pages = 0;
        while let Some(current) = iterator {
            let page = self
                .client
                .get_records()
                .shard_iterator(current)
                .send()
                .await
                .map_err(StreamError::at("read the stream"))?;
            let records = page.records.unwrap_or_default();
            empty_pages = if records.is_empty() {
                empty_pages + 1
            } else {
                0
            };
            let mut records = records.into_iter();
            if let Some(first) = records.find(|record| is_after(record, checkpoint)) {
                return Ok(Some(first));
            }
            if empty_pages == EMPTY_PAGES {
                break;
            }
            iterator = page.next_shard_iterator;
        }
        Ok(None)
    }

    async fn iterator(
        &self,
        shard_id: &str,
        checkpoint: Option<&str>,
    ) -> Result<Option<String>, StreamError> {
        let begin = async |kind: ShardIteratorType, after: Option<&str>| {
            self.client
                .get_shard_iterator()
                .stream_arn(&self.arn)
                .shard_id(shard_id)
                .shard_iterator_type(kind)
                .set_sequence_number(after.map(str::to_owned))
                .send()
                .await
        };
        if let Some(checkpoint) = checkpoint {
            // The stream's own numbers are not padded.
            let after = checkpoint.trim_start_matches('0');
            match begin(ShardIteratorType::AfterSequenceNumber, Some(after)).await {
                Ok(begun) => return Ok(begun.shard_iterator),
                // Older than the stream reaches back: all that it holds is newer.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(GetShardIteratorError::is_trimmed_data_access_exception) => {}
                Err(error) => return Err(StreamError::at("begin to read the stream")(error)),
            }
        }
        let begun = begin(ShardIteratorType::TrimHorizon, None).await;
        let begun = begun.map_err(StreamError::at("begin to read the stream"))?;
        Ok(begun.shard_iterator)
    }
}

/// A record without a number is none that was counted.
fn is_after(record: &Record, checkpoint: Option<&str>) -> bool {
    let number = record.dynamodb.as_ref();
    let number = number.and_then(|change| change.sequence_number.as_deref());
    match (number, checkpoint) {
        (Some(number), Some(checkpoint)) => format!("{number:0>DIGITS_MAX$}").as_str() > checkpoint,
        _ => true,
    }
}
