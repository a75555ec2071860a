//! `/_simulator`: what is not Stripe's. It lets a test say when things happen, break them, and
//! count for itself.

pub(crate) mod faults;
mod inspection;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::error::{Result, StripeError};
use crate::api::params::Params;
use crate::background;
use crate::core::Core;
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
        (method, _) => {
            let message = format!("The simulator has no {method} {}.", request.path);
            let mut error = StripeError::invalid(message);
            error.status = 404;
            Err(error)
        }
    }
}
