//! A limit as it is shown: by the API, on the dashboard and by the command line.

use billing::spending_limit::{LIMIT_UNITS_MAX, THRESHOLD_PERCENT_MAX, THRESHOLDS_MAX};
use billing::{Cap, Enforcement};
use ledger::{LimitWatch, RaisedAlert};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::ArrayBuilder;
use utoipa::openapi::{Object, ObjectBuilder};
use web::openapi::schema;

use crate::{Left, Standing};

/// A limit, and how much of it is used in the current period. One in units has
/// `units` and `left_units`, one in money `amount` and `left_amount`; the others
/// are null. Amounts are decimal texts in major units.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SpendingLimit)]
pub struct LimitView {
    /// The most units of a period.
    #[schema(required, schema_with = units_or_null)]
    pub units: Option<u64>,
    /// The most that a period may cost.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub amount: Option<String>,
    /// Of the limit's amounts; of one in units, what the customer pays in.
    #[schema(schema_with = schema::currency)]
    pub currency: String,
    /// `hard` or `soft`.
    #[schema(schema_with = enforcement)]
    pub enforcement: &'static str,
    /// At how much of it the operator is told, in percent.
    #[schema(schema_with = thresholds)]
    pub thresholds_percent: Vec<u16>,
    /// When it was set: RFC 3339.
    #[schema(schema_with = schema::time)]
    pub set_at: String,
    /// Units of the period so far.
    #[schema(schema_with = schema::units)]
    pub used_units: u64,
    /// What they cost.
    #[schema(schema_with = schema::amount)]
    pub used_amount: String,
    /// What the customer pays in now.
    #[schema(schema_with = schema::currency)]
    pub used_currency: String,
    /// Units that reservations hold besides.
    #[schema(schema_with = schema::units)]
    pub held_units: u64,
    /// How much of the limit is used, in percent, rounded down; none where the
    /// limit is in another currency than the customer pays in now.
    #[schema(required)]
    pub used_percent: Option<u64>,
    /// Units that are left beside what is held, never less than none.
    #[schema(required)]
    pub left_units: Option<u64>,
    /// The amount that is left so, never less than nothing.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub left_amount: Option<String>,
    /// Thresholds that were crossed in this period, and the operator was told of.
    pub alerts: Vec<AlertView>,
}

/// A threshold that was crossed in the current period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SpendingLimitAlert)]
pub struct AlertView {
    /// The threshold, in percent of the limit.
    pub threshold_percent: u16,
    /// When it was seen: RFC 3339.
    #[schema(schema_with = schema::time)]
    pub raised_at: String,
}

impl LimitView {
    /// What is shown of `standing`, and of what `watch` says was told.
    pub fn of(standing: &Standing, watch: Option<&LimitWatch>) -> Self {
        let limit = &standing.limit;
        let (left_units, left_amount) = match &standing.left {
            Some(Left::Units(units)) => (Some(*units), None),
            Some(Left::Amount(amount)) => (None, Some(amount.to_string())),
            None => (None, None),
        };
        let currency = match &limit.cap {
            Cap::Amount { currency, .. } => currency,
            Cap::Units(_) => standing.used_amount.currency(),
        };
        Self {
            units: match limit.cap {
                Cap::Units(units) => Some(units),
                Cap::Amount { .. } => None,
            },
            amount: limit.cap.money().map(|money| money.to_string()),
            currency: currency.as_str().to_owned(),
            enforcement: limit.enforcement.as_str(),
            thresholds_percent: limit.thresholds_percent.clone(),
            set_at: limit.set_at.to_string(),
            used_units: standing.used_units,
            used_amount: standing.used_amount.to_string(),
            used_currency: standing.used_amount.currency().as_str().to_owned(),
            held_units: standing.held_units,
            used_percent: standing.used_percent,
            left_units,
            left_amount,
            alerts: watch.map(alerts).unwrap_or_default(),
        }
    }
}

fn alerts(watch: &LimitWatch) -> Vec<AlertView> {
    let mut raised: Vec<_> = watch.raised.iter().collect();
    raised.sort_by_key(|raised| raised.percent);
    let alert = |raised: &RaisedAlert| AlertView {
        threshold_percent: raised.percent,
        raised_at: raised.raised_at.to_string(),
    };
    raised.into_iter().map(alert).collect()
}

/// The most units of a period, or null.
pub fn units_or_null() -> Object {
    let most = usize::try_from(LIMIT_UNITS_MAX).unwrap_or(usize::MAX);
    schema::or_null(schema::whole(1, most))
}

/// What happens where a limit is reached.
pub fn enforcement() -> ObjectBuilder {
    schema::words([Enforcement::Hard, Enforcement::Soft].map(Enforcement::as_str))
}

/// At how much of a limit the operator is told.
pub fn thresholds() -> ArrayBuilder {
    let percent = schema::whole(1, usize::from(THRESHOLD_PERCENT_MAX));
    ArrayBuilder::new()
        .items(percent)
        .max_items(Some(THRESHOLDS_MAX))
        .unique_items(true)
}
