//! `POST /v1/customers`: from an email address and a payment method to a
//! customer in Stripe with a metered subscription, exactly one per external id.

mod adoption;
mod body;
mod collection;
mod customer;
mod error;
mod finish;
mod item_answer;
mod items;
mod next_price;
mod onboard;
pub mod openapi;
mod operator;
mod outcome;
mod portal;
mod prices;
mod request;
mod steps;
mod subscription;
mod terms;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use billing::Clock;
use ledger::{CustomerRow, Ledger, RequestRate};
use serde::Serialize;
use stripe::ExposeSecret;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Authenticator, JsonBody, Metrics, Problem, idempotency_key};

use crate::body::{Body, EXTERNAL_ID_BYTES_MAX};
pub use crate::finish::{Finished, finish};
use crate::item_answer::{ItemAnswer, item_answers};
use crate::onboard::Onboarder;
use crate::operator::Operator;
use crate::outcome::{Awaited, Outcome, Way};
use crate::request::Request;

/// The parts of the function.
#[derive(Clone)]
pub struct State {
    onboarder: Arc<Onboarder>,
    authenticator: Arc<Authenticator>,
}

impl State {
    /// Onboards into `ledger` and `stripe`; customers subscribe to the prices of
    /// the catalog in `ledger`, or to the one with the lookup key
    /// `price_lookup_key` where there is no catalog.
    pub fn new(
        ledger: Ledger,
        stripe: stripe::Client,
        price_lookup_key: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            authenticator: Arc::new(Authenticator::new(ledger.clone(), Arc::clone(&clock))),
            onboarder: Arc::new(Onboarder {
                ledger,
                stripe,
                price_lookup_key,
                clock,
            }),
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

/// The function's routes.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/v1/customers", post(create_customer))
        .route(
            "/v1/customers/{customer_id}/subscription",
            post(subscription::update).delete(subscription::cancel),
        )
        .route(
            "/v1/customers/{customer_id}/billing-portal-sessions",
            post(portal::create_session),
        )
        .with_state(state)
}

/// A customer that is onboarded, by this call or an earlier one.
#[derive(Serialize, ToSchema)]
#[schema(as = Customer)]
struct Answer<'a> {
    #[schema(schema_with = schema::customer_id)]
    customer_id: &'a str,
    subscription_id: &'a str,
    /// The first of `subscription_items`.
    subscription_item_id: &'a str,
    subscription_items: Vec<ItemAnswer<'a>>,
    #[schema(schema_with = schema::customer_status)]
    status: &'static str,
}

/// Answers 201 to the call that finishes an onboarding and to its repeats
/// alike: which of two calls was the first one to finish, a caller who lost an
/// answer cannot know and need not.
async fn create_customer(
    axum::extract::State(state): axum::extract::State<State>,
    _operator: Operator,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(&headers, EXTERNAL_ID_BYTES_MAX)?;
    let request = Request::check(body, idempotency_key, state.onboarder.stripe.livemode())?;
    Ok(match state.onboarder.onboard(&request).await? {
        Outcome::Onboarded(customer) => created(&customer),
        Outcome::Awaits(awaited) => accepted(&awaited),
    })
}

fn created(customer: &CustomerRow) -> Response {
    let answer = Answer {
        customer_id: customer.customer_id.as_str(),
        subscription_id: &customer.subscription_id,
        subscription_item_id: &customer.item.subscription_item_id,
        subscription_items: item_answers(customer),
        status: customer.status.as_str(),
    };
    (StatusCode::CREATED, axum::Json(answer)).into_response()
}

/// A customer who has to enter a payment method first. It is for the person who
/// pays, so it must not be cached on its way.
#[derive(Serialize, ToSchema)]
#[schema(as = AwaitedCustomer)]
struct AwaitedAnswer<'a> {
    #[schema(schema_with = schema::customer_id)]
    customer_id: &'a str,
    #[schema(schema_with = openapi::awaiting)]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::url)]
    checkout_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::time)]
    checkout_expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
}

fn accepted(awaited: &Awaited) -> Response {
    let mut answer = AwaitedAnswer {
        customer_id: &awaited.customer_id,
        status: "awaiting_payment_method",
        checkout_url: None,
        checkout_expires_at: None,
        client_secret: None,
    };
    match &awaited.way {
        Way::Checkout { url, expires_at } => {
            answer.checkout_url = Some(url);
            answer.checkout_expires_at = Some(expires_at.to_string());
        }
        Way::SetupIntent { client_secret } => {
            answer.client_secret = Some(client_secret.expose_secret());
        }
    }
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (StatusCode::ACCEPTED, no_store, axum::Json(answer)).into_response()
}
