//! `POST /v1/usage/reservations` and `DELETE /v1/usage/reservations/{reservation_id}`:
//! units of a customer's limit, held for an agent before it acts.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use billing::reservation::RESERVATION_ID_LENGTH_MAX;
use billing::{CustomerId, FieldError, ReservationId};
use ledger::{CustomerStatus, ReservationRow, Scope};
use limits::{Left, Outcome, ReservingError, Wanted};
use metering::{Billed, KnownCustomer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use web::metrics::Unit;
use web::openapi::schema;
use web::{JsonBody, Metrics, Problem, ProblemType, idempotency_key};

use crate::emitter::Emitter;
use crate::problems::{customer_not_found, customer_problem, not_in_catalog};
use crate::request::{self, ReservationRequest};
use crate::routes::Agent;

/// A reservation. Times are RFC 3339.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
pub(crate) struct Answer {
    #[schema(schema_with = crate::openapi::reservation_id)]
    reservation_id: String,
    #[schema(schema_with = schema::customer_id)]
    customer_id: String,
    /// `held` while its units are; then what ended it.
    #[schema(schema_with = crate::openapi::reservation_state)]
    status: &'static str,
    /// Units.
    #[schema(schema_with = schema::quantity)]
    quantity: u64,
    action_type: String,
    /// Start of the period whose limit they are held of.
    #[schema(schema_with = schema::time)]
    period_start: String,
    /// Until when they are held, unless usage settles them before.
    #[schema(schema_with = schema::time)]
    expires_at: String,
    /// Whether the customer may go on acting, as far as paying goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::customer_status)]
    customer_status: Option<CustomerStatus>,
}

impl Answer {
    fn of(row: &ReservationRow, customer: Option<&KnownCustomer>) -> Self {
        Self {
            reservation_id: row.reservation_id.to_string(),
            customer_id: row.customer_id.to_string(),
            status: row.state.as_str(),
            quantity: row.quantity,
            action_type: row.action_type.as_str().to_owned(),
            period_start: row.period_start.to_string(),
            expires_at: row.expires_at.to_string(),
            customer_status: customer.map(KnownCustomer::status),
        }
    }
}

/// Whose reservation is given back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseQuery {
    customer_id: Option<String>,
}

/// Holds units. 201: they are held by this call. 200: by an earlier one, still.
///
/// # Errors
/// 402: a hard limit has less left. 409: the id is used for something else, or its
/// reservation has ended. 400, 403, 404: nothing is held. 503: perhaps held; the
/// same request again is safe.
pub(crate) async fn reserve(
    State(emitter): State<Arc<Emitter>>,
    State(metrics): State<Metrics>,
    Agent(caller): Agent,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers, RESERVATION_ID_LENGTH_MAX)?;
    let request = request::reservation(&body, key)?;
    web::telemetry::note_customer(&request.customer_id);
    caller.require(Scope::Emit, Some(&request.customer_id))?;
    let (customer, outcome) = emitter.reserve(request).await?;
    let count = |name| metrics.write(&[(name, Unit::Count, 1)]);
    match outcome {
        Outcome::Held(row) => {
            count("reservations_held");
            let answer = Answer::of(&row, Some(&customer));
            Ok((StatusCode::CREATED, Json(answer)).into_response())
        }
        Outcome::HeldBefore(row) => Ok(Json(Answer::of(&row, Some(&customer))).into_response()),
        Outcome::Conflict(row) => Err(conflict(&row)),
        Outcome::LimitReached(left) => {
            count("reservations_refused");
            Err(limit_reached(&left))
        }
    }
}

/// Gives a reservation back. One that has ended stays as it is, which is no error.
///
/// # Errors
/// 404: there is no such reservation of this customer.
pub(crate) async fn release(
    State(emitter): State<Arc<Emitter>>,
    Agent(caller): Agent,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ReleaseQuery>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Path(reservation_id) = path.map_err(|_| {
        let detail = "the path is not percent-encoded UTF-8";
        Problem::new(ProblemType::InvalidRequest, detail)
    })?;
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    let customer_id = query.customer_id.as_deref();
    let customer_id = customer_id.ok_or_else(|| FieldError::new("customer_id", "is missing"))?;
    let customer_id = CustomerId::parse(customer_id)?;
    web::telemetry::note_customer(&customer_id);
    caller.require(Scope::Emit, Some(&customer_id))?;
    let reservation_id = ReservationId::parse(&reservation_id)?;
    let released = emitter.release(&customer_id, &reservation_id).await?;
    let released = released.ok_or_else(|| {
        let detail = "the customer has no reservation of this id";
        Problem::new(ProblemType::NotFound, detail)
    })?;
    Ok(Json(Answer::of(&released, None)))
}

impl Emitter {
    async fn reserve(
        &self,
        request: ReservationRequest,
    ) -> Result<(KnownCustomer, Outcome), Problem> {
        let customer_id = &request.customer_id;
        // Read now: a limit that was just set holds.
        let customer = self.customers.current_customer(customer_id).await;
        let customer = customer.map_err(customer_problem)?;
        let customer = customer.ok_or_else(|| customer_not_found(customer_id))?;
        let catalog = self.catalog.current().await?;
        let billed = Billed::by(catalog.as_deref(), &customer.row, &request.action_type);
        let wanted = Wanted {
            meter_event_name: billed
                .ok_or_else(not_in_catalog)?
                .meter_event_name
                .to_owned(),
            reservation_id: request.reservation_id,
            quantity: request.quantity.get(),
            action_type: request.action_type,
            expires_in_s: request.expires_in_s,
        };
        let reserved = limits::reserve(&self.ledger, &*self.clock, &customer, &wanted).await;
        let outcome = reserved.map_err(|error| match error {
            ReservingError::Ledger(error) => error.into(),
            ReservingError::Currencies(error) => {
                tracing::error!(%error, "a limit cannot be held against a cost");
                Problem::new(ProblemType::Internal, "the cost cannot be summed up")
            }
            ReservingError::Contended => {
                let detail = format!("{error}; nothing is held by this call: try again");
                Problem::new(ProblemType::Unavailable, detail)
            }
        })?;
        Ok((customer, outcome))
    }

    async fn release(
        &self,
        customer_id: &CustomerId,
        reservation_id: &ReservationId,
    ) -> Result<Option<ReservationRow>, Problem> {
        let released = limits::release(&self.ledger, &*self.clock, customer_id, reservation_id);
        Ok(released.await?)
    }
}

fn conflict(row: &ReservationRow) -> Problem {
    let detail = "the customer has a reservation of this reservation_id for other units, or one \
                  that has ended; nothing is held by this call";
    Problem::new(ProblemType::Conflict, detail).with("reservation_status", row.state.as_str())
}

fn limit_reached(left: &Left) -> Problem {
    let (left_units, left_amount) = match left {
        Left::Units(units) => (Some(*units), None),
        Left::Amount(amount) => (None, Some(amount.to_string())),
    };
    let detail = "what is left of the customer's spending limit is less than that; nothing is held";
    Problem::new(ProblemType::LimitReached, detail)
        .with("left_units", left_units)
        .with("left_amount", left_amount)
}
