//! Sums over the days of the totals.

use std::collections::BTreeMap;

use ledger::{BillableDay, BillableUnits, CustomerRow};

/// Usage of some stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Units of every meter that Stripe has, or will have.
    pub(crate) total_units: u64,
    /// Those of them that Stripe is not yet known to have.
    pub(crate) pending_units: u64,
    /// Units by action, of actions that have any.
    pub(crate) by_action_type: BTreeMap<String, u64>,
    /// Units by the event name of the meter that counts them
    /// ([`CustomerRow::meter_of_totals`]).
    pub(crate) by_meter: BTreeMap<String, BillableUnits>,
}

impl Summary {
    /// Adds the days of `customer` up. They are added before they are read: what
    /// one shard counted in, another may have counted out.
    pub(crate) fn of<'a>(
        customer: &CustomerRow,
        days: impl IntoIterator<Item = &'a BillableDay>,
    ) -> Self {
        let mut total = BillableUnits::default();
        let mut by_action_type = BTreeMap::new();
        let mut by_meter = BTreeMap::new();
        for day in days {
            let units = day.units();
            total.add(units);
            add(&mut by_action_type, day.action_type.as_str(), units);
            let meter = customer.meter_of_totals(&day.meter_event_name);
            add(&mut by_meter, meter, units);
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

    /// Units that the meter of this event name counts.
    pub(crate) fn units_of(&self, meter_event_name: &str) -> BillableUnits {
        let units = self.by_meter.get(meter_event_name);
        units.copied().unwrap_or_default()
    }
}

/// A meter's event name as an answer has it: none where usage records are sent
/// and no catalog names them.
pub(crate) fn shown_event_name(meter_event_name: &str) -> Option<String> {
    (!meter_event_name.is_empty()).then(|| meter_event_name.to_owned())
}

fn add<K: Ord>(sums: &mut BTreeMap<K, BillableUnits>, key: K, units: BillableUnits) {
    sums.entry(key).or_default().add(units);
}
