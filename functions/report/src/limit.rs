//! `GET`, `PUT` and `DELETE /v1/customers/{customer_id}/spending-limit`: how much
//! a customer may use in a billing period, and how much of it is used.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use billing::{Enforcement, LimitTerms};
use ledger::PeriodUsage;
use limits::{LimitError, LimitView, Spending, Standing, set_limit};
use metering::KnownCustomer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::openapi::schema;
use web::{JsonBody, Problem, ProblemType};

use crate::Parts;
use crate::bill::mixed_currencies;
use crate::customer::{Administered, Readable, not_onboarded};
use crate::usage::current_period;

/// A limit as an operator sets it. A field that is null counts as omitted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SpendingLimitTerms)]
pub(crate) struct Body {
    /// The most units of a period, of every meter together; or `amount`.
    #[serde(default)]
    #[schema(required = false, schema_with = limits::view::units_or_null)]
    pub(crate) units: Option<u64>,
    /// The most that a period may cost; or `units`.
    #[serde(default)]
    #[schema(required = false, schema_with = crate::openapi::limits::amount_or_null)]
    pub(crate) amount: Option<String>,
    /// The amount's currency, which must be the customer's.
    #[serde(default)]
    #[schema(required = false, schema_with = crate::openapi::limits::currency_or_null)]
    pub(crate) currency: Option<String>,
    /// Whether the customer is stopped there, or only told of.
    #[schema(schema_with = limits::view::enforcement)]
    pub(crate) enforcement: Enforcement,
    /// At how much of it the operator is told, in percent; 50, 80 and 100 where
    /// it is omitted.
    #[serde(default)]
    #[schema(required = false, schema_with = crate::openapi::limits::thresholds_or_null)]
    pub(crate) thresholds_percent: Option<Vec<u16>>,
}

/// A customer's limit, and the period that it is held against.
#[derive(Serialize, ToSchema)]
#[schema(as = CustomerSpendingLimit)]
pub(crate) struct Answer {
    #[schema(schema_with = schema::customer_id)]
    customer_id: String,
    /// Start of the current period, inclusive.
    #[schema(schema_with = schema::time)]
    period_start: String,
    /// Its end, exclusive.
    #[schema(schema_with = schema::time)]
    period_end: String,
    /// None while the customer has no limit.
    #[schema(required)]
    spending_limit: Option<LimitView>,
}

/// Where `customer` stands with its limit, by the `usage` of its current period;
/// none where it has none. The dashboard's, too.
pub(crate) fn standing(
    customer: &KnownCustomer,
    usage: &PeriodUsage,
) -> Result<Option<Standing>, Problem> {
    let period_start = customer.current_period().start;
    let spending = Spending::of(&customer.row, period_start, usage);
    Standing::of(&spending).map_err(mixed_currencies)
}

pub(crate) async fn show(
    State(parts): State<Arc<Parts>>,
    Readable(customer_id): Readable,
) -> Result<Json<Answer>, Problem> {
    let customer = parts.customer(&customer_id).await?;
    parts.limit_of(&customer).await
}

/// Sets the limit, in place of the one before. Setting what is set changes nothing.
pub(crate) async fn set(
    State(parts): State<Arc<Parts>>,
    Administered(customer_id): Administered,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<Answer>, Problem> {
    let terms = LimitTerms {
        units: body.units,
        amount: body.amount,
        currency: body.currency,
        enforcement: body.enforcement,
        thresholds_percent: body.thresholds_percent,
    };
    let now = parts.clock.now();
    let changed = set_limit(&parts.ledger, &customer_id, Some(&terms), now).await;
    changed.map_err(problem)?;
    let customer = parts.customer(&customer_id).await?;
    parts.limit_of(&customer).await
}

/// Takes the limit away. Taking away what is not there is no error.
pub(crate) async fn remove(
    State(parts): State<Arc<Parts>>,
    Administered(customer_id): Administered,
) -> Result<Json<Answer>, Problem> {
    let changed = set_limit(&parts.ledger, &customer_id, None, parts.clock.now()).await;
    changed.map_err(problem)?;
    let customer = parts.customer(&customer_id).await?;
    parts.limit_of(&customer).await
}

impl Parts {
    /// What the period that `customer` is in holds, reservations and alerts, too.
    async fn usage_of_current_period(
        &self,
        customer: &KnownCustomer,
    ) -> Result<PeriodUsage, Problem> {
        let customer_id = &customer.row.customer_id;
        let start = current_period(customer).start;
        Ok(self.ledger.usage_of_period(customer_id, start).await?)
    }

    async fn limit_of(&self, customer: &KnownCustomer) -> Result<Json<Answer>, Problem> {
        let usage = match customer.row.spending_limit {
            Some(_) => self.usage_of_current_period(customer).await?,
            None => PeriodUsage::default(),
        };
        let period = current_period(customer);
        let standing = standing(customer, &usage)?;
        Ok(Json(Answer {
            customer_id: customer.row.customer_id.to_string(),
            period_start: period.start.to_string(),
            period_end: period.end.to_string(),
            spending_limit: standing.map(|it| LimitView::of(&it, usage.watch.as_ref())),
        }))
    }
}

fn problem(error: LimitError) -> Problem {
    match error {
        LimitError::Ledger(error) => error.into(),
        LimitError::Field(error) => error.into(),
        LimitError::NoCustomer(_) => not_onboarded(),
        LimitError::Contended => Problem::new(ProblemType::Unavailable, error.to_string()),
    }
}
