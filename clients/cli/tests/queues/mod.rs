//! Queues over HTTP, as far as receiving, deleting and giving back go (Amazon SQS API
//! reference, by the AWS JSON 1.0 protocol).
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed helper is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Messages of queues, by the queues' URLs.
#[derive(Clone, Default)]
pub(crate) struct Queues {
    pub(crate) url: String,
    messages: Arc<Mutex<BTreeMap<String, Vec<Message>>>>,
}

struct Message {
    receipt_handle: String,
    body: String,
    is_visible: bool,
}

impl Queues {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let queues = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let routes = Router::new()
            .route("/", post(answer))
            .with_state(queues.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        queues
    }

    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/123456789012/{name}", self.url)
    }

    pub(crate) fn put(&self, name: &str, body: &Value) {
        let mut messages = self.messages.lock().unwrap();
        let queue = messages.entry(self.queue_url(name)).or_default();
        queue.push(Message {
            receipt_handle: format!("{name}-{}", queue.len()),
            body: body.to_string(),
            is_visible: true,
        });
    }

    /// Letters of a queue that the next receiver sees, and that are there at all.
    pub(crate) fn count(&self, name: &str) -> (usize, usize) {
        let messages = self.messages.lock().unwrap();
        let queue = messages.get(&self.queue_url(name));
        queue.map_or((0, 0), |queue| {
            let visible = queue.iter().filter(|message| message.is_visible);
            (visible.count(), queue.len())
        })
    }
}

async fn answer(State(queues): State<Queues>, headers: HeaderMap, body: Bytes) -> String {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let operation = headers["x-amz-target"].to_str().unwrap();
    let mut messages = queues.messages.lock().unwrap();
    let queue = messages.entry(request["QueueUrl"].as_str().unwrap().to_owned());
    let queue = queue.or_default();
    let handle = request["ReceiptHandle"].as_str().unwrap_or_default();
    let answer = match operation {
        "AmazonSQS.ReceiveMessage" => {
            let most = usize::try_from(request["MaxNumberOfMessages"].as_u64().unwrap()).unwrap();
            let visible = queue.iter_mut().filter(|message| message.is_visible);
            let received = visible.take(most).map(|message| {
                message.is_visible = false;
                json!({
                    "MessageId": message.receipt_handle, "Body": message.body,
                    "ReceiptHandle": message.receipt_handle,
                })
            });
            json!({ "Messages": received.collect::<Vec<_>>() })
        }
        "AmazonSQS.DeleteMessage" => {
            queue.retain(|message| message.receipt_handle != handle);
            json!({})
        }
        "AmazonSQS.ChangeMessageVisibility" => {
            assert_eq!(request["VisibilityTimeout"], 0);
            let mut found = queue.iter_mut();
            let found = found.find(|message| message.receipt_handle == handle);
            found.unwrap().is_visible = true;
            json!({})
        }
        other => panic!("{other}"),
    };
    answer.to_string()
}
