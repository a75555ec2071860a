//! Usage as a series: by time, by action, by meter, and by several of them.

use std::collections::BTreeMap;

use billing::{ExactAmount, FieldError, Timestamp};
use ledger::{BillableDay, BillableUnits, CustomerRow};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use crate::bill::is_paid;
use crate::query::GroupBy;
use crate::summary::shown_event_name;

/// Entries of a series, at most: Lambda answers with 6 MB (AWS Lambda Developer
/// Guide: "Lambda quotas"), and a year has 8,784 hours, each with every action.
pub(crate) const ENTRIES_MAX: usize = 20_000;

/// One entry of a series. It names what the series is grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SeriesEntry {
    /// When its hour or day begins (UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::time)]
    pub(crate) start: Option<String>,
    /// The action.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::action_type)]
    pub(crate) action_type: Option<String>,
    /// The meter; null for usage records that no catalog tells apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, schema_with = schema::text_or_null)]
    pub(crate) meter_event_name: Option<Option<String>>,
    pub(crate) units: u64,
    /// What the units add to an invoice at today's prices, not rounded: a decimal
    /// text in major units. Those of all entries come to what the lines say before
    /// they are rounded. Units of a meter that no item bills are in no cost. Null
    /// where nothing bills the units, and where a unit's cost depends on the others
    /// of its period, in tiers and packages.
    #[schema(required, schema_with = schema::exact_amount_or_null)]
    pub(crate) exact_cost: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    start: Option<Timestamp>,
    action_type: Option<&'a str>,
    meter: Option<&'a str>,
}

/// Units by the meter that counts them.
type Units<'a> = BTreeMap<&'a str, Counted>;

/// Units that one meter counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    all: BillableUnits,
    /// Those that a price bills: not those of a free trial.
    paid: BillableUnits,
}

/// The `days` of `customer` as a series, in the order of what they are grouped
/// by. What has no usage has no entry.
///
/// # Errors
/// A [`FieldError`] for `group_by` where there would be too many entries.
pub(crate) fn series(
    customer: &CustomerRow,
    days: &[BillableDay],
    group_by: GroupBy,
) -> Result<Vec<SeriesEntry>, FieldError> {
    let mut groups: BTreeMap<Key<'_>, Units<'_>> = BTreeMap::new();
    for day in days {
        let meter = customer.meter_of_totals(&day.meter_event_name);
        let key = Key {
            start: None,
            action_type: group_by.action_type.then_some(day.action_type.as_str()),
            meter: group_by.meter.then_some(meter),
        };
        let is_paid = is_paid(customer, day);
        let mut add = |start, units| {
            let units_of = groups.entry(Key { start, ..key }).or_default();
            let counted = units_of.entry(meter).or_default();
            counted.all.add(units);
            if is_paid {
                counted.paid.add(units);
            }
        };
        match group_by.time {
            None => add(None, day.units()),
            Some(time) => {
                for (hour, units) in day.hours() {
                    add(Some(time.bucket(hour)), units);
                }
            }
        }
        if groups.len() > ENTRIES_MAX {
            let reason = format!("would give more than {ENTRIES_MAX} entries for this range");
            return Err(FieldError::new("group_by", reason));
        }
    }
    let entries = groups.into_iter();
    let entries = entries.map(|(key, units)| SeriesEntry::of(customer, key, &units));
    Ok(entries.filter(|entry| entry.units > 0).collect())
}

impl SeriesEntry {
    fn of(customer: &CustomerRow, key: Key<'_>, units: &Units<'_>) -> Self {
        // Added before they are read: what one shard counted in, another may have
        // counted out.
        let mut sum = BillableUnits::default();
        for units in units.values() {
            sum.add(units.all);
        }
        Self {
            start: key.start.map(|at| at.to_string()),
            action_type: key.action_type.map(str::to_owned),
            meter_event_name: key.meter.map(shown_event_name),
            units: sum.total(),
            exact_cost: exact_cost(customer, units).map(|cost| cost.to_string()),
        }
    }
}

/// What `units` add to an invoice of `customer`, at the prices of today. Those of
/// a meter that no item bills are in no cost.
fn exact_cost(customer: &CustomerRow, units: &Units<'_>) -> Option<ExactAmount> {
    let mut sum: Option<ExactAmount> = None;
    for (meter, units) in units {
        let (all, paid) = (units.all.total(), units.paid.total());
        let Some(item) = customer.item_of_meter(meter).filter(|_| all > 0) else {
            continue;
        };
        let cost = match paid {
            0 => ExactAmount::nothing(item.price.currency().clone()),
            units => item.price.exact_cost(units).ok()?,
        };
        sum = match sum {
            Some(sum) => Some(sum.checked_add(&cost)?),
            None => Some(cost),
        };
    }
    sum
}
