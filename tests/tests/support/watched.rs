//! An address that writes down what is asked of a service, and passes it on.
#![allow(dead_code, reason = "each test program uses a part")]

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::watch;

const BODY_BYTES_MAX: usize = 1 << 24;

pub(crate) struct Watched {
    pub(crate) url: String,
    watch: Watch,
}

#[derive(Clone)]
struct Watch {
    http: reqwest::Client,
    service_url: String,
    asked: Arc<Mutex<Vec<String>>>,
    refusals: Arc<Mutex<Vec<(String, StatusCode, Value)>>>,
    count: watch::Sender<usize>,
}

impl Watched {
    /// Before the service at `service_url`. Nobody gets to a simulator's own controls.
    pub(crate) fn start(service_url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let watch = Watch {
            http: reqwest::Client::new(),
            service_url: service_url.to_owned(),
            asked: Arc::default(),
            refusals: Arc::default(),
            count: watch::Sender::new(0),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let routes = Router::new().fallback(forward).with_state(watch.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        Self { url, watch }
    }

    /// All that was asked: of DynamoDB operation and table, of others method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.watch.asked.lock().unwrap().clone()
    }

    /// The same, and forgets it.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.watch.asked.lock().unwrap())
    }

    /// Answers `request`, once, with `status` and `body`, in place of the service.
    pub(crate) fn refuse(&self, request: &str, status: u16, body: Value) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut refusals = self.watch.refusals.lock().unwrap();
        refusals.push((request.to_owned(), status, body));
    }

    /// Returns once `request` was asked.
    pub(crate) async fn is_asked(&self, request: &str) {
        let mut count = self.watch.count.subscribe();
        let asked = |_: &usize| self.asked().iter().any(|asked| asked == request);
        count.wait_for(asked).await.unwrap();
    }
}

impl Watch {
    fn refusal_of(&self, request: &str) -> Option<(StatusCode, Value)> {
        let mut refusals = self.refusals.lock().unwrap();
        let found = refusals
            .iter()
            .position(|(refused, ..)| refused == request)?;
        let (_, status, body) = refusals.remove(found);
        Some((status, body))
    }
}

async fn forward(State(watch): State<Watch>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let asked = dynamodb_call(&head.headers, &body);
    let asked = asked.unwrap_or_else(|| format!("{} {path}", head.method));
    let refusal = watch.refusal_of(&asked);
    watch.asked.lock().unwrap().push(asked);
    watch.count.send_modify(|count| *count += 1);
    if let Some((status, body)) = refusal {
        return (status, body.to_string()).into_response();
    }
    if path.starts_with("/_simulator") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let url = format!("{}{}", watch.service_url, head.uri);
    let request = watch.http.request(head.method, url);
    let answer = request.headers(head.headers).body(body).send().await;
    let Ok(answer) = answer else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// `GetItem CustomersTable`, where it is a call of DynamoDB's.
fn dynamodb_call(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let (_, operation) = headers
        .get("x-amz-target")?
        .to_str()
        .ok()?
        .split_once('.')?;
    let body: Value = serde_json::from_slice(body).unwrap();
    let table = body["TableName"].as_str().unwrap_or("several tables");
    Some(format!("{operation} {table}"))
}
