//! `POST /v1/customers`: from an email address and a payment method to a
//! customer in Stripe with a metered subscription, exactly one per external id.

mod error;
mod onboard;
mod price;
mod request;
mod steps;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use billing::{Clock, FieldError};
use ledger::{CustomerRow, Ledger, Scope};
use serde::Serialize;
use web::{Authenticator, Caller, JsonBody, Problem};

use crate::onboard::Onboarder;
use crate::request::{Body, Request};

/// The parts of the function.
#[derive(Clone)]
pub struct State {
    onboarder: Arc<Onboarder>,
    authenticator: Arc<Authenticator>,
}

impl State {
    /// Onboards into `ledger` and `stripe`; customers subscribe to the price
    /// with the lookup key `price_lookup_key`.
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
        .with_state(state)
}

/// A customer that is onboarded, by this call or an earlier one.
#[derive(Serialize)]
struct Answer<'a> {
    customer_id: &'a str,
    subscription_id: &'a str,
    subscription_item_id: &'a str,
    status: &'static str,
}

/// Answers 201 to the call that finishes an onboarding and to its repeats
/// alike: which of two calls was the first one to finish, a caller who lost an
/// answer cannot know and need not.
async fn create_customer(
    axum::extract::State(state): axum::extract::State<State>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Body>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin, None)?;
    let idempotency_key = idempotency_key(&headers)?;
    let request = Request::check(body, idempotency_key, state.onboarder.stripe.livemode())?;
    let customer = state.onboarder.onboard(&request).await?;
    Ok(created(&customer))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, FieldError> {
    let key = headers
        .get("idempotency-key")
        .map(|key| key.to_str())
        .transpose();
    key.map_err(|_| FieldError::new("Idempotency-Key", "must be printable ASCII"))
}

fn created(customer: &CustomerRow) -> Response {
    let answer = Answer {
        customer_id: customer.customer_id.as_str(),
        subscription_id: &customer.subscription_id,
        subscription_item_id: &customer.subscription_item_id,
        status: customer.status.as_str(),
    };
    (StatusCode::CREATED, axum::Json(answer)).into_response()
}
