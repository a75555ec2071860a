//! `GET /v1/customers/{customer_id}/access`: whether a customer may act, asked
//! before an action. Emission itself never drops what already happened.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use billing::{ActionType, Cap, FieldError, Timestamp};
use ledger::{CustomerRow, CustomerStatus};
use limits::{LimitView, Spending, Standing};
use metering::Billed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::bill::mixed_currencies;
use crate::customer::Readable;

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
    /// The limit, in units or in money, and what is left of it; null while there
    /// is none.
    #[schema(required)]
    spending_limit: Option<LimitView>,
}

/// How much a caller is about to use.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessQuery {
    units: Option<String>,
    action_type: Option<String>,
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<AccessQuery>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    let asked = Asked::parse(&query)?;
    let customer = parts.customer(&customer_id).await?;
    let (spending, watch) = parts.spending(&customer).await?;
    let standing = Standing::of(&spending).map_err(mixed_currencies)?;
    let ends_at = customer.row.subscription_ends_at;
    let mut reason = refusal(customer.status(), ends_at, customer.now);
    if let Some(standing) = &standing {
        let exceeds = parts.exceeds(&asked, standing, &spending).await?;
        let stops = standing.stops().then_some(REACHED);
        reason = reason.or(stops).or(exceeds.then_some(EXCEEDED));
    }
    let spending_limit = standing.map(|it| LimitView::of(&it, watch.as_ref()));
    Ok(Json(Answer {
        allowed: reason.is_none(),
        reason,
        status: customer.status().as_str(),
        units: spending.units(),
        limit: spending_limit.as_ref().and_then(|limit| limit.units),
        spending_limit,
    }))
}

const REACHED: &str = "the spending limit of the period is reached";
const EXCEEDED: &str = "so many units are more than what is left of the spending limit";

/// What is about to be used, if the caller says so.
struct Asked {
    units: u64,
    action_type: Option<ActionType>,
}

impl Asked {
    fn parse(query: &AccessQuery) -> Result<Self, Problem> {
        let units = match query.units.as_deref() {
            Some(digits) => {
                let units = digits.parse().ok().filter(|units| *units > 0);
                let reason = "must be a whole number, 1 or more";
                units.ok_or_else(|| FieldError::new("units", reason))?
            }
            None => 0,
        };
        let action_type = query.action_type.as_deref();
        let action_type = action_type.map(ActionType::parse).transpose()?;
        if units == 0 && action_type.is_some() {
            let reason = "has a meaning with units only";
            return Err(FieldError::new("action_type", reason).into());
        }
        Ok(Self { units, action_type })
    }
}

impl Parts {
    /// Whether what is asked for is more than what is left.
    async fn exceeds(
        &self,
        asked: &Asked,
        standing: &Standing,
        spending: &Spending<'_>,
    ) -> Result<bool, Problem> {
        if asked.units == 0 {
            return Ok(false);
        }
        let meter = match standing.limit.cap {
            // Whatever is done, a unit is a unit.
            Cap::Units(_) => String::new(),
            Cap::Amount { .. } => self.meter_of(asked, spending.customer()).await?,
        };
        let refused = standing.refuses(spending, &meter, asked.units);
        refused.map_err(mixed_currencies)
    }

    /// The event name of the meter whose price decides.
    async fn meter_of(&self, asked: &Asked, customer: &CustomerRow) -> Result<String, Problem> {
        let Some(action_type) = &asked.action_type else {
            if customer.more_items.is_empty() {
                return Ok(customer.item.meter_event_name.clone());
            }
            let reason =
                "is needed: the subscription has several prices, and the limit is in money";
            return Err(FieldError::new("action_type", reason).into());
        };
        let catalog = self.catalog.current().await?;
        let billed = Billed::by(catalog.as_deref(), customer, action_type);
        let billed = billed.ok_or_else(|| {
            let reason = "is not in the catalog of billable actions";
            FieldError::new("action_type", reason)
        })?;
        Ok(billed.meter_event_name.to_owned())
    }
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
