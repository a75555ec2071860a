//! `GET /v1/customers/{customer_id}/invoices` and `…/invoices/upcoming`: from
//! Stripe, as they are now.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use billing::{Currency, Money, Timestamp};
use ledger::CustomerRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::Readable;
use crate::query::parse_limit;

pub(crate) const LIMIT_DEFAULT: u32 = 12;
/// Stripe's own limit for a page (Stripe API reference: Pagination).
pub(crate) const LIMIT_MAX: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListQuery {
    limit: Option<String>,
}

/// Invoices, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Invoices)]
pub(crate) struct ListAnswer {
    invoices: Vec<InvoiceAnswer>,
    /// Whether there are older ones.
    has_more: bool,
}

/// One invoice. Amounts are decimal texts in major units, times RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Invoice)]
pub(crate) struct InvoiceAnswer {
    /// None for an invoice that is still to come.
    #[schema(required)]
    pub(crate) invoice_id: Option<String>,
    #[schema(required)]
    pub(crate) number: Option<String>,
    #[schema(required)]
    pub(crate) status: Option<String>,
    #[schema(required)]
    billing_reason: Option<String>,
    #[schema(schema_with = schema::currency)]
    pub(crate) currency: String,
    #[schema(schema_with = schema::amount)]
    pub(crate) total: String,
    #[schema(schema_with = schema::amount)]
    amount_due: String,
    #[schema(schema_with = schema::amount)]
    amount_paid: String,
    #[schema(schema_with = schema::amount)]
    pub(crate) amount_remaining: String,
    #[schema(schema_with = schema::time)]
    pub(crate) created_at: String,
    #[schema(schema_with = schema::time)]
    period_start: String,
    #[schema(schema_with = schema::time)]
    period_end: String,
    #[schema(required, schema_with = schema::time_or_null)]
    finalized_at: Option<String>,
    #[schema(required, schema_with = schema::time_or_null)]
    paid_at: Option<String>,
    #[schema(required, schema_with = schema::time_or_null)]
    pub(crate) next_payment_attempt_at: Option<String>,
    #[schema(required)]
    pub(crate) hosted_invoice_url: Option<String>,
    #[schema(required)]
    pub(crate) invoice_pdf: Option<String>,
    lines: Vec<LineAnswer>,
}

/// One line of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = InvoiceLine)]
struct LineAnswer {
    #[schema(required)]
    description: Option<String>,
    #[schema(required)]
    quantity: Option<i64>,
    /// Per unit, in minor units, as Stripe's decimal text.
    #[schema(required)]
    unit_amount_decimal: Option<String>,
    #[schema(schema_with = schema::amount)]
    amount: String,
    #[schema(schema_with = schema::time)]
    period_start: String,
    #[schema(schema_with = schema::time)]
    period_end: String,
}

pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<RawListQuery>, QueryRejection>,
) -> Result<Json<ListAnswer>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    let limit = query
        .limit
        .as_deref()
        .map_or(Ok(LIMIT_DEFAULT), |limit| parse_limit(limit, LIMIT_MAX))?;
    // Customers of the account that are none of ours are nobody's to look at here.
    parts.customer(&customer_id).await?;
    let invoices = parts
        .stripe
        .list_invoices(customer_id.as_str(), limit)
        .await;
    let invoices = invoices.map_err(|error| Problem::from_stripe("list invoices", &error))?;
    let has_more = invoices.has_more;
    let invoices = invoices
        .iter()
        .map(InvoiceAnswer::of)
        .collect::<Result<_, _>>()?;
    Ok(Json(ListAnswer { invoices, has_more }))
}

pub(crate) async fn show_upcoming(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
) -> Result<Json<InvoiceAnswer>, Problem> {
    let customer = parts.customer(&customer_id).await?;
    let upcoming = parts.upcoming_invoice(&customer.row).await?;
    let upcoming = upcoming.ok_or_else(|| {
        let detail = "no invoice is to come: the subscription has ended";
        Problem::new(ProblemType::NotFound, detail)
    })?;
    Ok(Json(upcoming))
}

impl Parts {
    /// The invoice of the current period as Stripe would bill now; none where the
    /// subscription has ended.
    pub(crate) async fn upcoming_invoice(
        &self,
        customer: &CustomerRow,
    ) -> Result<Option<InvoiceAnswer>, Problem> {
        let customer_id = customer.customer_id.as_str();
        let preview = self
            .stripe
            .create_invoice_preview(customer_id, &customer.subscription_id)
            .await;
        match preview {
            Ok(preview) => Ok(Some(InvoiceAnswer {
                invoice_id: None,
                ..InvoiceAnswer::of(&preview)?
            })),
            Err(error) if error.code() == Some("invoice_upcoming_none") => Ok(None),
            Err(error) => Err(Problem::from_stripe("preview invoice", &error)),
        }
    }
}

impl InvoiceAnswer {
    pub(crate) fn of(invoice: &stripe::Invoice) -> Result<Self, Problem> {
        let currency = Currency::parse(&invoice.currency).map_err(|error| {
            tracing::error!(invoice_id = invoice.id, %error, "an invoice's currency is unreadable");
            Problem::new(ProblemType::Internal, "Stripe's answer cannot be used")
        })?;
        let money =
            |minor_units| Money::from_minor_units(minor_units, currency.clone()).to_string();
        let lines = invoice.lines.iter().map(|line| LineAnswer {
            description: line.description.clone(),
            quantity: line.quantity,
            unit_amount_decimal: line.unit_amount_decimal.clone(),
            amount: money(line.amount),
            period_start: time(line.period.start),
            period_end: time(line.period.end),
        });
        let transitions = &invoice.status_transitions;
        Ok(Self {
            lines: lines.collect(),
            invoice_id: Some(invoice.id.clone()),
            number: invoice.number.clone(),
            status: invoice.status.clone(),
            billing_reason: invoice.billing_reason.clone(),
            total: money(invoice.total),
            amount_due: money(invoice.amount_due),
            amount_paid: money(invoice.amount_paid),
            amount_remaining: money(invoice.amount_remaining),
            currency: currency.as_str().to_owned(),
            created_at: time(invoice.created),
            period_start: time(invoice.period_start),
            period_end: time(invoice.period_end),
            finalized_at: transitions.finalized_at.map(time),
            paid_at: transitions.paid_at.map(time),
            next_payment_attempt_at: invoice.next_payment_attempt.map(time),
            hosted_invoice_url: invoice.hosted_invoice_url.clone(),
            invoice_pdf: invoice.invoice_pdf.clone(),
        })
    }
}

fn time(unix_s: i64) -> String {
    Timestamp::from_unix_s(unix_s).to_string()
}
