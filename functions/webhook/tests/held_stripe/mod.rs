//! Stripe behind a gate: one answer waits there while the world goes on, or is
//! another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// A gate in front of the Stripe at `upstream`.
pub(crate) struct Gate {
    upstream: String,
    http: reqwest::Client,
    is_closed: AtomicBool,
    arrived: Notify,
    opened: Notify,
    answers: Mutex<HashMap<String, String>>,
}

impl Gate {
    /// Starts the gate, open; and its address.
    pub(crate) async fn start(upstream: String, http: reqwest::Client) -> (Arc<Self>, String) {
        let gate = Arc::new(Self {
            upstream,
            http,
            is_closed: AtomicBool::new(false),
            arrived: Notify::new(),
            opened: Notify::new(),
            answers: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&gate));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (gate, url)
    }

    /// Answers requests for `path` with `body` from now on, whatever Stripe has.
    pub(crate) fn answer(&self, path: &str, body: &Value) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(path.to_owned(), body.to_string());
    }

    /// Holds the next answer about a subscription back.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Waits until an answer is held back.
    pub(crate) async fn holds(&self) {
        self.arrived.notified().await;
    }

    /// Lets it through.
    pub(crate) fn open(&self) {
        self.opened.notify_one();
    }
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = gate.answers.lock().unwrap().get(parts.uri.path()).cloned();
    if let Some(answer) = answer {
        return Response::new(Body::from(answer));
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let url = format!("{}{}", gate.upstream, parts.uri);
    let sent = gate
        .http
        .request(parts.method, url)
        .headers(parts.headers)
        .body(body);
    let answer = sent.send().await.unwrap();
    let status = answer.status();
    let body = answer.bytes().await.unwrap();
    let is_held = parts.uri.path().starts_with("/v1/subscriptions/")
        && gate.is_closed.swap(false, Ordering::SeqCst);
    if is_held {
        gate.arrived.notify_one();
        gate.opened.notified().await;
    }
    Response::builder()
        .status(status)
        .body(Body::from(body))
        .unwrap()
}
