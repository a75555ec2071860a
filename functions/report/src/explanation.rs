//! `GET /v1/customers/{customer_id}/invoices/{invoice_id}/explanation`: why an
//! invoice's lines say what they say.

use std::collections::HashMap;
use std::sync::Arc;

use audit::{ExplainError, Explainer, InvoiceExplanation};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use ledger::Ledger;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::{Readable, unreadable_path};

/// Events that an answer looks at for what was carried over, at most, for each
/// meter: two reads of a thousand rows.
const LOOKED_AT_MAX: usize = 2_000;

pub(crate) fn explainer(ledger: &Ledger, stripe: &stripe::Client) -> Explainer {
    Explainer::new(ledger.clone(), stripe.clone(), LOOKED_AT_MAX)
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
) -> Result<Json<InvoiceExplanation>, Problem> {
    let Path(path) = path.map_err(unreadable_path)?;
    let invoice_id = path.get("invoice_id").map_or("", String::as_str);
    let customer = parts.customer(&customer_id).await?;
    let explained = parts.explainer.explain(&customer.row, invoice_id).await;
    explained.map(Json).map_err(problem)
}

fn problem(error: ExplainError) -> Problem {
    match error {
        ExplainError::Ledger(error) => error.into(),
        ExplainError::Stripe { what, source } => Problem::from_stripe(what, &source),
        ExplainError::NoSuchInvoice => Problem::new(
            ProblemType::NotFound,
            "no invoice with this id is the customer's",
        ),
        ExplainError::Currency(error) => {
            tracing::error!(%error, "an invoice's currency is unreadable");
            Problem::new(ProblemType::Internal, "Stripe's answer cannot be used")
        }
    }
}
