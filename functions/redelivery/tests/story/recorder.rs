//! Stands before Stripe and notes every usage event that is sent to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

const STREAM: &str = "/v2/billing/meter_event_stream";

#[derive(Clone)]
pub(crate) struct Recorder {
    stripe_url: String,
    http: reqwest::Client,
    /// How often each identifier was sent.
    sent: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Recorder {
    /// Records before the Stripe at `stripe_url`; answers its own address too.
    pub(crate) async fn start(stripe_url: &str, http: reqwest::Client) -> (Self, String) {
        let recorder = Self {
            stripe_url: stripe_url.to_owned(),
            http,
            sent: Arc::default(),
        };
        let router = Router::new().fallback(pass_on).with_state(recorder.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (recorder, url)
    }

    /// The events that were sent more than once.
    pub(crate) fn sent_again(&self) -> usize {
        let sent = self.sent.lock().unwrap();
        sent.values().filter(|times| **times > 1).count()
    }

    fn note(&self, body: &Bytes) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut sent = self.sent.lock().unwrap();
        for event in body["events"].as_array().unwrap() {
            let identifier = event["identifier"].as_str().unwrap();
            *sent.entry(identifier.to_owned()).or_default() += 1;
        }
    }
}

async fn pass_on(State(recorder): State<Recorder>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    if parts.uri.path() == STREAM {
        recorder.note(&body);
    }
    let url = format!("{}{}", recorder.stripe_url, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let request = recorder.http.request(parts.method, url).headers(headers);
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status();
    let headers = answer.headers().clone();
    (status, headers, answer.bytes().await.unwrap()).into_response()
}
