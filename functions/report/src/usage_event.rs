//! `GET /v1/usage/{customer_id}?event_id=…` and, for plain ids,
//! `GET /v1/usage/{customer_id}/{event_id}`: one row of the audit log.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use billing::{CustomerId, EventId, HeldReason, Identifier, Timestamp, UsageStatus};
use ledger::UsageEventRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::{Readable, unreadable_path};
use crate::summary::shown_event_name;

/// One usage event and every status that it went through. Times are RFC 3339.
#[derive(Serialize, ToSchema)]
#[schema(as = RecordedUsageEvent)]
pub(crate) struct Answer {
    #[schema(schema_with = schema::event_id)]
    event_id: String,
    #[schema(schema_with = schema::customer_id)]
    customer_id: String,
    /// What Stripe dedupes by: a hash of customer and event id, in hex.
    identifier: String,
    #[schema(schema_with = schema::action_type)]
    action_type: String,
    #[schema(schema_with = schema::quantity)]
    quantity: u64,
    #[schema(schema_with = schema::usage_status)]
    status: UsageStatus,
    #[schema(required)]
    subscription_item_id: Option<String>,
    #[schema(schema_with = schema::time)]
    occurred_at: String,
    #[schema(required, schema_with = schema::time_or_null)]
    billed_at: Option<String>,
    #[schema(required, schema_with = schema::time_or_null)]
    period_start: Option<String>,
    carried_over: bool,
    /// Why it is billed by nothing, where it is held.
    #[schema(required, schema_with = crate::openapi::held_reason)]
    held_reason: Option<HeldReason>,
    /// The meter that counts it; of held usage the one that would. None for
    /// usage records that no catalog tells apart.
    #[schema(required)]
    meter_event_name: Option<String>,
    #[schema(schema_with = schema::time)]
    recorded_at: String,
    #[schema(schema_with = schema::time)]
    first_attempt_at: String,
    #[schema(required)]
    stripe_code: Option<String>,
    #[schema(required)]
    stripe_record_id: Option<String>,
    history: Vec<HistoryEntry>,
}

/// A status, and since when.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageEventHistoryEntry)]
struct HistoryEntry {
    #[schema(schema_with = schema::usage_status)]
    status: UsageStatus,
    #[schema(schema_with = schema::time)]
    at: String,
}

/// The query string of `GET /v1/usage/{customer_id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventQuery {
    event_id: String,
}

/// Any event, by the query: form-encoded, so a space may be `+`, and a plus
/// sign is `%2B`. API Gateway hands the query on as it came.
pub(crate) async fn find(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    parts.usage_event(&customer_id, &query.event_id).await
}

/// An event with a plain id, by the path: one of letters, digits and
/// `- _ . : ~`, other than `.` and `..`. API Gateway's HTTP APIs decode the path
/// before the function gets it, so that an id with a slash, a question mark, a
/// number sign or a percent sign is another path by then; those need the query.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
) -> Result<Json<Answer>, Problem> {
    let Path(path) = path.map_err(unreadable_path)?;
    let event_id = path.get("event_id").map_or("", String::as_str);
    parts.usage_event(&customer_id, event_id).await
}

impl Parts {
    async fn usage_event(
        &self,
        customer_id: &CustomerId,
        event_id: &str,
    ) -> Result<Json<Answer>, Problem> {
        let event_id = EventId::parse(event_id)?;
        let identifier = Identifier::of(customer_id, &event_id);
        match self.ledger.usage_event(&identifier).await? {
            Some(row) => Ok(Json(row.into())),
            None => {
                let detail = "no usage event with this id is recorded for this customer";
                Err(Problem::new(ProblemType::UsageEventNotFound, detail))
            }
        }
    }
}

impl From<UsageEventRow> for Answer {
    fn from(row: UsageEventRow) -> Self {
        let text = |at: Timestamp| at.to_string();
        let history = row.history.iter();
        Self {
            history: history
                .map(|entry| HistoryEntry {
                    status: entry.status,
                    at: text(entry.at),
                })
                .collect(),
            event_id: row.event_id.as_str().to_owned(),
            customer_id: row.customer_id.to_string(),
            identifier: row.identifier.to_string(),
            action_type: row.action_type.as_str().to_owned(),
            quantity: row.quantity,
            status: row.status,
            subscription_item_id: row.subscription_item_id,
            occurred_at: text(row.occurred_at),
            billed_at: row.billed_at.map(text),
            period_start: row.period_start.map(text),
            carried_over: row.carried_over,
            held_reason: row.held_reason,
            meter_event_name: shown_event_name(&row.meter_event_name),
            recorded_at: text(row.recorded_at),
            first_attempt_at: text(row.first_attempt_at),
            stripe_code: row.stripe_code,
            stripe_record_id: row.stripe_record_id,
        }
    }
}
