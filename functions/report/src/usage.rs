//! `GET /v1/customers/{customer_id}/usage`: units and what they cost.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use billing::NoRangeCost;
use ledger::BillableDay;
use metering::KnownCustomer;
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::Parts;
use crate::bill::{Bill, MeterUsage, Stretch, paid_days};
use crate::customer::Readable;
use crate::query::{Hours, RawUsageQuery, UsageQuery};
use crate::series::{SeriesEntry, series};
use crate::summary::Summary;

/// Usage over a stretch of time, by the time that it is billed at. Times are
/// RFC 3339, amounts decimal texts in major units.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct Answer {
    #[schema(schema_with = schema::customer_id)]
    customer_id: String,
    /// Length of the stretch, rounded up to whole days.
    period_days: i64,
    /// Its start, inclusive.
    #[schema(schema_with = schema::time)]
    period_start: String,
    /// Its end, exclusive.
    #[schema(schema_with = schema::time)]
    period_end: String,
    /// Units of every meter that Stripe has, or will have: as many as those of
    /// `by_action_type` and of a series. Those of a meter that no item bills any
    /// more are among them, since they were used and a range's may have been
    /// billed; `by_meter` tells them apart, and they are in no cost.
    total_units: u64,
    /// Those of them that Stripe is not yet known to have.
    pending_units: u64,
    by_action_type: BTreeMap<String, u64>,
    /// The subscription's items, in its order, and what each bills; then the
    /// meters that no item bills any more.
    by_meter: Vec<MeterUsage>,
    #[schema(schema_with = schema::currency)]
    currency: String,
    /// What the units cost on an invoice: the sum of the items, each line exact,
    /// rounded once. None where a range has no defined cost.
    #[schema(required, schema_with = schema::amount_or_null)]
    estimated_cost: Option<String>,
    /// The same, where the currency is usd.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::amount_or_null)]
    estimated_cost_usd: Option<Option<String>>,
    /// Why there is no cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = crate::openapi::no_range_cost)]
    estimated_cost_unavailable: Option<NoRangeCost>,
    #[schema(schema_with = schema::time)]
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
    let (hours, days) = match range {
        Some(hours) => {
            let (start, end) = (hours.start, hours.end);
            let days = parts
                .ledger
                .billable_days_of_range(&customer_id, start, end);
            (hours, days.await?)
        }
        None => {
            let days = parts.days_of_current_period(&customer).await?;
            (current_period(&customer), days)
        }
    };
    let summary = Summary::of(&customer.row, &days);
    let series = query
        .group_by
        .map(|group_by| series(&customer.row, &days, group_by))
        .transpose()?;
    let paid;
    let stretch = if range.is_some() {
        paid = Summary::of(&customer.row, paid_days(&customer.row, &days));
        Stretch::Range { paid: &paid }
    } else {
        Stretch::Period(hours.start)
    };
    let bill = Bill::of(&customer.row, &summary, stretch)?;
    let (estimated_cost, unavailable) = match bill.cost {
        Ok(cost) => (Some(cost.to_string()), None),
        Err(reason) => (None, Some(reason)),
    };
    let currency = customer.row.item.price.currency().as_str();
    Ok(Json(Answer {
        customer_id: customer_id.to_string(),
        period_days: hours.days(),
        period_start: hours.start.to_string(),
        period_end: hours.end.to_string(),
        total_units: summary.total_units,
        pending_units: summary.pending_units,
        by_action_type: summary.by_action_type,
        by_meter: bill.by_meter,
        estimated_cost_usd: (currency == "usd").then(|| estimated_cost.clone()),
        estimated_cost,
        estimated_cost_unavailable: unavailable,
        currency: currency.to_owned(),
        as_of: as_of.to_string(),
        series,
    }))
}

impl Parts {
    /// The usage of the period that `customer` is in.
    pub(crate) async fn days_of_current_period(
        &self,
        customer: &KnownCustomer,
    ) -> Result<Vec<BillableDay>, Problem> {
        let start = current_period(customer).start;
        Ok(self
            .ledger
            .billable_days_of_period(&customer.row.customer_id, start)
            .await?)
    }
}

/// The period that `customer` is in.
pub(crate) fn current_period(customer: &KnownCustomer) -> Hours {
    let Range { start, end } = customer.current_period();
    Hours { start, end }
}
