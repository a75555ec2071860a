//! `GET /v1/usage/{customer_id}?event_id=…` and, for plain ids,
//! `GET /v1/usage/{customer_id}/{event_id}`: one row of the audit log.

use std::collections::HashMap;
use std::sync::Arc;

use audit::AuditEvent;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use billing::{CustomerId, EventId, Identifier};
use serde::Deserialize;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::{Readable, unreadable_path};

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
) -> Result<Json<AuditEvent>, Problem> {
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
) -> Result<Json<AuditEvent>, Problem> {
    let Path(path) = path.map_err(unreadable_path)?;
    let event_id = path.get("event_id").map_or("", String::as_str);
    parts.usage_event(&customer_id, event_id).await
}

impl Parts {
    async fn usage_event(
        &self,
        customer_id: &CustomerId,
        event_id: &str,
    ) -> Result<Json<AuditEvent>, Problem> {
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
