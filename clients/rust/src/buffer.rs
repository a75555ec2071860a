//! Events that wait for one another, to go in one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;

use crate::builder::BufferSettings;
use crate::http::Api;
use crate::outcome::{Attempt, unsure};
use crate::retry::after;
use crate::wire::WireEvent;

/// Requests under way at once.
const REQUESTS_IN_FLIGHT: usize = 8;
/// Events that are taken before the first of them is sent; the next caller waits.
const EVENTS_WAITING_MAX: usize = 1_000;

/// Gathers events. Dropped, it sends what it has.
#[derive(Debug)]
pub(crate) struct Buffer {
    messages: mpsc::Sender<Message>,
    /// Flushes under way: meanwhile nothing waits for more.
    flushes: Arc<AtomicUsize>,
}

/// A flush under way.
pub(crate) struct Flush<'a>(&'a AtomicUsize);

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug)]
enum Message {
    Event(Waiting),
    /// Let what is gathered go at once.
    Flush,
}

#[derive(Debug)]
struct Waiting {
    event: WireEvent,
    answer: oneshot::Sender<Attempt>,
}

impl Buffer {
    /// Must be called inside a Tokio runtime.
    pub(crate) fn start(api: Api, settings: BufferSettings) -> Self {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        let flushes = Arc::<AtomicUsize>::default();
        tokio::spawn(gather(receiver, api, settings, Arc::clone(&flushes)));
        Self {
            messages: sender,
            flushes,
        }
    }

    /// One attempt at `event`, together with others.
    pub(crate) async fn emit(&self, event: &WireEvent) -> Attempt {
        let (answer, answered) = oneshot::channel();
        let event = event.clone();
        let message = Message::Event(Waiting { event, answer });
        let is_gathered = self.messages.send(message).await.is_ok();
        match answered.await {
            Ok(attempt) if is_gathered => attempt,
            _ => Err(unsure(
                None,
                "the buffer has ended, with its runtime".to_owned(),
            )),
        }
    }

    /// Sends what is gathered, and for as long as the answer lives whatever
    /// comes, without waiting for more.
    pub(crate) async fn flush(&self) -> Flush<'_> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        let flush = Flush(&self.flushes);
        // An ended buffer holds nothing.
        let _ = self.messages.send(Message::Flush).await;
        flush
    }
}

async fn gather(
    mut messages: mpsc::Receiver<Message>,
    api: Api,
    settings: BufferSettings,
    flushes: Arc<AtomicUsize>,
) {
    let in_flight = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT));
    while let Some(message) = messages.recv().await {
        let Message::Event(first) = message else {
            continue;
        };
        let wait = match flushes.load(Ordering::SeqCst) {
            0 => settings.wait,
            _ => Duration::ZERO,
        };
        let deadline = after(wait);
        let mut batch = vec![first];
        while batch.len() < settings.events_max {
            match timeout_at(deadline, messages.recv()).await {
                Ok(Some(Message::Event(waiting))) => batch.push(waiting),
                Ok(Some(Message::Flush) | None) | Err(_) => break,
            }
        }
        let Ok(turn) = Arc::clone(&in_flight).acquire_owned().await else {
            return;
        };
        let api = api.clone();
        tokio::spawn(async move {
            send(&api, batch).await;
            drop(turn);
        });
    }
}

async fn send(api: &Api, batch: Vec<Waiting>) {
    let (events, answers): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.event, waiting.answer))
        .unzip();
    let attempts = api.emit_batch(&events).await;
    for (answer, attempt) in answers.into_iter().zip(attempts) {
        // A caller that has gone away does not want it.
        let _ = answer.send(attempt);
    }
}
