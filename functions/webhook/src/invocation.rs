//! What Lambda calls the function with: an HTTP request to its URL, or the
//! schedule's event.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::response::Response;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceExt;
use lambda_http::{Adapter, LambdaEvent};
use serde_json::Value;
use tokio::time::Instant;
use web::MainError;
use web::xray::{Trace, traced};

use crate::State;

/// What a scheduled event says it is (Amazon EventBridge User Guide: "Creating
/// an Amazon EventBridge rule that runs on a schedule").
const SCHEDULED: &str = "Scheduled Event";
/// The last event that a sweep starts has this long before the function is cut off.
const RESERVE: Duration = Duration::from_secs(12);

/// Answers one call of Lambda's: a webhook by `routes`, the schedule by a sweep.
///
/// # Errors
/// A [`MainError`] for what is neither, and where the sweep breaks off.
pub async fn answer(
    state: &State,
    routes: Router,
    event: LambdaEvent<Value>,
) -> Result<Value, MainError> {
    let LambdaEvent { payload, context } = event;
    // A request to the URL has its body as a text: nobody can forge this there.
    if payload.get("detail-type").and_then(Value::as_str) == Some(SCHEDULED) {
        let left = context.deadline().duration_since(SystemTime::now());
        let budget = left.unwrap_or_default().saturating_sub(RESERVE);
        let sweep = state.sweep(Instant::now() + budget);
        let report = traced(Trace::of(&context), sweep).await?;
        return Ok(serde_json::to_value(report)?);
    }
    let request: LambdaRequest = serde_json::from_value(payload)?;
    let http: Adapter<'_, Response, Router> = Adapter::from(routes);
    let answered: Result<_, Infallible> = http.oneshot(LambdaEvent::new(request, context)).await;
    match answered {
        Ok(answer) => Ok(serde_json::to_value(answer)?),
        Err(never) => match never {},
    }
}
