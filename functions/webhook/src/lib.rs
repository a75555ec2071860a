//! Stripe's webhooks: what Stripe says of invoices, subscriptions and refused
//! usage becomes the customers' status and the audit log's, each event once.
//!
//! An event only says that something happened. What holds now is asked of
//! Stripe, so events may come late, twice and in any order.

mod dispute;
mod error;
pub mod invocation;
mod meter_errors;
mod notification;
mod pending_usage;
mod refused_sending;
mod settings;
mod setup;
mod signing;
mod standing;
mod subject;
mod sweep;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use billing::{Clock, CustomerId};
use ledger::{BillingEventRow, BillingEventState, Delivery, Ledger, StoredNotification};
use metering::{CatalogCache, CustomerDirectory, Deliverer};
use notify::{Channels, Notifier, Origin};
use serde_json::json;
use stripe::{MeterErrorReport, WebhookEvent};
use web::metrics::Unit;
use web::{Metrics, Problem, ProblemType};

use crate::dispute::DISPUTE_CREATED;
use crate::error::WebhookError;
pub use crate::settings::{FAILED_ATTEMPTS, GRACE_DAYS, InvalidDunningSetting, dunning_policy};
use crate::setup::SETUP_SUCCEEDED;
pub use crate::signing::{NoSigningSecret, SigningSecrets, signing_secrets};
pub use crate::sweep::{SweepError, SweepReport};
pub use metering::{DunningPolicy, EVENT_TYPES};

/// Far above any event of Stripe's, whose invoices bring their first lines along.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The parts of the function.
#[derive(Clone)]
pub struct State(Arc<Parts>);

struct Parts {
    ledger: Ledger,
    stripe: stripe::Client,
    customers: CustomerDirectory,
    catalog: CatalogCache,
    deliverer: Deliverer,
    signing_secrets: SigningSecrets,
    notifier: Notifier,
    channels: Channels,
    dunning: DunningPolicy,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// What an operator chooses.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// Where notifications go: by default to the log alone.
    pub notifier: Notifier,
    /// By which ways they go out besides: by default by none. Who sends them finds
    /// them with the event.
    pub channels: Channels,
    /// When who does not pay is suspended.
    pub dunning: DunningPolicy,
    /// Who is told what becomes of events: by default nobody.
    pub metrics: Metrics,
}

impl State {
    /// Takes events that are signed with one of `signing_secrets`, of the
    /// account that `stripe` speaks for; all else is as by default.
    pub fn new(
        ledger: Ledger,
        stripe: stripe::Client,
        signing_secrets: impl Into<SigningSecrets>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let configuration = Configuration::default();
        Self::configured(ledger, stripe, signing_secrets, clock, configuration)
    }

    /// The same, as the operator chose.
    pub fn configured(
        ledger: Ledger,
        stripe: stripe::Client,
        signing_secrets: impl Into<SigningSecrets>,
        clock: Arc<dyn Clock>,
        configuration: Configuration,
    ) -> Self {
        let (known_in, told_by) = (ledger.clone(), stripe.clone());
        Self(Arc::new(Parts {
            customers: CustomerDirectory::new(known_in, told_by, Arc::clone(&clock)),
            catalog: CatalogCache::new(ledger.clone(), Arc::clone(&clock)),
            deliverer: Deliverer::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
            ledger,
            stripe,
            signing_secrets: signing_secrets.into(),
            notifier: configuration.notifier,
            channels: configuration.channels,
            dunning: configuration.dunning,
            metrics: configuration.metrics,
            clock,
        }))
    }
}

/// What became of an event that is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    /// An earlier delivery had applied it.
    Duplicate,
    /// Of no customer or subscription of ours, or of no type that matters.
    Foreign,
}

impl Outcome {
    const fn metric(self) -> &'static str {
        match self {
            Self::Applied => "webhook_applied",
            Self::Duplicate => "webhook_duplicate",
            Self::Foreign => "webhook_foreign",
        }
    }
}

/// The function's routes: the function URL's, and the one beside the other
/// functions on one machine.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/", post(receive))
        .route("/stripe/webhook", post(receive))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

async fn receive(
    axum::extract::State(State(parts)): axum::extract::State<State>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|refusal| {
        let (problem_type, detail) = match refusal.status() {
            StatusCode::PAYLOAD_TOO_LARGE => (ProblemType::BodyTooLarge, "the body is too large"),
            _ => (ProblemType::InvalidRequest, "the body could not be read"),
        };
        Problem::new(problem_type, detail)
    })?;
    if !parts.is_signed(&headers, &body).await {
        parts.count("webhook_unsigned");
        let refusal = Json(json!({ "error": "invalid signature" }));
        return Ok((StatusCode::BAD_REQUEST, refusal).into_response());
    }
    let event = WebhookEvent::parse(&body).map_err(|error| {
        tracing::error!(%error, "a signed event cannot be read");
        Problem::new(ProblemType::InvalidRequest, "the event cannot be read")
    })?;
    let dealt = parts.deal_with(&event).await;
    parts.count(dealt.as_ref().map_or("webhook_failed", |o| o.metric()));
    let (event_id, event_type) = (event.id(), event.event_type());
    match &dealt {
        Ok(outcome) => tracing::info!(event_id, event_type, ?outcome, "webhook"),
        Err(error) => tracing::warn!(event_id, event_type, %error, "webhook failed"),
    }
    dealt?;
    Ok(Json(json!({ "received": true })).into_response())
}

impl Parts {
    async fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let header = headers
            .get("stripe-signature")
            .and_then(|header| header.to_str().ok());
        let Some(header) = header else { return false };
        let now_unix_s = self.clock.now().unix_s();
        let verified = self.signing_secrets.verify(header, body, now_unix_s).await;
        if let Err(error) = &verified {
            tracing::warn!(%error, "a webhook is not signed by Stripe");
        }
        verified.is_ok()
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.write(&[(outcome, Unit::Count, 1)]);
    }

    async fn deal_with(&self, event: &WebhookEvent) -> Result<Outcome, WebhookError> {
        if event.livemode() != self.stripe.livemode() {
            // No repeat would bring another answer, and nothing in the tables is of
            // that mode.
            tracing::error!(
                event_id = event.id(),
                event_type = event.event_type(),
                livemode = event.livemode(),
                "an event of the other mode: the signing secret is not of the key's mode"
            );
            return Ok(Outcome::Foreign);
        }
        match event {
            WebhookEvent::Snapshot(event) if event.event_type == DISPUTE_CREATED => {
                self.tell_of_dispute(event).await
            }
            WebhookEvent::Snapshot(event) if event.event_type == SETUP_SUCCEEDED => {
                self.finish_onboarding(event).await
            }
            WebhookEvent::Snapshot(event) => match subject::Subject::of(event) {
                Some(subject) => self.apply_to_customer(event, &subject).await,
                None => {
                    tracing::debug!(
                        event_id = event.id,
                        event_type = event.event_type,
                        "not ours"
                    );
                    Ok(Outcome::Foreign)
                }
            },
            WebhookEvent::Thin(event) => {
                if MeterErrorReport::EVENT_TYPES.contains(&event.event_type.as_str()) {
                    self.reject_refused_usage(event).await
                } else {
                    Ok(Outcome::Foreign)
                }
            }
        }
    }

    /// Whether the event was applied before; notifications that may not be out
    /// yet go out, again perhaps.
    async fn was_applied(&self, stripe_event_id: &str) -> Result<bool, WebhookError> {
        match self.ledger.billing_event(stripe_event_id).await? {
            Some(event) => {
                self.finish(&event).await?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// An event that is dealt with, and what there is to tell of it.
    fn billing_event(
        &self,
        origin: Origin<'_>,
        customer_id: Option<CustomerId>,
        notifications: Vec<StoredNotification>,
    ) -> BillingEventRow {
        let now = self.clock.now();
        BillingEventRow {
            stripe_event_id: origin.id.to_owned(),
            event_type: origin.stripe_event_type.unwrap_or_default().to_owned(),
            customer_id,
            created_at: origin.created_at,
            applied_at: now,
            state: BillingEventState::Applied,
            deliveries: Delivery::of_all(&notifications, self.channels.as_slice(), now),
            notifications,
        }
    }

    /// Notifies, then notes that: a crash in between notifies twice, never not.
    async fn finish(&self, event: &BillingEventRow) -> Result<(), WebhookError> {
        if event.state == BillingEventState::Done {
            return Ok(());
        }
        for notification in &event.notifications {
            if let Err(error) = self.notifier.send(notification).await {
                self.metrics
                    .write(&[("notifications_failed", Unit::Count, 1)]);
                return Err(error.into());
            }
        }
        Ok(self
            .ledger
            .finish_billing_event(&event.stripe_event_id)
            .await?)
    }
}
