//! `POST /v1/usage` and `POST /v1/usage/batch`: from a request to an answer.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use billing::UsageStatus;
use billing::usage_event::EVENT_ID_BYTES_MAX;
use ledger::Scope;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use web::{Authenticator, Caller, JsonBody, Metrics, Problem, ProblemType, idempotency_key};

use crate::emitter::{Emitted, Emitter};
use crate::request::Emission;
use crate::{figures, request};

/// A caller who may emit, for one customer at least. For which, the body tells: it
/// is not read for anybody else.
pub struct Agent(pub(crate) Caller);

impl<S> FromRequestParts<S> for Agent
where
    Arc<Authenticator>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.require_scope(Scope::Emit)?;
        Ok(Self(caller))
    }
}

/// Emits one event. 200: Stripe has it. 202: it is durable, and will be
/// delivered; or is `quarantined` or `held`, and the operator knows of it.
///
/// # Errors
/// 400, 403, 404: nothing was recorded. 409: the id is used for other content,
/// or voided. 422: Stripe refused it for good. 503: perhaps recorded; the same
/// request again is safe.
pub async fn emit(
    State(emitter): State<Arc<Emitter>>,
    State(metrics): State<Metrics>,
    Agent(caller): Agent,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, Problem> {
    let emission = request::usage_event(&body, idempotency_key(&headers, EVENT_ID_BYTES_MAX)?)?;
    emit_one(&emitter, &metrics, &caller, emission).await
}

/// Emits what one request is about, and answers what became of it.
pub(crate) async fn emit_one(
    emitter: &Emitter,
    metrics: &Metrics,
    caller: &Caller,
    emission: Emission,
) -> Result<Response, Problem> {
    let event = &emission.event;
    web::telemetry::note_customer(&event.customer_id);
    web::telemetry::note_event(&event.event_id);
    caller.require(Scope::Emit, Some(&event.customer_id))?;
    let emissions = std::slice::from_ref(&emission);
    let mut outcomes = emit_measured(emitter, metrics, emissions).await;
    let emitted = outcomes.pop().unwrap_or_else(|| Err(no_outcome()))?;
    let status = match emitted.status {
        UsageStatus::Delivered => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    Ok((status, Json(emitted)).into_response())
}

/// Emits up to 100 events, each with an outcome of its own: one that is invalid,
/// or for a customer that the key may not act for, spoils no other.
///
/// # Errors
/// 400 where the body is no such list, 403 where the key may not emit at all; no
/// event of it was read then.
pub async fn emit_batch(
    State(emitter): State<Arc<Emitter>>,
    State(metrics): State<Metrics>,
    Agent(caller): Agent,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<BatchAnswer>, Problem> {
    let entries = request::batch(&body)?;
    let read = entries.iter().map(|it| request::usage_event(it, None));
    let outcomes = emit_each(&emitter, &metrics, &caller, read.collect()).await;
    let ids = entries.iter().map(|entry| entry["event_id"].as_str());
    Ok(Json(BatchAnswer::of(ids.zip(outcomes))))
}

/// Emits those of a batch that could be read and that `caller` may emit. One outcome
/// for each, in order.
pub(crate) async fn emit_each(
    emitter: &Emitter,
    metrics: &Metrics,
    caller: &Caller,
    read: Vec<Result<Emission, Problem>>,
) -> Vec<Result<Emitted, Problem>> {
    let read: Vec<_> = read
        .into_iter()
        .map(|read| {
            let emission = read?;
            caller.require(Scope::Emit, Some(&emission.event.customer_id))?;
            Ok(emission)
        })
        .collect();
    let emissions: Vec<Emission> = read
        .iter()
        .filter_map(|r| r.as_ref().ok().cloned())
        .collect();
    let mut emitted = emit_measured(emitter, metrics, &emissions)
        .await
        .into_iter();
    let outcome = |read: Result<Emission, Problem>| match read {
        Ok(_) => emitted.next().unwrap_or_else(|| Err(no_outcome())),
        Err(problem) => Err(problem),
    };
    read.into_iter().map(outcome).collect()
}

async fn emit_measured(
    emitter: &Emitter,
    metrics: &Metrics,
    emissions: &[Emission],
) -> Vec<Result<Emitted, Problem>> {
    let started = Instant::now();
    let outcomes = emitter.emit(emissions).await;
    figures::write(metrics, started.elapsed(), &outcomes);
    figures::log(emissions, &outcomes);
    outcomes
}

/// The answer to a batch. Each event is in one of the four counts.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// One for each event, in order.
    results: Vec<BatchResult>,
    /// Delivered for the first time.
    delivered: usize,
    /// Durable, not in Stripe: pending, quarantined or held.
    pending: usize,
    /// Recorded by an earlier call, and in Stripe.
    duplicates: usize,
    /// Those that have an `error`.
    rejected: usize,
}

/// What became of one event of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum BatchResult {
    /// It is durable.
    Emitted(Emitted),
    /// It is not; or, where `status` is `unknown`, perhaps.
    Refused {
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        event_id: Option<String>,
        #[schema(schema_with = crate::openapi::refusal_status)]
        status: &'static str,
        #[schema(schema_with = crate::openapi::problem)]
        error: Problem,
    },
}

impl BatchAnswer {
    /// Of the events' ids, as far as they have one, and what became of each.
    pub(crate) fn of<'a>(
        outcomes: impl Iterator<Item = (Option<&'a str>, Result<Emitted, Problem>)>,
    ) -> Self {
        let mut answer = Self::default();
        for (event_id, outcome) in outcomes {
            answer.add(event_id, outcome);
        }
        answer
    }

    fn add(&mut self, event_id: Option<&str>, outcome: Result<Emitted, Problem>) {
        let result = match outcome {
            Ok(emitted) => {
                match (emitted.status, emitted.duplicate) {
                    (UsageStatus::Delivered, false) => self.delivered += 1,
                    (UsageStatus::Delivered, true) => self.duplicates += 1,
                    _ => self.pending += 1,
                }
                BatchResult::Emitted(emitted)
            }
            Err(error) => {
                self.rejected += 1;
                BatchResult::Refused {
                    event_id: event_id.map(str::to_owned),
                    status: refusal_status(error.problem_type()),
                    error,
                }
            }
        };
        self.results.push(result);
    }
}

/// The word for an event that is not accepted. `unknown` ones may be recorded:
/// they are to be sent again under the same id.
const fn refusal_status(problem_type: ProblemType) -> &'static str {
    match problem_type {
        ProblemType::Conflict => "conflict",
        ProblemType::Voided => "voided",
        ProblemType::Rejected => "rejected",
        ProblemType::Unavailable | ProblemType::StripeUnavailable | ProblemType::Internal => {
            "unknown"
        }
        _ => "invalid",
    }
}

fn no_outcome() -> Problem {
    Problem::new(ProblemType::Internal, "the event has no outcome")
}
