//! Emission: an agent's usage, recorded once and brought to Stripe in the same
//! call.
//!
//! | module | does |
//! | --- | --- |
//! | `cloud_events` | `POST /v1/events`: the same usage, as CloudEvents |
//! | [`request`] | reads what an agent sent, field by field |
//! | [`emitter`] | records, delivers, and says what became of each event |
//! | [`openapi`] | describes these routes for `openapi.json` |
//! | `problems` | says why usage is not recorded, or not billed |
//! | `settling` | records an event together with settling its reservation |
//! | `reservations` | `POST /v1/usage/reservations`, and `DELETE` of one |
//! | [`routes`] | `POST /v1/usage` and `POST /v1/usage/batch` |

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{delete, post};
use billing::Clock;
use ledger::{Ledger, RequestRate};
use web::{Authenticator, Metrics};

mod cloud_events;
pub mod emitter;
mod figures;
pub mod openapi;
mod problems;
pub mod request;
mod reservations;
pub mod routes;
mod settling;

pub use emitter::{Emitted, Emitter};

/// The largest body of a batch, in bytes: 100 events whose ids are 255 bytes
/// long, every one of them escaped, and every other field as long as it may be.
pub const BATCH_BODY_BYTES_MAX: usize = 256 * 1024;

/// What the routes work with.
#[derive(Clone)]
pub struct State {
    authenticator: Arc<Authenticator>,
    emitter: Arc<Emitter>,
    metrics: Metrics,
}

impl State {
    /// Records into `ledger` and delivers to `stripe`.
    pub fn new(ledger: Ledger, stripe: stripe::Client, clock: Arc<dyn Clock>) -> Self {
        Self {
            authenticator: Arc::new(Authenticator::new(ledger.clone(), Arc::clone(&clock))),
            emitter: Arc::new(Emitter::new(ledger, stripe, clock)),
            metrics: Metrics::default(),
        }
    }

    /// Tells `metrics` what becomes of requests and events.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self {
            authenticator: self.authenticator.with_metrics(metrics.clone()),
            metrics,
            ..self
        }
    }

    /// Lets a key that has no rate of its own make so many requests a second.
    #[must_use]
    pub fn with_key_rate(self, key_rate: RequestRate) -> Self {
        Self {
            authenticator: self.authenticator.with_default_rate(key_rate),
            ..self
        }
    }
}

impl FromRef<State> for Metrics {
    fn from_ref(state: &State) -> Self {
        state.metrics.clone()
    }
}

impl FromRef<State> for Arc<Authenticator> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.authenticator)
    }
}

impl FromRef<State> for Arc<Emitter> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.emitter)
    }
}

/// The routes of emission; [`web::service`] goes around them.
pub fn router(state: State) -> Router {
    let batch = post(routes::emit_batch).layer(DefaultBodyLimit::max(BATCH_BODY_BYTES_MAX));
    Router::new()
        .route("/v1/usage", post(routes::emit))
        .route("/v1/usage/batch", batch)
        .route("/v1/usage/reservations", post(reservations::reserve))
        .route(
            "/v1/usage/reservations/{reservation_id}",
            delete(reservations::release),
        )
        .route("/v1/events", post(cloud_events::receive))
        .with_state(state)
}
