//! Units by meter, added up from the days of a period.

use std::collections::BTreeMap;

use crate::billable_units::{BillableDay, BillableUnits};

/// Units of each meter, by its event name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterSums(BTreeMap<String, MeterSum>);

/// Units of one meter. What one shard counted in, another may have counted out: add
/// them up before reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeterSum {
    /// That are, or will be, on the invoice.
    pub billable: BillableUnits,
    /// Of reservations that were settled.
    pub settled: i128,
}

impl MeterSum {
    /// Adds `other` to this.
    pub const fn add(&mut self, other: Self) {
        self.billable.add(other.billable);
        self.settled = self.settled.saturating_add(other.settled);
    }
}

impl MeterSums {
    /// What `days` hold together.
    pub fn of<'a>(days: impl IntoIterator<Item = &'a BillableDay>) -> Self {
        let mut sums = Self::default();
        for day in days {
            let sum = MeterSum {
                billable: day.units(),
                settled: day.settled(),
            };
            sums.add_to(&day.meter_event_name, sum);
        }
        sums
    }

    /// Adds `other` to these.
    pub fn add(&mut self, other: &Self) {
        for (meter_event_name, sum) in other.iter() {
            self.add_to(meter_event_name, sum);
        }
    }

    /// Each meter that has any.
    pub fn iter(&self) -> impl Iterator<Item = (&str, MeterSum)> {
        let sums = self.0.iter();
        sums.map(|(meter_event_name, sum)| (meter_event_name.as_str(), *sum))
    }

    fn add_to(&mut self, meter_event_name: &str, more: MeterSum) {
        let sum = self.0.entry(meter_event_name.to_owned()).or_default();
        sum.add(more);
    }
}
