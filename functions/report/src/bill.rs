//! What usage costs: each item of the subscription bills what its own meter
//! counts, at its own price, and the invoice is the sum.

use billing::{Money, NoRangeCost, Timestamp};
use ledger::{BillableDay, BillableUnits, CustomerRow, MeteredItem};
use limits::{MixedCurrencies, sum_of_items};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;
use web::{Problem, ProblemType};

use crate::summary::{Summary, shown_event_name};

/// Which usage is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch<'a> {
    /// That of exactly one billing period, which begins at this time.
    Period(Timestamp),
    /// Any other: of a part of a period, or of several.
    Range {
        /// What of it is billed at a price: not that of a free trial.
        paid: &'a Summary,
    },
}

/// What a customer's usage comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bill {
    /// Each item of the subscription, in its order, an item without usage too:
    /// its first tier may have a flat amount. Then the meters that no item bills.
    pub(crate) by_meter: Vec<MeterUsage>,
    /// The sum of all items, each line of theirs rounded by itself. None where
    /// an item that has usage has no defined cost; why is the first such reason.
    pub(crate) cost: Result<Money, NoRangeCost>,
}

/// Usage that one meter counts, and the item that bills it. Amounts are decimal
/// texts in major units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MeterUsage {
    /// None for usage records that no catalog tells apart.
    #[schema(required)]
    pub(crate) meter_event_name: Option<String>,
    /// None for a meter that no item bills any more: Stripe has its units, and
    /// they are on no invoice.
    #[schema(required)]
    pub(crate) subscription_item_id: Option<String>,
    #[schema(required)]
    pub(crate) price_id: Option<String>,
    pub(crate) units: u64,
    /// Those of them that Stripe is not yet known to have.
    pub(crate) pending_units: u64,
    /// None where nothing bills them, or a range has no defined cost.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub(crate) estimated_cost: Option<String>,
    /// Why there is no cost, of an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = crate::openapi::no_range_cost)]
    pub(crate) estimated_cost_unavailable: Option<NoRangeCost>,
}

impl Bill {
    /// Bills the usage of `summary` to the items of `customer`, at their prices
    /// of today.
    ///
    /// # Errors
    /// A [`Problem`] where the items are of several currencies, which Stripe has
    /// in no subscription.
    pub(crate) fn of(
        customer: &CustomerRow,
        summary: &Summary,
        stretch: Stretch<'_>,
    ) -> Result<Self, Problem> {
        let mut by_meter = Vec::new();
        let mut costs = Ok(Vec::new());
        for item in customer.items() {
            let units = summary.units_of(&item.meter_event_name);
            let item_cost = match stretch {
                Stretch::Period(start) => Ok(customer.cost_of(item, start, units.total())),
                Stretch::Range { paid } => cost_of_range(item, paid),
            };
            by_meter.push(MeterUsage::billed(item, units, &item_cost));
            costs = match (costs, item_cost) {
                (Ok(mut costs), Ok(cost)) => {
                    costs.push(cost);
                    Ok(costs)
                }
                (Err(reason), _) | (Ok(_), Err(reason)) => Err(reason),
            };
        }
        let cost = match costs {
            Ok(costs) => Ok(sum_of_items(customer, costs).map_err(mixed_currencies)?),
            Err(reason) => Err(reason),
        };
        for (event_name, units) in &summary.by_meter {
            if units.total() > 0 && customer.item_of_meter(event_name).is_none() {
                by_meter.push(MeterUsage::unbilled(event_name, *units));
            }
        }
        Ok(Self { by_meter, cost })
    }
}

/// Those of `days` that a price bills: not those of a free trial.
pub(crate) fn paid_days<'a>(
    customer: &CustomerRow,
    days: &'a [BillableDay],
) -> impl Iterator<Item = &'a BillableDay> {
    days.iter().filter(|day| is_paid(customer, day))
}

/// Whether a price bills what is of `day`.
pub(crate) fn is_paid(customer: &CustomerRow, day: &BillableDay) -> bool {
    let period_start = day.period_start;
    !period_start.is_some_and(|start| customer.is_free(start))
}

/// What `item` bills of the usage that is `paid`. A range is billed for its usage alone:
/// without any it costs nothing, where a period still owes the first tier's flat amount.
fn cost_of_range(item: &MeteredItem, paid: &Summary) -> Result<Money, NoRangeCost> {
    let price = &item.price;
    match paid.units_of(&item.meter_event_name).total() {
        0 => Ok(Money::from_minor_units(0, price.currency().clone())),
        units => price.cost_of_range(units),
    }
}

pub(crate) fn mixed_currencies(error: MixedCurrencies) -> Problem {
    tracing::error!(%error, "a cost cannot be summed up");
    Problem::new(ProblemType::Internal, "the cost cannot be summed up")
}

impl MeterUsage {
    fn billed(item: &MeteredItem, units: BillableUnits, cost: &Result<Money, NoRangeCost>) -> Self {
        Self {
            subscription_item_id: Some(item.subscription_item_id.clone()),
            price_id: Some(item.price_id.clone()),
            estimated_cost: cost.as_ref().ok().map(Money::to_string),
            estimated_cost_unavailable: cost.as_ref().err().copied(),
            ..Self::unbilled(&item.meter_event_name, units)
        }
    }

    fn unbilled(meter_event_name: &str, units: BillableUnits) -> Self {
        Self {
            meter_event_name: shown_event_name(meter_event_name),
            subscription_item_id: None,
            price_id: None,
            units: units.total(),
            pending_units: units.pending(),
            estimated_cost: None,
            estimated_cost_unavailable: None,
        }
    }
}
