//! How notifications reach the operator: by an SNS topic (Amazon SNS API
//! reference: Publish), from where mail, queues and functions get them.

use aws_sdk_sns::error::{BuildError, DisplayErrorContext, SdkError};
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;
use ledger::StoredNotification;

/// What subscribers filter by, beside the message.
const KIND: &str = "kind";
/// What they drop repeats by.
const ID: &str = "id";

/// Brings notifications to the operator.
#[derive(Clone, Debug)]
pub struct Notifier(Target);

#[derive(Clone, Debug)]
enum Target {
    Log,
    Topic {
        client: aws_sdk_sns::Client,
        topic_arn: String,
    },
}

/// A notification did not get out, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// SNS did not take it.
    #[error("SNS did not take it: {}", DisplayErrorContext(.0))]
    Sns(#[from] Box<SdkError<PublishError>>),
    /// It cannot be put into a request.
    #[error("it cannot be sent")]
    Build(#[from] BuildError),
}

impl Default for Notifier {
    /// To the log, by id and kind alone, for a system that nobody listens to.
    fn default() -> Self {
        Self(Target::Log)
    }
}

impl Notifier {
    /// To the SNS topic `topic_arn`, by `client`.
    pub const fn topic(client: aws_sdk_sns::Client, topic_arn: String) -> Self {
        Self(Target::Topic { client, topic_arn })
    }

    /// Sends it. Sent again it is the same, its id included.
    ///
    /// # Errors
    /// [`NotifyError`]: perhaps it is out all the same.
    pub async fn send(&self, notification: &StoredNotification) -> Result<(), NotifyError> {
        let StoredNotification { id, kind, message } = notification;
        if let Target::Topic { client, topic_arn } = &self.0 {
            let published = client
                .publish()
                .topic_arn(topic_arn)
                .subject(format!("Meterline: {}", kind.replace('_', " ")))
                .message(message)
                .message_attributes(KIND, attribute(kind)?)
                .message_attributes(ID, attribute(id)?)
                .send();
            published.await.map_err(Box::new)?;
            tracing::info!(id, kind, "the operator is told");
        } else {
            // The text stays with its event: it may hold a link to an invoice.
            tracing::warn!(
                id,
                kind,
                "the operator is to be told, and no topic is named"
            );
        }
        Ok(())
    }
}

fn attribute(value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
}
