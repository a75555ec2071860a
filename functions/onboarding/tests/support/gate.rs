//! A way to Stripe on which one request is held back until it is told to go on:
//! so that another call can come in between, wherever a test wants it.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Passes requests on to a Stripe, all but one at once.
pub(crate) struct Gate {
    pub(crate) url: String,
    way: Arc<Way>,
}

struct Way {
    upstream: String,
    http: reqwest::Client,
    /// Requests that came.
    seen: AtomicUsize,
    /// How many come before the one that is held back.
    passes: usize,
    reached: Notify,
    opened: Notify,
}

impl Gate {
    /// A way to the Stripe at `upstream`, on which `passes` requests come through
    /// before one is held back.
    pub(crate) async fn start(upstream: &str, passes: usize) -> Self {
        let way = Arc::new(Way {
            upstream: upstream.to_owned(),
            http: reqwest::Client::new(),
            seen: AtomicUsize::new(0),
            passes,
            reached: Notify::new(),
            opened: Notify::new(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&way));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, way }
    }

    /// Ends when a request is held back.
    pub(crate) async fn reached(&self) {
        self.way.reached.notified().await;
    }

    /// Lets it go on.
    pub(crate) fn open(&self) {
        self.way.opened.notify_one();
    }
}

async fn pass(State(way): State<Arc<Way>>, request: Request) -> Response {
    if way.seen.fetch_add(1, Ordering::SeqCst) == way.passes {
        way.reached.notify_one();
        way.opened.notified().await;
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let url = format!("{}{}", way.upstream, parts.uri);
    let passed = way.http.request(parts.method, url).headers(headers);
    let answer = passed.body(body).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.unwrap();
    (status, headers, body).into_response()
}
