//! What can go wrong between here and DynamoDB.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// A failure of the ledger. Business outcomes are never errors: they are the
/// enums that the calls return.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// DynamoDB could not be reached, refused, or did not answer in time: a
    /// write has *perhaps* happened.
    #[error("DynamoDB failed at {operation}")]
    Unavailable {
        /// What was being done, such as `record usage event`.
        operation: &'static str,
        /// The SDK's error; for the log, never for an answer.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// An item is not what this version writes.
    #[error("an item of {table} cannot be read")]
    UnreadableItem {
        /// The kind of row.
        table: &'static str,
        /// Why; for the log, never for an answer.
        #[source]
        source: serde_dynamo::Error,
    },
}

impl LedgerError {
    /// Wraps an SDK error of `operation`.
    pub(crate) fn unavailable<E>(operation: &'static str) -> impl Fn(E) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        move |source| Self::Unavailable {
            operation,
            source: Box::new(source),
        }
    }
}

/// Whether a write was not done because its condition does not hold.
pub(crate) fn is_condition_failure<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}
