//! `POST /v1/customers/{customer_id}/dashboard-links` and the page behind them,
//! `GET /dashboard`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use billing::CustomerId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::bill::{Bill, Stretch};
use crate::customer::Readable;
use crate::invoices::InvoiceAnswer;
use crate::links::Refusal;
use crate::page::{self, Dashboard};
use crate::summary::Summary;
use crate::usage;

/// How long the dashboard waits for Stripe's list of invoices.
const INVOICES_TIMEOUT: Duration = Duration::from_secs(2);

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
    Readable(customer_id): Readable,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parts.customer(&customer_id).await?;
    let link = parts
        .links
        .create(&customer_id, parts.clock.now(), &headers);
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
    let mut response = Json(answer).into_response();
    // Whoever reads the link from a cache could use it.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The query of a dashboard link.
#[derive(Debug, Deserialize)]
pub(crate) struct LinkQuery {
    customer: String,
    expires: String,
    signature: String,
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    query: Result<Query<LinkQuery>, QueryRejection>,
) -> Response {
    let checked = match query {
        Ok(Query(link)) => {
            let (links, now) = (&parts.links, parts.clock.now());
            let opened = links.open(&link.customer, &link.expires, &link.signature, now);
            opened.await
        }
        Err(_) => Err(Refusal::Invalid),
    };
    let customer_id = match checked {
        Ok(customer_id) => customer_id,
        Err(Refusal::Invalid) => return html(StatusCode::FORBIDDEN, page::invalid_link()),
        Err(Refusal::Expired) => return html(StatusCode::FORBIDDEN, page::expired_link()),
    };
    match parts.dashboard(&customer_id).await {
        Ok(dashboard) => html(StatusCode::OK, page::dashboard(&dashboard)),
        Err(problem) => html(problem.problem_type().status(), page::unavailable()),
    }
}

impl Parts {
    async fn dashboard(&self, customer_id: &CustomerId) -> Result<Dashboard, Problem> {
        let as_of = self.clock.now();
        let customer = self.customer(customer_id).await?;
        let days = self.days_of_current_period(&customer).await?;
        let summary = Summary::of(&customer.row, &days);
        let bill = Bill::of(&customer.row, &summary, Stretch::Period)?;
        Ok(Dashboard {
            status: customer.status(),
            period: usage::current_period(&customer),
            currency: customer.row.item.price.currency().as_str().to_owned(),
            summary,
            bill,
            invoices: self.invoices_in_time(customer_id).await,
            as_of,
        })
    }

    /// The invoices, if Stripe has them soon: the numbers are worth showing
    /// without, and the next look is two seconds away.
    async fn invoices_in_time(&self, customer_id: &CustomerId) -> Option<Arc<[InvoiceAnswer]>> {
        timeout(INVOICES_TIMEOUT, self.latest_invoices(customer_id))
            .await
            .ok()?
            .ok()
    }
}

/// A page that nobody else may keep, frame, or learn the address of.
fn html(status: StatusCode, page: String) -> Response {
    let mut response = (status, page).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    if let Ok(policy) = HeaderValue::from_str(&page::content_security_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
