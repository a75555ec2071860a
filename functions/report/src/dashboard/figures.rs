//! What the dashboard shows of a customer's usage, made of what the tables hold. The page
//! and its data are two views of it.

use std::collections::BTreeMap;

use billing::{DAY_MS, HOUR_MS, Money, Price, Timestamp};
use ledger::{BillableDay, BillableUnits, CustomerRow, PeriodUsage};
use limits::sum_of_items;
use metering::KnownCustomer;
use serde::Serialize;
use utoipa::ToSchema;
use web::Problem;
use web::openapi::schema;

use crate::bill::{Bill, MeterUsage, Stretch, mixed_currencies};
use crate::dashboard::chart::Chart;
use crate::dashboard::limit::LimitFigures;
use crate::dashboard::projection::{DAYS_MIN, Projected, project};
use crate::limit;
use crate::query::Hours;
use crate::summary::Summary;
use crate::usage::current_period;

/// Actions that have a row of their own, those with the most units; the others share one.
const ACTIONS_MAX: usize = 50;

/// A customer's usage as the dashboard shows it. Units are texts of digits, since a
/// script's numbers are exact to 2^53 only; amounts are decimal texts in major units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardData)]
pub(crate) struct Figures {
    #[schema(schema_with = schema::customer_status)]
    pub(crate) status: &'static str,
    /// When the subscription ended or is set to end.
    #[schema(required, schema_with = schema::time_or_null)]
    pub(crate) subscription_ends_at: Option<String>,
    /// When the free trial ends that the current period is; null where it is none.
    #[schema(required, schema_with = schema::time_or_null)]
    pub(crate) trial_ends_at: Option<String>,
    /// Start of the current period, inclusive.
    #[schema(schema_with = schema::time)]
    pub(crate) period_start: String,
    /// Its end, exclusive.
    #[schema(schema_with = schema::time)]
    pub(crate) period_end: String,
    #[schema(schema_with = schema::currency)]
    pub(crate) currency: String,
    /// Units of the period that Stripe has, or will have.
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    /// Those of them that Stripe is not yet known to have.
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) pending_units: String,
    /// What they cost on the period's invoice, before tax and credit.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub(crate) cost: Option<String>,
    pub(crate) today: Today,
    /// What the period may come to; null from too few days, and at its end.
    #[schema(required)]
    pub(crate) projection: Option<Projection>,
    /// How much may be used in a period; null where there is no limit.
    #[schema(required)]
    pub(crate) spending_limit: Option<LimitFigures>,
    /// The actions with the most units, the most first.
    pub(crate) by_action_type: Vec<ActionUnits>,
    /// What all further actions have; null where there are none.
    #[schema(required)]
    pub(crate) other_actions: Option<OtherActions>,
    /// The subscription's items and what each bills; then the meters that none bills.
    pub(crate) by_meter: Vec<MeterFigures>,
    pub(crate) chart: Chart,
}

/// The day (UTC) that it is for the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardToday)]
pub(crate) struct Today {
    #[schema(schema_with = schema::time)]
    pub(crate) start: String,
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    /// What the day has added to the invoice so far.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub(crate) cost: Option<String>,
}

/// What the period may come to: docs/dashboard.md says how it is reckoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardProjection)]
pub(crate) struct Projection {
    /// Complete days (UTC) that it is made of.
    pub(crate) days: usize,
    pub(crate) low: Prospect,
    pub(crate) middle: Prospect,
    pub(crate) high: Prospect,
}

/// Units, and what they would cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardProspect)]
pub(crate) struct Prospect {
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    #[schema(required, schema_with = schema::amount_or_null)]
    pub(crate) cost: Option<String>,
}

/// Units of one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardAction)]
pub(crate) struct ActionUnits {
    pub(crate) action_type: String,
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    /// Of all units, in thousandths, rounded down.
    pub(crate) share_per_mille: u64,
}

/// Units of the actions that have no row of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardOtherActions)]
pub(crate) struct OtherActions {
    /// How many they are.
    pub(crate) count: usize,
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
}

/// What one meter counts and its item bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardMeter)]
pub(crate) struct MeterFigures {
    /// None for usage records that no catalog tells apart.
    #[schema(required)]
    pub(crate) meter_event_name: Option<String>,
    #[schema(schema_with = crate::openapi::digits)]
    pub(crate) units: String,
    /// None where nothing bills them any more.
    #[schema(required, schema_with = schema::amount_or_null)]
    pub(crate) cost: Option<String>,
}

impl Figures {
    /// What the `usage` of the current period comes to for `customer`. What lies
    /// beside its days matters only where there is a limit.
    ///
    /// # Errors
    /// A [`Problem`] where the items of the subscription are of several currencies.
    pub(crate) fn of(customer: &KnownCustomer, usage: &PeriodUsage) -> Result<Self, Problem> {
        let (row, days) = (&customer.row, usage.days.as_slice());
        let period = current_period(customer);
        let midnight = customer.now.start_of_day();
        let summary = Summary::of(row, days);
        let bill = Bill::of(row, &summary, Stretch::Period(period.start))?;
        let cost = bill.cost.as_ref().ok();
        let standing = limit::standing(customer, usage)?;
        let mut actions: Vec<(&String, u64)> = summary
            .by_action_type
            .iter()
            .map(|(action_type, units)| (action_type, *units))
            .collect();
        actions.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let chart = Chart::of(&actions, days, period, customer.now);
        let (shown, others) = actions.split_at(actions.len().min(ACTIONS_MAX));
        Ok(Self {
            status: customer.status().as_str(),
            subscription_ends_at: row.subscription_ends_at.map(|at| at.to_string()),
            trial_ends_at: row.trial_of(period.start).map(|it| it.end.to_string()),
            period_start: period.start.to_string(),
            period_end: period.end.to_string(),
            currency: row.item.price.currency().as_str().to_owned(),
            units: summary.total_units.to_string(),
            pending_units: summary.pending_units.to_string(),
            cost: cost.map(Money::to_string),
            today: today(customer, days, midnight, cost)?,
            projection: projection(customer, days, period)?,
            spending_limit: standing.map(|it| LimitFigures::of(&it, usage.watch.as_ref())),
            by_action_type: shown
                .iter()
                .map(|(action_type, units)| ActionUnits {
                    action_type: (*action_type).clone(),
                    units: units.to_string(),
                    share_per_mille: per_mille(*units, summary.total_units),
                })
                .collect(),
            other_actions: (!others.is_empty()).then(|| OtherActions {
                count: others.len(),
                units: others
                    .iter()
                    .map(|(_, units)| units)
                    .sum::<u64>()
                    .to_string(),
            }),
            by_meter: bill.by_meter.into_iter().map(MeterFigures::of).collect(),
            chart,
        })
    }
}

impl Figures {
    /// What is another as soon as an event comes in or goes on its way: units of the
    /// period, and those of them that are pending.
    pub(super) fn moved_units(&self) -> (String, String) {
        (self.units.clone(), self.pending_units.clone())
    }
}

impl MeterFigures {
    fn of(usage: MeterUsage) -> Self {
        Self {
            meter_event_name: usage.meter_event_name,
            units: usage.units.to_string(),
            cost: usage.estimated_cost,
        }
    }
}

/// What the day since `midnight` has added to an invoice that comes to `cost` now.
fn today(
    customer: &KnownCustomer,
    days: &[BillableDay],
    midnight: Timestamp,
    cost: Option<&Money>,
) -> Result<Today, Problem> {
    let row = &customer.row;
    let (before, since): (Vec<_>, Vec<_>) = days.iter().partition(|day| day.midnight() < midnight);
    let period = Stretch::Period(current_period(customer).start);
    let yesterday = Bill::of(row, &Summary::of(row, before), period)?.cost;
    let added = cost.zip(yesterday.ok());
    let added = added.and_then(|(now, before)| now.checked_sub(&before));
    Ok(Today {
        start: midnight.to_string(),
        units: Summary::of(row, since).total_units.to_string(),
        cost: added.map(|cost| cost.to_string()),
    })
}

/// Each meter is projected by itself, for each has a price of its own.
fn projection(
    customer: &KnownCustomer,
    days: &[BillableDay],
    period: Hours,
) -> Result<Option<Projection>, Problem> {
    let row = &customer.row;
    let end_of_hour = customer.now.start_of_hour().plus_ms(HOUR_MS);
    let ends_at = row.subscription_ends_at.unwrap_or(period.end);
    let remaining_ms = ends_at.min(period.end).ms_since(end_of_hour);
    let Some(remaining_hours) = u64::try_from(remaining_ms / HOUR_MS)
        .ok()
        .filter(|it| *it > 0)
    else {
        return Ok(None);
    };
    let complete = complete_days(period.start, customer.now);
    if complete.len() < DAYS_MIN {
        return Ok(None);
    }
    let mut by_meter = BTreeMap::new();
    for (meter, daily) in units_by_meter(row, days) {
        let used = daily
            .values()
            .fold(BillableUnits::default(), |mut sum, day| {
                sum.add(*day);
                sum
            });
        let daily = complete.iter().map(|midnight| {
            let units = daily.get(midnight).copied();
            units.unwrap_or_default().total()
        });
        let daily: Vec<u64> = daily.collect();
        if let Some(projected) = project(&daily, used.total(), remaining_hours) {
            by_meter.insert(meter, projected);
        }
    }
    let prospects = Prospects {
        row,
        period_start: period.start,
        by_meter,
    };
    Ok(Some(Projection {
        days: complete.len(),
        low: prospects.of(|it| it.low, |price, it| price.cheapest(it.low, it.high))?,
        middle: prospects.of(|it| it.middle, |price, it| price.cost(it.middle))?,
        high: prospects.of(|it| it.high, |price, it| price.dearest(it.low, it.high))?,
    }))
}

/// What each meter of a customer may come to in a period.
struct Prospects<'a> {
    row: &'a CustomerRow,
    period_start: Timestamp,
    by_meter: BTreeMap<&'a str, Projected>,
}

impl Prospects<'_> {
    fn of(
        &self,
        units_of: impl Fn(&Projected) -> u64,
        cost_of: impl Fn(&Price, &Projected) -> Money,
    ) -> Result<Prospect, Problem> {
        let units = self.by_meter.values().map(units_of);
        let is_free = self.row.is_free(self.period_start);
        let items = self.row.items().filter(|_| !is_free);
        let costs = items.map(|item| {
            let projected = self.by_meter.get(item.meter_event_name.as_str());
            cost_of(&item.price, projected.unwrap_or(&Projected::NOTHING))
        });
        let cost = sum_of_items(self.row, costs).map_err(mixed_currencies)?;
        Ok(Prospect {
            units: units.fold(0, u64::saturating_add).to_string(),
            cost: Some(cost.to_string()),
        })
    }
}

/// When each day (UTC) begins that lies wholly between the period's start and `now`.
fn complete_days(period_start: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    let first = period_start.plus_ms(DAY_MS - 1).start_of_day();
    let today = now.start_of_day();
    let days = (0..).map(|day| first.plus_ms(day * DAY_MS));
    days.take_while(|midnight| *midnight < today).collect()
}

fn units_by_meter<'a>(
    row: &'a CustomerRow,
    days: &'a [BillableDay],
) -> BTreeMap<&'a str, BTreeMap<Timestamp, BillableUnits>> {
    let mut by_meter: BTreeMap<_, BTreeMap<_, BillableUnits>> = BTreeMap::new();
    for day in days {
        let daily = by_meter
            .entry(row.meter_of_totals(&day.meter_event_name))
            .or_default();
        daily.entry(day.midnight()).or_default().add(day.units());
    }
    by_meter
}

fn per_mille(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 1_000 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or_default()
}
