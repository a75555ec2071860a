//! What a billing period has used, by meter, and what that costs on its invoice.

use std::collections::BTreeMap;

use billing::{Money, Timestamp};
use ledger::{CustomerRow, MeterSum, MeterSums, PeriodUsage, Reserved};

/// The items of a subscription are of several currencies, which Stripe has in
/// none: there is no sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the items of a subscription are of several currencies")]
pub struct MixedCurrencies;

/// What the period of `customer` costs that begins at `period_start`: each item of the
/// subscription bills the units that `units_of` its meter, each line of an invoice rounded
/// by itself.
///
/// # Errors
/// [`MixedCurrencies`].
pub fn cost_of_period(
    customer: &CustomerRow,
    period_start: Timestamp,
    units_of: impl Fn(&str) -> u64,
) -> Result<Money, MixedCurrencies> {
    let costs = customer.items().map(|item| {
        let units = units_of(&item.meter_event_name);
        customer.cost_of(item, period_start, units)
    });
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
    period_start: Timestamp,
    by_meter: BTreeMap<String, MeterSum>,
    all: MeterSum,
    reserved: Reserved,
}

impl<'a> Spending<'a> {
    /// The days of the period that begins at `period_start`, added up.
    pub fn of(customer: &'a CustomerRow, period_start: Timestamp, usage: &PeriodUsage) -> Self {
        let sums = MeterSums::of(&usage.days);
        Self::by(customer, period_start, &sums, usage.reserved.as_ref())
    }

    /// By the `sums` of all days of that period, and what is `reserved` in it.
    pub fn by(
        customer: &'a CustomerRow,
        period_start: Timestamp,
        sums: &MeterSums,
        reserved: Option<&Reserved>,
    ) -> Self {
        let mut all = MeterSum::default();
        // Two names of one meter are added up before either is read.
        let mut by_meter: BTreeMap<String, MeterSum> = BTreeMap::new();
        for (name, sum) in sums.iter() {
            let meter = customer.meter_of_totals(name).to_owned();
            by_meter.entry(meter).or_default().add(sum);
            all.add(sum);
        }
        Self {
            customer,
            period_start,
            by_meter,
            all,
            reserved: reserved.cloned().unwrap_or_default(),
        }
    }

    /// Whose it is.
    pub const fn customer(&self) -> &'a CustomerRow {
        self.customer
    }

    /// Units that are, or will be, on the invoice, of every meter.
    pub fn units(&self) -> u64 {
        self.all.billable.total()
    }

    /// Units that reservations hold besides.
    pub fn held_units(&self) -> u64 {
        let held = self.reserved.units.saturating_sub(self.all.settled);
        u64::try_from(held).unwrap_or(0)
    }

    /// What the units so far cost.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn cost(&self) -> Result<Money, MixedCurrencies> {
        cost_of_period(self.customer, self.period_start, |meter| {
            self.units_of(meter)
        })
    }

    /// What they, those that are held and `more` units of a meter would cost.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn cost_with(&self, meter_event_name: &str, more: u64) -> Result<Money, MixedCurrencies> {
        cost_of_period(self.customer, self.period_start, |meter| {
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
        if self.customer.is_free(self.period_start) {
            return self.cost();
        }
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

    fn sum_of(&self, meter_event_name: &str) -> MeterSum {
        let sum = self.by_meter.get(meter_event_name);
        sum.copied().unwrap_or_default()
    }

    fn units_of(&self, meter_event_name: &str) -> u64 {
        self.sum_of(meter_event_name).billable.total()
    }

    fn with_held(&self, meter_event_name: &str) -> u64 {
        let sum = self.sum_of(meter_event_name);
        let held = self.reserved_of(meter_event_name);
        let held = held.saturating_sub(sum.settled);
        let held = u64::try_from(held).unwrap_or(0);
        sum.billable.total().saturating_add(held)
    }
}
