//! Where Stripe sends its events: an endpoint that refuses some, hears some
//! twice, and hands the rest to the functions that are running.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fault::{Class, Fault, Faults};
use crate::functions::Functions;

/// The endpoint. Dropped, it stops.
pub(crate) struct Endpoint {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<io::Result<()>>,
}

struct Shared {
    faults: Faults,
    functions: Mutex<Option<Arc<Functions>>>,
}

impl Endpoint {
    pub(crate) async fn start(faults: Faults) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            faults,
            functions: Mutex::default(),
        });
        let routes = Router::new()
            .route("/", post(receive))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let task = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { url, shared, task })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Hands what comes to `functions`, until they are killed.
    pub(crate) fn serve_with(&self, functions: Option<Arc<Functions>>) {
        let serving = self.shared.functions.lock();
        *serving.unwrap_or_else(PoisonError::into_inner) = functions;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let functions = {
        let functions = shared.functions.lock();
        functions.unwrap_or_else(PoisonError::into_inner).clone()
    };
    let Some(functions) = functions else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    // A process that is killed leaves the webhook where it is.
    let deal_with = async || {
        tokio::select! {
            status = functions.webhook(&headers, body.to_vec()) => status.ok(),
            () = functions.killed.notified() => None,
        }
    };
    let fault = shared.faults.decide(Class::Webhook, "webhook");
    let status = match fault.map(|(fault, _)| fault) {
        Some(Fault::WebhookRefused) => return StatusCode::SERVICE_UNAVAILABLE,
        Some(Fault::WebhookAnswerLost) => {
            let _ = deal_with().await;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        Some(Fault::WebhookTwiceAtOnce) => {
            let (first, second) = tokio::join!(deal_with(), deal_with());
            first.and(second)
        }
        _ => deal_with().await,
    };
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
