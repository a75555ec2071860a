//! A Stripe simulator as a process of its own, behind an address that writes
//! down what is asked and lets nobody to the simulator's own controls.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::watch;

use super::program;

const BODY_BYTES_MAX: usize = 1 << 24;

pub(crate) struct WatchedStripe {
    simulator: Child,
    simulator_url: String,
    key: String,
    watch: Watch,
    pub(crate) url: String,
}

#[derive(Clone)]
struct Watch {
    http: reqwest::Client,
    simulator_url: String,
    asked: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
}

impl WatchedStripe {
    /// One that takes `key`.
    pub(crate) async fn start(key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut simulator = Command::new(program("stripe-simulator"))
            .args(["--port", "0", "--secret-key", key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(simulator.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let simulator_url = line.split_whitespace().last().unwrap().to_owned();
        let watch = Watch {
            http: reqwest::Client::new(),
            simulator_url: simulator_url.clone(),
            asked: Arc::default(),
            count: watch::Sender::new(0),
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let routes = Router::new().fallback(forward).with_state(watch.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        Self {
            simulator,
            simulator_url,
            key: key.to_owned(),
            watch,
            url,
        }
    }

    /// Method and path of all that was asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.watch.asked.lock().unwrap().clone()
    }

    /// Returns once `request` (method and path) was asked.
    pub(crate) async fn is_asked(&self, request: &str) {
        let mut count = self.watch.count.subscribe();
        let asked = |_: &usize| self.asked().iter().any(|asked| asked == request);
        count.wait_for(asked).await.unwrap();
    }

    /// What the simulator answers to the test itself.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.simulator_url);
        let request = self.watch.http.get(url).bearer_auth(&self.key);
        request.send().await.unwrap().json().await.unwrap()
    }
}

impl Drop for WatchedStripe {
    fn drop(&mut self) {
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

async fn forward(State(watch): State<Watch>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    watch
        .asked
        .lock()
        .unwrap()
        .push(format!("{} {path}", head.method));
    watch.count.send_modify(|count| *count += 1);
    if path.starts_with("/_simulator") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let body: Bytes = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let url = format!("{}{}", watch.simulator_url, head.uri);
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
