//! `GET /v1/customers/{customer_id}/access`: whether a customer may act, asked
//! before an action. Emission itself never drops what already happened.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use billing::Timestamp;
use ledger::CustomerStatus;
use serde::Serialize;
use utoipa::ToSchema;
use web::Problem;
use web::openapi::schema;

use crate::Parts;
use crate::customer::Readable;
use crate::summary::Summary;

/// Whether the customer may act.
#[derive(Serialize, ToSchema)]
#[schema(as = Access)]
pub(crate) struct Answer {
    allowed: bool,
    /// Why not, in words; null where the customer may act.
    #[schema(required)]
    reason: Option<&'static str>,
    #[schema(schema_with = schema::customer_status)]
    status: &'static str,
    /// Units of the current period so far, of every meter.
    units: u64,
    /// The most units of a period; null while there is no such limit.
    #[schema(required)]
    limit: Option<u64>,
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
) -> Result<Json<Answer>, Problem> {
    let customer = parts.customer(&customer_id).await?;
    let days = parts.days_of_current_period(&customer).await?;
    let ends_at = customer.row.subscription_ends_at;
    let reason = refusal(customer.status(), ends_at, customer.now);
    Ok(Json(Answer {
        allowed: reason.is_none(),
        reason,
        status: customer.status().as_str(),
        units: Summary::of(&customer.row, &days).total_units,
        limit: None,
    }))
}

/// Why a customer of `status` may not act at its time `now`, if so. While
/// Stripe still tries to collect, the customer goes on.
fn refusal(
    status: CustomerStatus,
    subscription_ends_at: Option<Timestamp>,
    now: Timestamp,
) -> Option<&'static str> {
    match status {
        CustomerStatus::Suspended => Some("payments have failed for too long"),
        CustomerStatus::Canceled => Some("the subscription has ended"),
        CustomerStatus::Active | CustomerStatus::PastDue => {
            let has_ended = subscription_ends_at.is_some_and(|end| end <= now);
            has_ended.then_some("the subscription has ended")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn nobody_acts_after_the_end_and_nobody_is_stopped_while_stripe_collects() {
        let (earlier, later) = (Some(NOW.plus_ms(-1)), Some(NOW.plus_ms(1)));
        for (status, ends_at, allowed) in [
            (CustomerStatus::Active, None, true),
            (CustomerStatus::PastDue, None, true),
            (CustomerStatus::Active, later, true),
            (CustomerStatus::Active, earlier, false),
            (CustomerStatus::Active, Some(NOW), false),
            (CustomerStatus::PastDue, earlier, false),
            (CustomerStatus::Suspended, None, false),
            (CustomerStatus::Canceled, None, false),
        ] {
            assert_eq!(
                refusal(status, ends_at, NOW).is_none(),
                allowed,
                "{status:?} {ends_at:?}"
            );
        }
    }
}
