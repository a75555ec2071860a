//! What a customer used, costs and may do: the audit log and the totals as
//! JSON, Stripe's invoices, and a dashboard behind a signed link.

mod access;
mod bill;
mod customer;
mod dashboard;
mod document;
mod entity_tag;
mod events;
mod explanation;
mod invoices;
mod limit;
mod links;
pub mod openapi;
mod past_days;
mod query;
mod series;
mod summary;
mod usage;
mod usage_event;

use std::sync::Arc;

use audit::Explainer;
use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use billing::Clock;
use ledger::{Ledger, RequestRate};
use metering::{CatalogCache, CustomerDirectory};
use web::{Authenticator, Metrics};

use crate::dashboard::board::Boards;
pub use crate::dashboard::framing::{FrameAncestors, InvalidFrameAncestors};
use crate::dashboard::payments::InvoiceShelf;
use crate::dashboard::portal::PortalSessions;
pub use crate::links::{DashboardLinks, InvalidLinkSettings};
use crate::past_days::PastDays;

/// The parts of the function.
#[derive(Clone)]
pub struct State {
    parts: Arc<Parts>,
    authenticator: Arc<Authenticator>,
    frame_ancestors: Arc<FrameAncestors>,
}

struct Parts {
    ledger: Ledger,
    stripe: stripe::Client,
    directory: CustomerDirectory,
    boards: Boards,
    past_days: PastDays,
    catalog: CatalogCache,
    invoices: InvoiceShelf,
    explainer: Explainer,
    portal_sessions: PortalSessions,
    links: DashboardLinks,
    clock: Arc<dyn Clock>,
}

impl State {
    /// Reports from `ledger` and `stripe`; dashboards are reached by `links`.
    pub fn new(
        ledger: Ledger,
        stripe: stripe::Client,
        links: DashboardLinks,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let authenticator = Authenticator::new(ledger.clone(), Arc::clone(&clock));
        let directory = CustomerDirectory::new(ledger.clone(), stripe.clone(), Arc::clone(&clock));
        let catalog = CatalogCache::new(ledger.clone(), Arc::clone(&clock));
        let explainer = explanation::explainer(&ledger, &stripe);
        let parts = Parts {
            ledger,
            stripe,
            directory,
            boards: Boards::default(),
            past_days: PastDays::default(),
            invoices: InvoiceShelf::default(),
            portal_sessions: PortalSessions::default(),
            catalog,
            explainer,
            links,
            clock,
        };
        Self {
            parts: Arc::new(parts),
            authenticator: Arc::new(authenticator),
            frame_ancestors: Arc::default(),
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

    /// Lets the pages of `frame_ancestors` show dashboards in a frame.
    #[must_use]
    pub fn with_frame_ancestors(self, frame_ancestors: FrameAncestors) -> Self {
        Self {
            frame_ancestors: Arc::new(frame_ancestors),
            ..self
        }
    }

    /// Tells `metrics` of requests that are refused for being too many.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self {
            authenticator: self.authenticator.with_metrics(metrics),
            ..self
        }
    }
}

impl FromRef<State> for Arc<Authenticator> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.authenticator)
    }
}

impl FromRef<State> for Arc<Parts> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.parts)
    }
}

impl FromRef<State> for Arc<FrameAncestors> {
    fn from_ref(state: &State) -> Self {
        Arc::clone(&state.frame_ancestors)
    }
}

/// The function's routes.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/v1/usage/{customer_id}", get(usage_event::find))
        .route("/v1/usage/{customer_id}/{event_id}", get(usage_event::show))
        .route("/v1/customers/{customer_id}/usage", get(usage::show))
        .route("/v1/customers/{customer_id}/events", get(events::list))
        .route(
            "/v1/customers/{customer_id}/events/export",
            get(events::export),
        )
        .route("/v1/customers/{customer_id}/access", get(access::show))
        .route(
            "/v1/customers/{customer_id}/spending-limit",
            get(limit::show).put(limit::set).delete(limit::remove),
        )
        .route("/v1/customers/{customer_id}/invoices", get(invoices::list))
        .route(
            "/v1/customers/{customer_id}/invoices/upcoming",
            get(invoices::show_upcoming),
        )
        .route(
            "/v1/customers/{customer_id}/invoices/{invoice_id}/explanation",
            get(explanation::show),
        )
        .route(
            "/v1/customers/{customer_id}/dashboard-links",
            post(dashboard::create_link),
        )
        .route("/dashboard", get(dashboard::show))
        .route("/dashboard/data", get(dashboard::show_data))
        .route("/dashboard/invoices", get(dashboard::show_invoices))
        .route("/dashboard/billing-portal", post(dashboard::portal::open))
        .route(
            "/dashboard/assets/{version}/{name}",
            get(dashboard::assets::show),
        )
        .route("/openapi.json", get(document::show))
        .with_state(state)
}
