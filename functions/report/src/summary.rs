//! Sums over the days of the totals.

use std::collections::BTreeMap;

use billing::Timestamp;
use ledger::{BillableDay, BillableUnits, CustomerRow};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use crate::query::GroupBy;

/// Usage of some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Units of every meter that Stripe has, or will have.
    pub(crate) total_units: u64,
    /// Those of them that Stripe is not yet known to have.
    pub(crate) pending_units: u64,
    /// Units by action, of actions that have any.
    pub(crate) by_action_type: BTreeMap<String, u64>,
    /// Units by the event name of the meter that counts them. Usage records from
    /// before a catalog named them went to the first item, and have its name.
    pub(crate) by_meter: BTreeMap<String, BillableUnits>,
}

/// One entry of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SeriesEntry {
    /// Usage of an hour or a day.
    Time {
        /// When it begins (UTC).
        #[schema(schema_with = schema::time)]
        start: String,
        /// Units.
        units: u64,
    },
    /// Usage of one action.
    Action {
        /// The action.
        action_type: String,
        /// Units.
        units: u64,
    },
    /// Usage that one meter counts.
    Meter {
        /// The meter; none for usage records that no catalog tells apart.
        #[schema(required)]
        meter_event_name: Option<String>,
        /// Units.
        units: u64,
    },
}

impl Summary {
    /// Adds the days of `customer` up. They are added before they are read: what
    /// one shard counted in, another may have counted out.
    pub(crate) fn of(customer: &CustomerRow, days: &[BillableDay]) -> Self {
        let mut total = BillableUnits::default();
        let mut by_action_type = BTreeMap::new();
        let mut by_meter = BTreeMap::new();
        for day in days {
            let units = day.units();
            total.add(units);
            add(&mut by_action_type, day.action_type.as_str(), units);
            add(&mut by_meter, meter_of(customer, day), units);
        }
        Self {
            total_units: total.total(),
            pending_units: total.pending(),
            by_action_type: by_action_type
                .into_iter()
                .map(|(action_type, units)| (action_type.to_owned(), units.total()))
                .filter(|(_, units)| *units > 0)
                .collect(),
            by_meter: by_meter
                .into_iter()
                .map(|(event_name, units)| (event_name.to_owned(), units))
                .collect(),
        }
    }

    /// The days that were summed up as a series; stretches without usage have no
    /// entry.
    pub(crate) fn series(&self, days: &[BillableDay], group_by: GroupBy) -> Vec<SeriesEntry> {
        match group_by {
            GroupBy::Hour | GroupBy::Day => by_time(days, group_by),
            GroupBy::ActionType => {
                let entries = self.by_action_type.iter();
                let entry = |(action_type, units): (&String, &u64)| SeriesEntry::Action {
                    action_type: action_type.clone(),
                    units: *units,
                };
                entries.map(entry).collect()
            }
            GroupBy::Meter => {
                let used = self.by_meter.iter().filter(|(_, units)| units.total() > 0);
                let entry = |(event_name, units): (&String, &BillableUnits)| SeriesEntry::Meter {
                    meter_event_name: shown_event_name(event_name),
                    units: units.total(),
                };
                used.map(entry).collect()
            }
        }
    }
}

fn meter_of<'a>(customer: &'a CustomerRow, day: &'a BillableDay) -> &'a str {
    let first = &customer.item;
    if day.meter_event_name.is_empty() && first.meter_id.is_empty() {
        return &first.meter_event_name;
    }
    &day.meter_event_name
}

/// A meter's event name as an answer has it: none where usage records are sent
/// and no catalog names them.
pub(crate) fn shown_event_name(meter_event_name: &str) -> Option<String> {
    (!meter_event_name.is_empty()).then(|| meter_event_name.to_owned())
}

fn by_time(days: &[BillableDay], group_by: GroupBy) -> Vec<SeriesEntry> {
    let mut by_start: BTreeMap<Timestamp, BillableUnits> = BTreeMap::new();
    for (hour, units) in days.iter().flat_map(BillableDay::hours) {
        add(&mut by_start, group_by.bucket(hour), units);
    }
    by_start
        .into_iter()
        .map(|(start, units)| (start.to_string(), units.total()))
        .filter(|(_, units)| *units > 0)
        .map(|(start, units)| SeriesEntry::Time { start, units })
        .collect()
}

fn add<K: Ord>(sums: &mut BTreeMap<K, BillableUnits>, key: K, units: BillableUnits) {
    sums.entry(key).or_default().add(units);
}
