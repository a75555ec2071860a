//! What a billing period has used, by meter, and what that costs on its invoice.

use std::collections::BTreeMap;

use billing::Money;
use ledger::{BillableUnits, CustomerRow, PeriodUsage, Reserved};

/// The items of a subscription are of several currencies, which Stripe has in
/// none: there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the items of a subscription are of several currencies")]
pub struct MixedCurrencies;

/// What one period of `customer` costs: each item of the subscription bills the
/// units that `units_of` its meter, each line of an invoice rounded by itself.
///
/// # Errors
/// [`MixedCurrencies`].
pub fn cost_of_period(
    customer: &CustomerRow,
    units_of: impl Fn(&str) -> u64,
) -> Result<Money, MixedCurrencies> {
    let items = customer.items();
    let costs = items.map(|item| item.price.cost(units_of(&item.meter_event_name)));
    sum_of_items(customer, costs)
}

/// The sum of what each item of `customer` costs.
///
/// # Errors
/// [`MixedCurrencies`].
pub fn sum_of_items(
    customer: &CustomerRow,
    costs: impl IntoIterator<Item = Money>,
) -> Result<Money, MixedCurrencies> {
    let currency = customer.item.price.currency().clone();
    let nothing = Money::from_minor_units(0, currency);
    let mut costs = costs.into_iter();
    costs.try_fold(nothing, |sum, cost| {
        sum.checked_add(&cost).ok_or(MixedCurrencies)
    })
}

/// What a period of a customer has used so far, and what of it is held.
#[derive(Clone, Debug)]
pub struct Spending<'a> {
    customer: &'a CustomerRow,
    recorded: BTreeMap<&'a str, u64>,
    recorded_units: u64,
    /// Units of reservations that were settled.
    settled: BTreeMap<&'a str, i128>,
    settled_units: i128,
    reserved: Reserved,
}

impl<'a> Spending<'a> {
    /// The days of one period, added up. They are added before they are read:
    /// what one shard counted in, another may have counted out.
    pub fn of(customer: &'a CustomerRow, usage: &'a PeriodUsage) -> Self {
        let mut total = BillableUnits::default();
        let mut by_meter: BTreeMap<&str, BillableUnits> = BTreeMap::new();
        let mut settled: BTreeMap<&str, i128> = BTreeMap::new();
        for day in &usage.days {
            let (units, meter) = (day.units(), customer.meter_of_totals(&day.meter_event_name));
            total.add(units);
            by_meter.entry(meter).or_default().add(units);
            let of_meter = settled.entry(meter).or_default();
            *of_meter = of_meter.saturating_add(day.settled());
        }
        let recorded = by_meter.into_iter();
        Self {
            customer,
            recorded: recorded.map(|(meter, it)| (meter, it.total())).collect(),
            recorded_units: total.total(),
            settled_units: settled.values().fold(0, |sum, it| sum.saturating_add(*it)),
            settled,
            reserved: usage.reserved.clone().unwrap_or_default(),
        }
    }

    /// Whose it is.
    pub const fn customer(&self) -> &'a CustomerRow {
        self.customer
    }

    /// Units that are, or will be, on the invoice, of every meter.
    pub const fn units(&self) -> u64 {
        self.recorded_units
    }

    /// Units that reservations hold besides.
    pub fn held_units(&self) -> u64 {
        let held = self.reserved.units.saturating_sub(self.settled_units);
        u64::try_from(held).unwrap_or(0)
    }

    /// What the units so far cost.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn cost(&self) -> Result<Money, MixedCurrencies> {
        cost_of_period(self.customer, |meter| self.units_of(meter))
    }

    /// What they, those that are held and `more` units of a meter would cost.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn cost_with(&self, meter_event_name: &str, more: u64) -> Result<Money, MixedCurrencies> {
        cost_of_period(self.customer, |meter| {
            let more = if meter == meter_event_name { more } else { 0 };
            self.with_held(meter).saturating_add(more)
        })
    }

    /// The most that it may cost on the way there, from what is used until all that is
    /// held is used, too: more than the end, where units become cheaper in number.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub(crate) fn dearest_with(
        &self,
        meter_event_name: &str,
        more: u64,
    ) -> Result<Money, MixedCurrencies> {
        let costs = self.customer.items().map(|item| {
            let meter = item.meter_event_name.as_str();
            let more = if meter == meter_event_name { more } else { 0 };
            let most = self.with_held(meter).saturating_add(more);
            item.price.dearest(self.units_of(meter), most)
        });
        sum_of_items(self.customer, costs)
    }

    /// Units of a meter that were reserved, the settled ones among them.
    pub(crate) fn reserved_of(&self, meter_event_name: &str) -> i128 {
        let units = self.reserved.by_meter.get(meter_event_name);
        units.copied().unwrap_or_default()
    }

    /// Units of every meter that were reserved, the settled ones among them.
    pub(crate) const fn reserved_units(&self) -> i128 {
        self.reserved.units
    }

    fn units_of(&self, meter_event_name: &str) -> u64 {
        let units = self.recorded.get(meter_event_name);
        units.copied().unwrap_or_default()
    }

    fn with_held(&self, meter_event_name: &str) -> u64 {
        let settled = self.settled.get(meter_event_name).copied();
        let held = self.reserved_of(meter_event_name);
        let held = held.saturating_sub(settled.unwrap_or_default());
        let held = u64::try_from(held).unwrap_or(0);
        self.units_of(meter_event_name).saturating_add(held)
    }
}
