//! `GET /v1/customers/{customer_id}/usage`: units and what they cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use billing::NoRangeCost;
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
    /// What the units cost on an invoice: each line exact, rounded once. None
    /// where a range has no defined cost.
    estimated_cost: Option<String>,
    /// The same, where the currency is usd.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_cost_usd: Option<Option<String>>,
    /// Why there is no cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_cost_unavailable: Option<NoRangeCost>,
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
    let range = query.range.hours(customer.now)?;
    let (hours, totals) = match range {
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
    let price = &customer.row.item.price;
    let cost = match range {
        Some(_) => price.cost_of_range(summary.total_units),
        None => Ok(price.cost(summary.total_units)),
    };
    let (estimated_cost, unavailable) = match cost {
        Ok(cost) => (Some(cost.to_string()), None),
        Err(reason) => (None, Some(reason)),
    };
    let currency = price.currency().as_str();
    Ok(Json(Answer {
        customer_id: customer_id.to_string(),
        period_days: hours.days(),
        period_start: hours.start.to_string(),
        period_end: hours.end.to_string(),
        total_units: summary.total_units,
        pending_units: summary.pending_units,
        by_action_type: summary.by_action_type,
        estimated_cost_usd: (currency == "usd").then(|| estimated_cost.clone()),
        estimated_cost,
        estimated_cost_unavailable: unavailable,
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
