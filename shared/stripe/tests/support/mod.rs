//! A Stripe that answers what the test says, on a port of its own, and keeps
//! what it was asked.

use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use stripe::{Client, Config};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

pub(crate) const KEY: &str = "sk_test_51Meterline";

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The parameters of the query and of a form, in order.
    pub(crate) fn params(&self) -> Vec<String> {
        let form = if self.body.starts_with('{') {
            ""
        } else {
            &self.body
        };
        [self.query.as_str(), form]
            .into_iter()
            .flat_map(|text| form_urlencoded::parse(text.as_bytes()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Full {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// As much of the body as there is, then no more.
    CutShort,
    /// Takes the request and breaks the connection.
    Vanish,
    /// Takes the request and never answers.
    Silence,
    /// The answer, once so many requests are waiting for theirs.
    Together(Arc<Barrier>, Box<Answer>),
}

impl Answer {
    pub(crate) fn ok(body: &Value) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: &Value) -> Self {
        Self::Full {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    pub(crate) fn error(status: u16, error_type: &str, code: &str) -> Self {
        let message = "Something is wrong.";
        let error = json!({ "type": error_type, "code": code, "message": message });
        Self::status(status, &json!({ "error": error }))
    }

    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::Full {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Scene {
    script: Script,
    received: Vec<Received>,
}

/// The scripted Stripe.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    scene: Arc<Mutex<Scene>>,
}

impl Scripted {
    /// Answers each request with the next of `answers`, and an error of the
    /// test's own when there are none left.
    pub(crate) async fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: VecDeque<Answer> = answers.into_iter().collect();
        let over = Answer::text(418, "the script is over");
        Self::start(move |_| answers.pop_front().unwrap_or(over.clone())).await
    }

    pub(crate) async fn start(script: impl FnMut(&Received) -> Answer + Send + 'static) -> Self {
        let scene = Scene {
            script: Box::new(script),
            received: Vec::new(),
        };
        let scene = Arc::new(Mutex::new(scene));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&scene));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, scene }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.scene.lock().unwrap().received.clone()
    }

    /// `POST /v1/customers` and so on, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        let call = |received: &Received| format!("{} {}", received.method, received.path);
        self.received().iter().map(call).collect()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    /// Three attempts without a wait between them.
    pub(crate) fn config(&self) -> Config {
        config(&self.url)
    }
}

pub(crate) fn config(url: &str) -> Config {
    Config::new(KEY.into())
        .with_api_base(url)
        .with_meter_events_base(url)
        .with_retry_delay_ms(0, 0)
}

/// A listener on a port of its own, and its address.
pub(crate) async fn free_address() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

async fn answer(State(scene): State<Arc<Mutex<Scene>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let answer = {
        let mut scene = scene.lock().unwrap();
        scene.received.push(received.clone());
        (scene.script)(&received)
    };
    give(answer).await
}

async fn give(mut answer: Answer) -> Response {
    loop {
        answer = match answer {
            Answer::Full {
                status,
                headers,
                body,
            } => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                return response.body(Body::from(body)).unwrap();
            }
            Answer::CutShort => {
                let broken = Err(io::Error::from(io::ErrorKind::BrokenPipe));
                let body = stream::iter([Ok("{\"id\":"), broken]);
                return Response::new(Body::from_stream(body));
            }
            // Unwinding ends the connection's task, and so the connection,
            // without an answer; this way it prints no panic.
            Answer::Vanish => resume_unwind(Box::new(())),
            Answer::Silence => std::future::pending().await,
            Answer::Together(barrier, answer) => {
                barrier.wait().await;
                *answer
            }
        };
    }
}
