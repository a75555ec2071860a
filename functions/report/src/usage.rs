//! `GET /v1/customers/{customer_id}/usage`: units and what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use billing::{Money, UnitPrice};
use ledger::{CustomerRow, Total};
use metering::KnownCustomer;
use serde::Serialize;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::customer::Readable;
use crate::query::{Hours, RawUsageQuery, UsageQuery};
use crate::summary::{SeriesEntry, Summary, series};

/// Usage over a stretch of time, by the time that it is billed at. Times are
/// RFC 3339, amounts decimal texts in major units.
#[derive(Serialize)]
pub(crate) struct Answer {
    customer_id: String,
    /// Length of the stretch, rounded up to whole days.
    period_days: i64,
    /// Its start, inclusive.
    period_start: String,
    /// Its end, exclusive.
    period_end: String,
    /// Units that are, or will be, on an invoice.
    total_units: u64,
    /// Those of them that Stripe is not yet known to have.
    pending_units: u64,
    by_action_type: BTreeMap<String, u64>,
    currency: String,
    /// What the units cost on one invoice line: exact, rounded once.
    estimated_cost: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_cost_usd: Option<String>,
    as_of: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<SeriesEntry>>,
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
    query: Result<Query<RawUsageQuery>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(ProblemType::InvalidRequest, error.body_text()))?;
    let query = UsageQuery::parse(&query)?;
    let as_of = parts.clock.now();
    let customer = parts.customer(&customer_id).await?;
    let (hours, totals) = match query.range.hours(customer.now)? {
        Some(hours) => {
            let totals = parts
                .ledger
                .totals_of_range(&customer_id, hours.start, hours.end);
            (hours, totals.await?)
        }
        None => (
            current_period(&customer),
            parts.totals_of_current_period(&customer).await?,
        ),
    };
    let summary = Summary::of(&totals);
    let cost = cost(&customer.row, summary.total_units)?;
    let currency = customer.row.currency.as_str();
    Ok(Json(Answer {
        customer_id: customer_id.to_string(),
        period_days: hours.days(),
        period_start: hours.start.to_string(),
        period_end: hours.end.to_string(),
        total_units: summary.total_units,
        pending_units: summary.pending_units,
        by_action_type: summary.by_action_type,
        estimated_cost: cost.to_string(),
        estimated_cost_usd: (currency == "usd").then(|| cost.to_string()),
        currency: currency.to_owned(),
        as_of: as_of.to_string(),
        series: query.group_by.map(|group_by| series(&totals, group_by)),
    }))
}

impl Parts {
    /// The totals of the period that `customer` is in.
    pub(crate) async fn totals_of_current_period(
        &self,
        customer: &KnownCustomer,
    ) -> Result<Vec<Total>, Problem> {
        let start = current_period(customer).start;
        Ok(self
            .ledger
            .totals_of_period(&customer.row.customer_id, start)
            .await?)
    }
}

/// The period that `customer` is in. Where Stripe has not told of it yet it
/// begins where the known one ends, and is taken to be as long.
pub(crate) fn current_period(customer: &KnownCustomer) -> Hours {
    let CustomerRow {
        period_start,
        period_end,
        ..
    } = *customer.row;
    if customer.now < period_end || customer.row.subscription_ends_at.is_some() {
        return Hours {
            start: period_start,
            end: period_end,
        };
    }
    let length_ms = period_end.ms_since(period_start);
    Hours {
        start: period_end,
        end: period_end.plus_ms(length_ms),
    }
}

/// What `units` cost at the customer's price.
pub(crate) fn cost(customer: &CustomerRow, units: u64) -> Result<Money, Problem> {
    let price = UnitPrice::parse(&customer.unit_amount_decimal, customer.currency.clone());
    let price = price.map_err(|error| {
        tracing::error!(customer_id = %customer.customer_id, %error, "a stored price cannot be computed with");
        Problem::new(ProblemType::Internal, "the customer's price cannot be computed with")
    })?;
    Ok(price.line_amount(units))
}
