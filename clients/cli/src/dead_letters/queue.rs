//! The queues of dead letters (Amazon SQS API reference).

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::Message;

use super::letter::{DeadLetter, Source};

/// As many as one answer holds.
const MESSAGES_MAX: i32 = 10;
/// For how long what is received is nobody else's: a rebuild may take minutes.
const VISIBILITY_TIMEOUT_S: i32 = 15 * 60;
/// Looks at a queue that seems empty: a receive asks a part of its servers.
const EMPTY_RECEIVES: u32 = 3;

/// A queue could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the dead letters of {}: {cause}", .queue.as_str())]
pub struct QueueError {
    operation: &'static str,
    queue: Source,
    cause: String,
}

/// The queues that are known, by their URLs.
#[derive(Clone, Debug)]
pub struct Queues {
    client: Client,
    urls: Vec<(Source, String)>,
}

/// A letter that was received: until it is deleted or given back, nobody else sees it.
#[derive(Clone, Debug)]
pub struct Received {
    /// What it says.
    pub letter: DeadLetter,
    receipt_handle: String,
}

impl Queues {
    /// The queues at `urls`, reached through `client`.
    pub const fn new(client: Client, urls: Vec<(Source, String)>) -> Self {
        Self { client, urls }
    }

    /// Receives every letter that is there.
    ///
    /// # Errors
    /// [`QueueError`]; what was received before is visible again in a quarter of an hour.
    pub async fn receive_all(&self) -> Result<Vec<Received>, QueueError> {
        let mut received = Vec::new();
        for (queue, url) in &self.urls {
            let mut empty = 0;
            while empty < EMPTY_RECEIVES {
                let messages = self.receive(*queue, url).await?;
                empty = if messages.is_empty() { empty + 1 } else { 0 };
                received.extend(messages);
            }
        }
        Ok(received)
    }

    async fn receive(&self, queue: Source, url: &str) -> Result<Vec<Received>, QueueError> {
        let answer = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(MESSAGES_MAX)
            .visibility_timeout(VISIBILITY_TIMEOUT_S)
            .send()
            .await
            .map_err(|error| failed("receive", queue, error))?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        let read = |message: Message| {
            Some(Received {
                letter: DeadLetter::read(queue, &message.body.unwrap_or_default()),
                receipt_handle: message.receipt_handle?,
            })
        };
        Ok(messages.filter_map(read).collect())
    }

    /// Deletes `received`, which is settled.
    ///
    /// # Errors
    /// [`QueueError`]: perhaps deleted. A letter that comes again is settled again.
    pub async fn delete(&self, received: &Received) -> Result<(), QueueError> {
        let queue = received.letter.source;
        let deleted = self
            .client
            .delete_message()
            .set_queue_url(self.url_of(queue))
            .receipt_handle(&received.receipt_handle)
            .send();
        let deleted = deleted.await.map(|_| ());
        deleted.map_err(|error| failed("delete", queue, error))
    }

    /// Gives `received` back, so that it is seen again at once.
    ///
    /// # Errors
    /// [`QueueError`]; it is seen again in a quarter of an hour then.
    pub async fn give_back(&self, received: &Received) -> Result<(), QueueError> {
        let queue = received.letter.source;
        let given_back = self
            .client
            .change_message_visibility()
            .set_queue_url(self.url_of(queue))
            .receipt_handle(&received.receipt_handle)
            .visibility_timeout(0)
            .send();
        let given_back = given_back.await.map(|_| ());
        given_back.map_err(|error| failed("give back", queue, error))
    }

    fn url_of(&self, queue: Source) -> Option<String> {
        let mut urls = self.urls.iter();
        let found = urls.find(|(source, _)| *source == queue);
        found.map(|(_, url)| url.clone())
    }
}

fn failed<E: std::error::Error>(operation: &'static str, queue: Source, error: E) -> QueueError {
    QueueError {
        operation,
        queue,
        cause: DisplayErrorContext(&error).to_string(),
    }
}
