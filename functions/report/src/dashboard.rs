//! `POST /v1/customers/{customer_id}/dashboard-links`, and what is behind the links: the
//! page `GET /dashboard`, its data, its files, and the way to Stripe's billing portal.

pub(crate) mod assets;
pub(crate) mod board;
mod chart;
pub(crate) mod figures;
pub(crate) mod framing;
mod latest_events;
mod limit;
mod notices;
mod page;
pub(crate) mod payments;
pub(crate) mod portal;
mod projection;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ledger::Scope;
use maud::Markup;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{JsonBody, Problem, ProblemType};

use crate::Parts;
use crate::customer::ReadableBy;
use crate::dashboard::framing::FrameAncestors;
use crate::dashboard::payments::Payments;
use crate::entity_tag::EntityTag;
use crate::links::{LinkQuery, Opened, Refusal};

/// How long the page waits for Stripe's invoices. Its script asks for them again.
const INVOICES_TIMEOUT: Duration = Duration::from_millis(800);

/// What a link is to open.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = DashboardLinkRequest)]
pub(crate) struct LinkRequest {
    /// Whether it leads on to Stripe's billing portal, where the customer changes how
    /// they pay. Needs a key of scope `admin`, as a portal session does.
    #[schema(required = false)]
    billing_portal: bool,
}

/// A link to a customer's dashboard.
#[derive(Serialize, ToSchema)]
#[schema(as = DashboardLink)]
pub(crate) struct LinkAnswer {
    /// Whoever has it sees the dashboard: it is a secret.
    #[schema(schema_with = schema::url)]
    url: String,
    /// Until when it works.
    #[schema(schema_with = schema::time)]
    expires_at: String,
}

pub(crate) async fn create_link(
    State(parts): State<Arc<Parts>>,
    readable: ReadableBy,
    headers: HeaderMap,
    body: Option<JsonBody<LinkRequest>>,
) -> Result<Response, Problem> {
    let JsonBody(LinkRequest { billing_portal }) = body.unwrap_or(JsonBody(LinkRequest::default()));
    let ReadableBy {
        customer_id,
        caller,
    } = readable;
    if billing_portal {
        caller.require(Scope::Admin, Some(&customer_id))?;
    }
    parts.customer(&customer_id).await?;
    let now = parts.clock.now();
    let link = parts
        .links
        .create(&customer_id, billing_portal, now, &headers);
    let link = link.ok_or_else(|| {
        Problem::new(
            ProblemType::InvalidRequest,
            "the request's Host header names no host",
        )
    })?;
    let answer = LinkAnswer {
        url: link.url,
        expires_at: link.expires_at.to_string(),
    };
    // Whoever reads the link from a cache could use it.
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// Why a request under a link gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The link opens nothing.
    Link(Refusal),
    /// The link opens the dashboard, and does not lead on to the billing portal from where
    /// it was asked for.
    NoPortal,
}

impl Refused {
    /// As a page.
    fn page(self) -> Response {
        let page = match self {
            Self::Link(Refusal::Invalid) => notices::invalid_link(),
            Self::Link(Refusal::Expired) => notices::expired_link(),
            Self::NoPortal => notices::no_portal(),
        };
        html(StatusCode::FORBIDDEN, page)
    }
}

/// The same for the script; it tells its reader which of them it was.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (reason, detail) = match refusal {
            Refusal::Invalid => ("invalid", "the dashboard link was never issued like this"),
            Refusal::Expired => ("expired", "the dashboard link has expired"),
        };
        Self::new(ProblemType::Forbidden, detail).with("reason", reason)
    }
}

impl Parts {
    /// What the link in a request's query opens.
    async fn opened(
        &self,
        query: Result<Query<LinkQuery>, QueryRejection>,
    ) -> Result<Opened, Refused> {
        let Query(link) = query.map_err(|_| Refused::Link(Refusal::Invalid))?;
        let opened = self.links.open(&link, self.clock.now()).await;
        let opened = opened.map_err(Refused::Link)?;
        web::telemetry::note_customer(&opened.customer_id);
        Ok(opened)
    }

    /// The same for the page's script.
    async fn opened_for_script(
        &self,
        query: Result<Query<LinkQuery>, QueryRejection>,
    ) -> Result<Opened, Problem> {
        self.opened(query).await.map_err(|refused| match refused {
            Refused::Link(refusal) => refusal.into(),
            Refused::NoPortal => Refusal::Invalid.into(),
        })
    }

    /// The invoices, if Stripe has them soon: the figures are worth showing without.
    async fn payments_in_time(&self, opened: &Opened) -> Option<Arc<Payments>> {
        let listed = timeout(INVOICES_TIMEOUT, self.payments(&opened.customer_id)).await;
        Some(listed.ok()?.ok()?.payments)
    }
}

/// `GET /dashboard`.
pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    State(frame_ancestors): State<Arc<FrameAncestors>>,
    query: Result<Query<LinkQuery>, QueryRejection>,
    uri: axum::http::Uri,
) -> Response {
    let opened = match parts.opened(query).await {
        Ok(opened) => opened,
        Err(refused) => return framed(refused.page(), &frame_ancestors),
    };
    let (shown, payments) = tokio::join!(
        parts.board(&opened.customer_id),
        parts.payments_in_time(&opened)
    );
    let response = match shown {
        Ok(shown) => {
            let page = page::Dashboard {
                figures: &shown.figures,
                events: &shown.events,
                payments: payments.as_deref(),
                as_of: shown.as_of,
                link: &opened,
                query: uri.query().unwrap_or_default(),
            };
            html(StatusCode::OK, page.render())
        }
        Err(problem) => html(problem.problem_type().status(), notices::unavailable()),
    };
    framed(response, &frame_ancestors)
}

/// `GET /dashboard/data`.
pub(crate) async fn show_data(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    query: Result<Query<LinkQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let opened = parts.opened_for_script(query).await?;
    let shown = parts.board(&opened.customer_id).await?;
    Ok(unless_known(&headers, &shown.tag, shown.body))
}

/// `GET /dashboard/invoices`.
pub(crate) async fn show_invoices(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    query: Result<Query<LinkQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let opened = parts.opened_for_script(query).await?;
    let listed = parts.payments(&opened.customer_id).await?;
    Ok(unless_known(&headers, &listed.tag, listed.body))
}

/// The JSON `body`, or 304 for who has it. Nobody else may keep it.
fn unless_known(headers: &HeaderMap, tag: &EntityTag, body: Bytes) -> Response {
    let always = [
        (ETAG, tag.value()),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    if tag.is_known(headers) {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    let json = [(CONTENT_TYPE, "application/json")];
    (always, json, body).into_response()
}

/// A page that nobody else may keep, frame, or learn the address of.
pub(crate) fn html(status: StatusCode, page: Markup) -> Response {
    let mut response = (status, page.into_string()).into_response();
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    framed(response, &FrameAncestors::default())
}

/// `response` under the policy of the page: it loads its own files and talks to its own
/// host alone, and only pages of `frame_ancestors` may frame it.
fn framed(mut response: Response, frame_ancestors: &FrameAncestors) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors {}",
        frame_ancestors.source_list()
    );
    // Origins are of letters, digits and marks that a header takes; and without a policy
    // the page is not worth having.
    match HeaderValue::from_str(&policy) {
        Ok(policy) => {
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
