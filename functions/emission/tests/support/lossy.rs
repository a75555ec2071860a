//! A way to DynamoDB on which answers get lost: the work is done, and the
//! caller hears an error.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const API_KEYS_TABLE: &str = "\"ApiKeysTable\"";

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is not passed on.
    Request,
    /// It is, and its answer is lost.
    Answer,
}

/// Passes requests on to a DynamoDB, except for those that it is told to lose.
#[derive(Clone)]
pub(crate) struct Lossy {
    pub(crate) url: String,
    way: Arc<Way>,
}

struct Way {
    upstream: String,
    http: reqwest::Client,
    /// Operations to lose, such as `PutItem`, each once.
    losses: Mutex<Vec<(&'static str, Loss)>>,
    /// Those on the API keys' table.
    losses_of_keys: Mutex<Vec<(&'static str, Loss)>>,
    /// Every operation that has come.
    seen: Mutex<Vec<String>>,
}

impl Lossy {
    /// A way to the DynamoDB at `upstream`.
    pub(crate) async fn start(upstream: &str) -> Self {
        // Another test of this program may have chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let way = Arc::new(Way {
            upstream: upstream.to_owned(),
            http: reqwest::Client::new(),
            losses: Mutex::default(),
            losses_of_keys: Mutex::default(),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&way));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, way }
    }

    /// Loses the next `operation` on any table but that of the API keys, whose
    /// calls say nothing of usage.
    pub(crate) fn lose(&self, operation: &'static str, loss: Loss) {
        self.way.losses.lock().unwrap().push((operation, loss));
    }

    /// Loses the next `operation` on the API keys' table.
    pub(crate) fn lose_of_keys(&self, operation: &'static str, loss: Loss) {
        self.way
            .losses_of_keys
            .lock()
            .unwrap()
            .push((operation, loss));
    }

    /// How often `operation` has come.
    pub(crate) fn seen(&self, operation: &str) -> usize {
        let seen = self.way.seen.lock().unwrap();
        seen.iter().filter(|it| it.ends_with(operation)).count()
    }

    /// Loses nothing more.
    pub(crate) fn repair(&self) {
        self.way.losses.lock().unwrap().clear();
    }

    /// Everything that was to be lost has been.
    pub(crate) fn assert_all_lost(&self) {
        assert_eq!(*self.way.losses.lock().unwrap(), []);
        assert_eq!(*self.way.losses_of_keys.lock().unwrap(), []);
    }
}

impl Way {
    fn loss_of(&self, target: &str, body: &[u8]) -> Option<Loss> {
        self.seen.lock().unwrap().push(target.to_owned());
        let is_of_keys = String::from_utf8_lossy(body).contains(API_KEYS_TABLE);
        let losses = match is_of_keys {
            true => &self.losses_of_keys,
            false => &self.losses,
        };
        let mut losses = losses.lock().unwrap();
        let found = losses
            .iter()
            .position(|(operation, _)| target.ends_with(operation))?;
        Some(losses.remove(found).1)
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.headers["x-amz-target"].to_str().unwrap();
    let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let loss = way.loss_of(target, &body);
    if loss == Some(Loss::Request) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut headers = parts.headers.clone();
    headers.remove("host");
    let passed = way.http.post(&way.upstream).headers(headers).body(body);
    let answer = passed.send().await.unwrap();
    let status = answer.status();
    let headers = answer.headers().clone();
    let body = answer.bytes().await.unwrap();
    if loss == Some(Loss::Answer) {
        assert!(status.is_success(), "{target} failed before it was lost");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    (status, headers, body).into_response()
}
