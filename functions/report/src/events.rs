//! `GET /v1/customers/{customer_id}/events` and `…/events/export`: the audit log
//! of a customer, page by page.

use std::sync::Arc;

use audit::{AuditEvent, EventFilter, EventPage, EventWriter, ExportFormat, PageBounds, read_page};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LINK};
use axum::response::{IntoResponse, Response};
use billing::{ActionType, CustomerId, FieldError, UsageStatus};
use ledger::{UsageEventOrder, UsageEventPosition};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::Readable;
use crate::query::{parse_limit, parse_time};

pub(crate) const LIMIT_DEFAULT: u32 = 20;
pub(crate) const LIMIT_MAX: u32 = 100;
pub(crate) const EXPORT_LIMIT_MAX: u32 = 1_000;
pub(crate) const FORMAT_DEFAULT: &str = "csv";
/// The longest event name of a meter that is asked for (Stripe API reference:
/// The Meter object, `event_name`).
pub(crate) const METER_EVENT_NAME_LENGTH_MAX: usize = 100;

/// Events that one answer looks at: what a filter passes over must not cost
/// without end. A hundred are a read, and reads of an export go side by side.
const LOOKED_AT_MAX: usize = 1_000;
const EXPORT_LOOKED_AT_MAX: usize = 4_000;

/// Bytes of an export's answer, but for the event that goes past them. Lambda
/// takes 6 MB, and what is not text goes through it in base64, a third longer
/// (AWS Lambda Developer Guide: "Lambda quotas").
const EXPORT_BYTES_MAX: usize = 4_000_000;

/// The query string of both. Unknown names are refused: a misspelt `status`
/// would answer for all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEventsQuery {
    format: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    from: Option<String>,
    to: Option<String>,
    billed_from: Option<String>,
    billed_to: Option<String>,
    action_type: Option<String>,
    status: Option<String>,
    meter_event_name: Option<String>,
}

/// Usage events, the last to happen first.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageEvents)]
pub(crate) struct ListAnswer {
    /// Fewer than `limit`, or none, may be here where there are more: what is
    /// looked at for one answer is bounded.
    events: Vec<AuditEvent>,
    /// What gives the next page as `cursor`; null where there is none.
    #[schema(required, schema_with = schema::text_or_null)]
    next_cursor: Option<String>,
}

pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<RawEventsQuery>, QueryRejection>,
) -> Result<Json<ListAnswer>, Problem> {
    let query = read(query)?;
    if query.format.is_some() {
        let reason = "is for events/export: this is always JSON";
        return Err(FieldError::new("format", reason).into());
    }
    let bounds = PageBounds {
        events: query.limit(LIMIT_DEFAULT, LIMIT_MAX)?,
        looked_at: LOOKED_AT_MAX,
    };
    parts.require_customer(&customer_id).await?;
    let order = UsageEventOrder::NewestFirst;
    let page = query.page(&parts, &customer_id, order, bounds).await?;
    let next_cursor = page.next.map(|next| cursor(&next)).transpose()?;
    Ok(Json(ListAnswer {
        events: page.events.into_iter().map(AuditEvent::from).collect(),
        next_cursor,
    }))
}

pub(crate) async fn export(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<RawEventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = read(query)?;
    let format = query.format.as_deref().unwrap_or(FORMAT_DEFAULT);
    let format = format.parse::<ExportFormat>();
    let format = format.map_err(|error| FieldError::new("format", error.to_string()))?;
    let bounds = PageBounds {
        events: query.limit(EXPORT_LIMIT_MAX, EXPORT_LIMIT_MAX)?,
        looked_at: EXPORT_LOOKED_AT_MAX,
    };
    parts.require_customer(&customer_id).await?;
    let order = UsageEventOrder::OldestFirst;
    let page = query.page(&parts, &customer_id, order, bounds).await?;
    let (body, next) = query.written(format, page)?;
    let name = format!("events-{customer_id}.{}", format.as_str());
    let disposition = format!("attachment; filename=\"{name}\"");
    let content_type = HeaderValue::from_static(format.content_type());
    let mut response = ([(CONTENT_TYPE, content_type)], body).into_response();
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, header(&disposition)?);
    if let Some(next) = next {
        let query = query.with_cursor(&cursor(&next)?);
        let link = format!("</v1/customers/{customer_id}/events/export?{query}>; rel=\"next\"");
        response.headers_mut().insert(LINK, header(&link)?);
    }
    Ok(response)
}

fn read(query: Result<Query<RawEventsQuery>, QueryRejection>) -> Result<RawEventsQuery, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    Ok(query)
}

impl RawEventsQuery {
    fn limit(&self, default: u32, max: u32) -> Result<usize, FieldError> {
        let limit = self.limit.as_deref();
        let limit = limit.map_or(Ok(default), |limit| parse_limit(limit, max))?;
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn filter(&self) -> Result<EventFilter, FieldError> {
        let time = |field, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| parse_time(field, text)).transpose()
        };
        let filter = EventFilter {
            from: time("from", &self.from)?,
            to: time("to", &self.to)?,
            billed_from: time("billed_from", &self.billed_from)?,
            billed_to: time("billed_to", &self.billed_to)?,
            action_type: self
                .action_type
                .as_deref()
                .map(ActionType::parse)
                .transpose()?,
            status: self.status.as_deref().map(parse_status).transpose()?,
            meter_event_name: self
                .meter_event_name
                .as_deref()
                .map(parse_meter_event_name)
                .transpose()?,
        };
        for (field, (from, to)) in [
            ("to", (filter.from, filter.to)),
            ("billed_to", (filter.billed_from, filter.billed_to)),
        ] {
            if from.zip(to).is_some_and(|(from, to)| to <= from) {
                let reason = "must be later than the time that it is to follow";
                return Err(FieldError::new(field, reason));
            }
        }
        Ok(filter)
    }

    async fn page(
        &self,
        parts: &Parts,
        customer_id: &CustomerId,
        order: UsageEventOrder,
        bounds: PageBounds,
    ) -> Result<EventPage, Problem> {
        let filter = self.filter()?;
        let after = self.cursor.as_deref().map(parse_cursor).transpose()?;
        let page = read_page(&parts.ledger, customer_id, &filter, order, after, bounds);
        Ok(page.await?)
    }

    /// The body that `page` makes, and after which event the next one begins.
    fn written(
        &self,
        format: ExportFormat,
        page: EventPage,
    ) -> Result<(Vec<u8>, Option<UsageEventPosition>), Problem> {
        let mut writer = EventWriter::new(format, Vec::new());
        if self.cursor.is_none() {
            writer.begin().map_err(not_written)?;
        }
        let mut rows = page.events.into_iter();
        while let Some(row) = rows.next() {
            let position = row.position();
            writer.write(&row.into()).map_err(not_written)?;
            writer.flush().map_err(not_written)?;
            let is_full = writer.out().len() > EXPORT_BYTES_MAX;
            if is_full && rows.len() > 0 {
                return Ok((writer.finish().map_err(not_written)?, Some(position)));
            }
        }
        Ok((writer.finish().map_err(not_written)?, page.next))
    }

    /// The same query, for the page after `cursor`.
    fn with_cursor(&self, cursor: &str) -> String {
        let given = [
            ("format", &self.format),
            ("limit", &self.limit),
            ("from", &self.from),
            ("to", &self.to),
            ("billed_from", &self.billed_from),
            ("billed_to", &self.billed_to),
            ("action_type", &self.action_type),
            ("status", &self.status),
            ("meter_event_name", &self.meter_event_name),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in given {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.append_pair("cursor", cursor).finish()
    }
}

fn parse_status(text: &str) -> Result<UsageStatus, FieldError> {
    let mut all = UsageStatus::ALL.into_iter();
    all.find(|status| status.as_str() == text).ok_or_else(|| {
        let words = UsageStatus::ALL.map(UsageStatus::as_str).join(", ");
        FieldError::new("status", format!("must be one of {words}"))
    })
}

/// An empty one is that of usage records which no catalog tells apart.
fn parse_meter_event_name(text: &str) -> Result<String, FieldError> {
    if text.chars().count() > METER_EVENT_NAME_LENGTH_MAX {
        let reason = format!("must have at most {METER_EVENT_NAME_LENGTH_MAX} characters");
        return Err(FieldError::new("meter_event_name", reason));
    }
    Ok(text.to_owned())
}

fn parse_cursor(text: &str) -> Result<UsageEventPosition, FieldError> {
    UsageEventPosition::from_token(text).ok_or_else(|| {
        let reason = "must be the cursor of an answer, as it was given";
        FieldError::new("cursor", reason)
    })
}

fn cursor(position: &UsageEventPosition) -> Result<String, Problem> {
    position.to_token().ok_or_else(|| {
        tracing::error!(?position, "an event's identifier is none");
        Problem::new(ProblemType::Internal, "the next page has no address")
    })
}

fn not_written(error: std::io::Error) -> Problem {
    tracing::error!(%error, "events cannot be written");
    Problem::new(ProblemType::Internal, "the events cannot be written")
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|error| {
        tracing::error!(%error, "a header cannot be written");
        Problem::new(ProblemType::Internal, "the answer cannot be written")
    })
}

impl Parts {
    /// The latest events of `customer_id`, the last to happen first, each with
    /// its present status: 16 reads of the index and one of the rows.
    pub(crate) async fn latest_events(
        &self,
        customer_id: &CustomerId,
        events: usize,
    ) -> Result<Vec<AuditEvent>, Problem> {
        let bounds = PageBounds {
            events,
            looked_at: events,
        };
        let (filter, order) = (EventFilter::default(), UsageEventOrder::NewestFirst);
        let page = read_page(&self.ledger, customer_id, &filter, order, None, bounds).await?;
        Ok(page.events.into_iter().map(AuditEvent::from).collect())
    }
}
