//! A dead letter, as Lambda writes it (AWS Lambda Developer Guide: "Capturing records
//! of Lambda asynchronous invocations", "Retain discarded records for a DynamoDB event
//! source in Lambda").

use billing::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// The longest error message that is kept of a letter.
const ERROR_CHARACTERS_MAX: usize = 500;

/// Whose a letter is, by the queue that it was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A run of redelivery.
    Redelivery,
    /// A batch of the audit log's stream.
    Rollup,
    /// A sweep of Stripe's events, which is the webhook's.
    Webhook,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redelivery, Self::Rollup, Self::Webhook];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redelivery => "redelivery",
            Self::Rollup => "rollup",
            Self::Webhook => "webhook",
        }
    }

    /// The environment variable that holds its queue's URL.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Redelivery => "REDELIVERY_DEAD_LETTERS_URL",
            Self::Rollup => "ROLLUP_DEAD_LETTERS_URL",
            Self::Webhook => "WEBHOOK_DEAD_LETTERS_URL",
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Whose it is.
    pub source: Source,
    /// When Lambda wrote it; none where it does not say.
    pub at: Option<Timestamp>,
    /// Why Lambda gave up, in its word: `RetriesExhausted`.
    pub condition: String,
    /// What the function said, or where the batch lies.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    timestamp: Option<String>,
    request_context: Option<RequestContext>,
    response_payload: Option<Value>,
    #[serde(rename = "DDBStreamBatchInfo")]
    batch: Option<Batch>,
}

#[derive(Deserialize)]
struct RequestContext {
    condition: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch {
    shard_id: String,
    start_sequence_number: String,
    end_sequence_number: String,
    batch_size: u64,
}

impl DeadLetter {
    /// Reads a message of the queue of `source`. One that Lambda did not write is a
    /// letter all the same: it says what it holds.
    pub fn read(source: Source, body: &str) -> Self {
        let Ok(message) = serde_json::from_str::<Message>(body) else {
            return Self {
                source,
                at: None,
                condition: "unreadable".to_owned(),
                detail: shortened(body),
            };
        };
        let told = message.timestamp.as_deref();
        let condition = message.request_context.and_then(|it| it.condition);
        Self {
            source,
            at: told.and_then(|at| Timestamp::parse_rfc3339(at).ok()),
            condition: condition.unwrap_or_else(|| "unknown".to_owned()),
            detail: match (message.batch, message.response_payload) {
                (Some(batch), _) => format!(
                    "{} records of shard {}, {} to {}",
                    batch.batch_size,
                    batch.shard_id,
                    batch.start_sequence_number,
                    batch.end_sequence_number
                ),
                (None, Some(answer)) => error_of(&answer),
                (None, None) => "no answer".to_owned(),
            },
        }
    }
}

fn error_of(answer: &Value) -> String {
    match answer["errorMessage"].as_str() {
        Some(message) => shortened(message),
        None => shortened(&answer.to_string()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(ERROR_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_invocation_that_was_given_up_says_when_and_why() {
        let body = json!({
            "version": "1.0", "timestamp": "2026-11-25T07:00:01.123Z",
            "requestContext": {
                "requestId": "e4b4", "functionArn": "arn:aws:lambda:eu-west-1:1:function:f",
                "condition": "RetriesExhausted", "approximateInvokeCount": 1,
            },
            "requestPayload": {}, "responseContext": { "statusCode": 200, "functionError": "Unhandled" },
            "responsePayload": { "errorType": "E", "errorMessage": "the outbox cannot be read" },
        });
        let letter = DeadLetter::read(Source::Redelivery, &body.to_string());
        let expected = DeadLetter {
            source: Source::Redelivery,
            at: Some(Timestamp::parse_rfc3339("2026-11-25T07:00:01.123Z").unwrap()),
            condition: "RetriesExhausted".to_owned(),
            detail: "the outbox cannot be read".to_owned(),
        };
        assert_eq!(letter, expected);
    }

    #[test]
    fn a_batch_that_was_given_up_says_where_it_lies() {
        let body = json!({
            "requestContext": { "condition": "RetryAttemptsExhausted" },
            "timestamp": "2026-11-25T07:00:01Z",
            "DDBStreamBatchInfo": {
                "shardId": "shardId-1", "startSequenceNumber": "100", "endSequenceNumber": "199",
                "batchSize": 50, "streamArn": "arn:aws:dynamodb:…",
            },
        });
        let letter = DeadLetter::read(Source::Rollup, &body.to_string());
        assert_eq!(letter.detail, "50 records of shard shardId-1, 100 to 199");
    }

    #[test]
    fn anything_else_is_shown_as_it_is() {
        for body in ["", "hello", "[]", "{", "{\"timestamp\": 7}"] {
            let letter = DeadLetter::read(Source::Webhook, body);
            assert_eq!(letter.condition, "unreadable", "{body}");
            assert_eq!(letter.detail, body);
        }
        let empty = DeadLetter::read(Source::Webhook, "{}");
        assert_eq!((empty.at, empty.detail.as_str()), (None, "no answer"));
    }
}
