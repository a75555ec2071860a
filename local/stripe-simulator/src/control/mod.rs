//! `/_simulator`: what is not Stripe's. It lets a test say when things happen, break them, and
//! count for itself.

pub(crate) mod faults;
mod inspection;

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::error::{Result, StripeError};
use crate::api::params::Params;
use crate::background;
use crate::core::Core;
use crate::engine::payments;
use crate::resources::{checkout_completion, setup_intents};
use crate::server::request::ApiRequest;

/// Where these routes lie.
pub(crate) const PREFIX: &str = "/_simulator";

/// Answers a request under the prefix.
pub(crate) async fn answer(core: &Arc<Core>, request: &ApiRequest) -> Result<Value> {
    let route = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let query = Params::parse(request.query.as_bytes());
    match (request.method.as_str(), route) {
        ("POST", "/settle") => Ok(serde_json::to_value(background::settle(core).await?)?),
        ("GET", "/meter_events") => {
            core.work_alone(|call| inspection::meter_events(call, query))
                .await
        }
        ("GET", "/deliveries") => {
            core.work_alone(|call| inspection::deliveries(call, query))
                .await
        }
        ("GET", "/faults") => Ok(json!({ "data": core.faults.list() })),
        ("POST", "/faults") => core.faults.add(&request.body),
        ("DELETE", "/faults") => Ok(json!({ "cleared": core.faults.clear() })),
        ("POST", "/roll_secret_key") => {
            let Roll { secret_key } = read(request)?;
            core.secret_keys.roll(secret_key);
            Ok(json!({ "rolled": true }))
        }
        ("POST", _) if route.starts_with("/checkout_sessions/") => complete(core, request).await,
        ("POST", _) if route.starts_with("/setup_intents/") => authenticate(core, request).await,
        ("POST", _) if route.starts_with("/payment_intents/") => {
            authenticate_payment(core, request).await
        }
        _ => Err(unknown(request)),
    }
}

fn unknown(request: &ApiRequest) -> StripeError {
    let message = format!("The simulator has no {} {}.", request.method, request.path);
    let mut error = StripeError::invalid(message);
    error.status = 404;
    error
}

/// The id in `{prefix}{id}/{action}`.
fn id_in(request: &ApiRequest, prefix: &str, action: &str) -> Result<String> {
    let route = request.path.strip_prefix(PREFIX).unwrap_or_default();
    let id = route
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(action));
    id.map(str::to_owned).ok_or_else(|| unknown(request))
}

/// `POST /checkout_sessions/{id}/complete`: somebody fills Checkout in.
async fn complete(core: &Arc<Core>, request: &ApiRequest) -> Result<Value> {
    let id = id_in(request, "/checkout_sessions/", "/complete")?;
    let entry = read(request)?;
    core.work_alone(move |call| checkout_completion::complete(call, &id, &entry))
        .await
}

/// `POST /setup_intents/{id}/authenticate`: somebody does what the bank asks for.
async fn authenticate(core: &Arc<Core>, request: &ApiRequest) -> Result<Value> {
    let id = id_in(request, "/setup_intents/", "/authenticate")?;
    let Authentication { refused } = read(request)?;
    core.work_alone(move |call| setup_intents::authenticate(call, &id, refused))
        .await
}

/// `POST /payment_intents/{id}/authenticate`: the same for a payment.
async fn authenticate_payment(core: &Arc<Core>, request: &ApiRequest) -> Result<Value> {
    let id = id_in(request, "/payment_intents/", "/authenticate")?;
    let Authentication { refused } = read(request)?;
    core.work_alone(move |call| payments::authenticate(call, &id, refused))
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Roll {
    secret_key: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Authentication {
    refused: bool,
}

/// The JSON of the body; none is an empty object.
fn read<T: DeserializeOwned>(request: &ApiRequest) -> Result<T> {
    let body: &[u8] = if request.body.is_empty() {
        b"{}"
    } else {
        &request.body
    };
    serde_json::from_slice(body)
        .map_err(|error| StripeError::invalid(format!("The body cannot be read: {error}")))
}
