//! The wire between a process and the services that it calls. It counts the
//! calls by name, and says at the armed site that the process has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::site::{Moment, Service, Site, call};

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often each call was made.
pub type Calls = BTreeMap<String, u32>;

/// What lies behind every wire.
#[derive(Clone, Debug)]
pub struct Services {
    /// DynamoDB's address.
    pub dynamodb: String,
    /// Stripe's.
    pub stripe: String,
    /// SNS's and SES's.
    pub sns: String,
    /// That of the operator's receiver.
    pub operator: String,
    /// How they are reached.
    pub http: reqwest::Client,
    /// Calls under way: one that has left its process is done, whoever is left
    /// to hear the answer.
    pub under_way: TaskTracker,
}

/// When a process ends, and that it has.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The process is to end now.
    pub crash: CancellationToken,
    /// An answer has been passed on behind which nothing more may get out.
    pub last_answer: CancellationToken,
    /// The process has ended.
    pub down: CancellationToken,
    /// What was on its way arrives now.
    pub arrive: CancellationToken,
}

/// A wire. Dropped, it takes no new connection.
#[derive(Debug)]
pub struct Wire {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    services: Services,
    /// The site, and at which of its calls.
    armed: Option<(Site, u32)>,
    calls: Mutex<Calls>,
    signals: Signals,
}

impl Wire {
    /// A wire to `services`. `armed` names a site and the occurrence of its
    /// call, from 1.
    pub async fn start(services: Services, armed: Option<(Site, u32)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            services,
            armed,
            calls: Mutex::default(),
            signals: Signals::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            url: format!("http://{address}"),
            shared,
            server,
        }
    }

    /// Its address, for all services.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its signals.
    pub fn signals(&self) -> Signals {
        self.shared.signals.clone()
    }

    /// The calls that have come.
    pub fn calls(&self) -> Calls {
        self.shared.calls().clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Each request is passed on by a task of its own, which a client that is gone
/// does not end.
async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let under_way = shared.services.under_way.clone();
    let passed = under_way.spawn(async move { shared.pass(request).await });
    passed.await.unwrap_or_else(|_| gone())
}

/// Nobody hears it.
fn gone() -> Response {
    StatusCode::BAD_GATEWAY.into_response()
}

impl Shared {
    async fn pass(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
            // Half a request: its process ended while it was sent.
            return gone();
        };
        if self.signals.last_answer.is_cancelled() {
            return self.crash().await;
        }
        let (service, call) = call(&parts, &body);
        let occurrence = self.count(&call);
        if self.is_armed(&call, Moment::Before, occurrence) {
            return self.crash().await;
        }
        if self.is_armed(&call, Moment::OnItsWay, occurrence) {
            self.crash().await;
            self.signals.arrive.cancelled().await;
        }
        let answer = self.forward(service, &parts, body).await;
        if self.is_armed(&call, Moment::AfterCommit, occurrence) {
            return self.crash().await;
        }
        if self.is_armed(&call, Moment::After, occurrence) {
            self.signals.last_answer.cancel();
        }
        answer
    }

    async fn crash(&self) -> Response {
        self.signals.crash.cancel();
        self.signals.down.cancelled().await;
        gone()
    }

    fn count(&self, call: &str) -> u32 {
        let mut calls = self.calls();
        let count = calls.entry(call.to_owned()).or_default();
        *count += 1;
        *count
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_armed(&self, call: &str, moment: Moment, occurrence: u32) -> bool {
        self.armed.as_ref().is_some_and(|(site, at)| {
            site.call == call && site.moment == moment && *at == occurrence
        })
    }

    async fn forward(&self, service: Service, parts: &Parts, body: Bytes) -> Response {
        let base = match service {
            Service::DynamoDb => &self.services.dynamodb,
            Service::Stripe => &self.services.stripe,
            Service::Sns | Service::Ses => &self.services.sns,
            Service::Operator => &self.services.operator,
        };
        let url = format!("{base}{}", parts.uri);
        let mut headers = parts.headers.clone();
        headers.remove("host");
        let http = &self.services.http;
        let request = http.request(parts.method.clone(), url).headers(headers);
        let answer = request.body(body).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.bytes().await.unwrap()).into_response()
    }
}
