//! `GET /v1/customers/{customer_id}/access`: whether a customer may act, asked
//! before an action. Emission itself never drops what already happened.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use billing::Timestamp;
use ledger::{CustomerRow, CustomerStatus};
use serde::Serialize;
use web::Problem;

use crate::Parts;
use crate::customer::Readable;
use crate::summary::Summary;

#[derive(Serialize)]
pub(crate) struct Answer {
    allowed: bool,
    /// Why not, in words; null where the customer may act.
    reason: Option<&'static str>,
    status: &'static str,
    /// Units of the current period so far.
    units: u64,
    /// The most units of a period; null while there is no such limit.
    limit: Option<u64>,
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
) -> Result<Json<Answer>, Problem> {
    let customer = parts.customer(&customer_id).await?;
    let totals = parts.totals_of_current_period(&customer).await?;
    let reason = refusal(&customer.row, customer.now);
    Ok(Json(Answer {
        allowed: reason.is_none(),
        reason,
        status: customer.row.status.as_str(),
        units: Summary::of(&totals).total_units,
        limit: None,
    }))
}

/// Why `customer` may not act at its time `now`, if so. While Stripe still
/// tries to collect, the customer goes on.
fn refusal(customer: &CustomerRow, now: Timestamp) -> Option<&'static str> {
    match customer.status {
        CustomerStatus::Suspended => Some("payments have failed for too long"),
        CustomerStatus::Canceled => Some("the subscription has ended"),
        CustomerStatus::Active | CustomerStatus::PastDue => {
            let has_ended = customer.subscription_ends_at.is_some_and(|end| end <= now);
            has_ended.then_some("the subscription has ended")
        }
    }
}
