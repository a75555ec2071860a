//! HTTP: who may ask, in which version, once or again, and what is answered.

mod answer;
mod execute;
pub(crate) mod keys_in_use;
pub(crate) mod request;
mod routes;
pub(crate) mod secret_keys;
pub(crate) mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};

use self::answer::Answer;
use self::request::ApiRequest;
use self::wire::Wire;
use crate::api::error::{Result, StripeError};
use crate::call::Origin;
use crate::control;
use crate::control::faults::Fault;
use crate::core::Core;

/// The whole API. Paths are told apart in [`routes`], because each of Stripe's refusals, that of
/// an unknown path too, is one of its error bodies.
pub(crate) fn router(core: Arc<Core>) -> Router {
    Router::new().fallback(handle).with_state(core)
}

async fn handle(
    State(core): State<Arc<Core>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let request_id = format!("req_{}", core.random.text(14));
    let is_v2 = request.uri().path().starts_with("/v2/");
    let answer = match request::read(&core, request_id.clone(), request).await {
        Ok(request) => answer(&core, &wire, request).await,
        Err(error) => Err(error),
    };
    let answer = answer.unwrap_or_else(|error| Answer::refusal(&request_id, is_v2, &error));
    answer.into_response()
}

async fn answer(core: &Arc<Core>, wire: &Wire, request: ApiRequest) -> Result<Answer> {
    if request.path.starts_with(control::PREFIX) {
        let body = control::answer(core, &request).await?;
        return Ok(Answer::new(&request, 200, body.to_string()));
    }
    let _claim = match &request.idempotency_key {
        Some(key) => Some(core.keys_in_use.claim(key).ok_or_else(|| in_use(key))?),
        None => None,
    };
    let meter = metered(&request);
    let _turn = match &meter {
        Some(meter) => Some(core.meters_in_use.claim(meter).ok_or_else(too_many)?),
        None => None,
    };
    let (method, path, body) = (&request.method, &request.path, &request.body);
    let fault = core.faults.strike(method, path, body);
    let mut injected = None;
    match fault {
        Some(Fault::ErrorBefore {
            status,
            retry_after_s,
        }) => injected = Some(StripeError::injected(status, retry_after_s)),
        Some(Fault::DelayMs { delay_ms }) => {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        }
        Some(Fault::LoseAnswer) | None => {}
    }
    let origin = Origin {
        request_id: Some(request.id.clone()),
        idempotency_key: request.idempotency_key.clone(),
    };
    let version = request.version.clone();
    let answer = core
        .work(version, origin, move |call| {
            execute::execute(call, &request, injected)
        })
        .await?;
    if fault == Some(Fault::LoseAnswer) {
        wire.cut();
    }
    Ok(answer)
}

/// The customer and the meter of a v1 meter event: Stripe takes one call at a time for both
/// (Stripe's documentation: Recording usage, Rate limits). Which payload key names the customer
/// is the meter's affair; its value shows.
fn metered(request: &ApiRequest) -> Option<String> {
    if request.method != Method::POST || request.path != "/v1/billing/meter_events" {
        return None;
    }
    let fields: Vec<_> = form_urlencoded::parse(&request.body).collect();
    let (_, event_name) = fields.iter().find(|(key, _)| key == "event_name")?;
    let (_, customer) = fields
        .iter()
        .find(|(key, value)| key.starts_with("payload[") && value.starts_with("cus_"))?;
    Some(format!("{customer} {event_name}"))
}

fn too_many() -> StripeError {
    let message = "Only one concurrent call per customer per meter is allowed. Please try again.";
    StripeError::new(429, "invalid_request_error", message)
        .code("rate_limit")
        .not_remembered()
}

/// Two requests at once with one key (Stripe API reference: Error codes).
fn in_use(key: &str) -> StripeError {
    let message = format!(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, and the other request is still going through): {key}. Please try again later."
    );
    StripeError::new(409, "idempotency_error", message)
        .code("idempotency_key_in_use")
        .should_retry(true)
        .not_remembered()
}
