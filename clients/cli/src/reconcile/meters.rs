//! The meters that count a customer's usage. Each is compared by itself, so that
//! no meter's events explain another's difference.

use std::collections::BTreeMap;

use ledger::{CustomerRow, MeteredItem, UsageEventRow};
use metering::KnownCustomer;

use super::ReconcileError;
use super::narrowing::Window;
use super::usage_records::UsagePeriods;

/// A meter, as one comparison sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedMeter {
    /// The event name that it listens to; the name that usage records are told
    /// apart by.
    pub event_name: String,
    /// The items of the customer's subscription that bill it; none where it was
    /// removed.
    pub subscription_item_ids: Vec<String>,
    /// What tells how much Stripe has.
    pub(super) source: Source,
}

/// What tells how much Stripe has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The sums of these meters, `mtr_…`: of an event name one is active, and
    /// any number before it.
    Meters(Vec<String>),
    /// The sums of billing periods.
    UsageRecords(UsagePeriods),
}

impl ComparedMeter {
    /// The meter of the customer's items that have its `event_name`.
    fn of_items(customer: &CustomerRow, event_name: &str) -> Self {
        let items = customer.items();
        let items: Vec<&MeteredItem> = items
            .filter(|item| item.meter_event_name == event_name)
            .collect();
        let mut meter_ids: Vec<String> = items.iter().map(|item| item.meter_id.clone()).collect();
        meter_ids.retain(|id| !id.is_empty());
        meter_ids.sort_unstable();
        meter_ids.dedup();
        let item_ids = items.iter().map(|item| item.subscription_item_id.clone());
        Self {
            event_name: event_name.to_owned(),
            subscription_item_ids: item_ids.collect(),
            source: if meter_ids.is_empty() {
                Source::UsageRecords(UsagePeriods::default())
            } else {
                Source::Meters(meter_ids)
            },
        }
    }

    /// Whether the customer has an item that bills it.
    pub(super) const fn has_item(&self) -> bool {
        !self.subscription_item_ids.is_empty()
    }
}

/// Every meter that a customer's usage is compared by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meters {
    compared: Vec<ComparedMeter>,
    /// The event names of items that bill usage records, by the items' ids.
    usage_record_items: BTreeMap<String, String>,
    /// What is told of usage records that no item bills: nothing.
    no_periods: UsagePeriods,
}

impl Meters {
    /// The meters that the customer has items of. Of those that are billed by
    /// usage records, Stripe is asked for the billing periods.
    pub(super) async fn ask(
        stripe: &stripe::Client,
        customer: &KnownCustomer,
    ) -> Result<Self, ReconcileError> {
        let mut meters = Self::of_items(&customer.row);
        for meter in &mut meters.compared {
            if let Source::UsageRecords(periods) = &mut meter.source {
                let items = &meter.subscription_item_ids;
                *periods = UsagePeriods::ask(stripe, customer, items).await?;
            }
        }
        Ok(meters)
    }

    fn of_items(customer: &CustomerRow) -> Self {
        let mut compared: Vec<ComparedMeter> = Vec::new();
        for item in customer.items() {
            let name = &item.meter_event_name;
            if compared.iter().all(|meter| meter.event_name != *name) {
                compared.push(ComparedMeter::of_items(customer, name));
            }
        }
        let bill_usage_records = customer.items().filter(|item| item.meter_id.is_empty());
        let by_id = |item: &MeteredItem| {
            let id = item.subscription_item_id.clone();
            (id, item.meter_event_name.clone())
        };
        Self {
            compared,
            usage_record_items: bill_usage_records.map(by_id).collect(),
            no_periods: UsagePeriods::default(),
        }
    }

    /// Adds the meters of `event_names`, which the log has usage of, where the
    /// customer has no item of them.
    pub(super) async fn add_without_items<'a>(
        &mut self,
        stripe: &stripe::Client,
        event_names: impl Iterator<Item = &'a String>,
    ) -> Result<(), ReconcileError> {
        let is_new = |name: &&String| self.compared.iter().all(|it| it.event_name != **name);
        let new: Vec<&String> = event_names.filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let in_stripe = if self.are_usage_records() {
            None
        } else {
            let listed = stripe.list_meters().await;
            Some(listed.map_err(ReconcileError::stripe("meters"))?)
        };
        self.compared.extend(new.into_iter().map(|name| {
            let source = in_stripe.as_ref().map(|listed| {
                let same = listed.iter().filter(|meter| meter.event_name == *name);
                Source::Meters(same.map(|meter| meter.id.clone()).collect())
            });
            ComparedMeter {
                event_name: name.clone(),
                subscription_item_ids: Vec::new(),
                source: source.unwrap_or(Source::UsageRecords(UsagePeriods::default())),
            }
        }));
        Ok(())
    }

    /// The meters, those of the customer's items first.
    pub fn iter(&self) -> impl Iterator<Item = &ComparedMeter> {
        self.compared.iter()
    }

    /// `range`, with all of each billing period that it touches, where Stripe
    /// tells no less than a period. Other periods are forgotten.
    pub(super) fn widen(&mut self, range: Window) -> Window {
        let mut sources: Vec<&mut Source> =
            self.compared.iter_mut().map(|it| &mut it.source).collect();
        let widened = sources.iter().fold(range, |widened, source| match source {
            Source::UsageRecords(periods) => periods.widen(range).around(widened),
            Source::Meters(_) => widened,
        });
        for source in &mut sources {
            if let Source::UsageRecords(periods) = source {
                periods.keep_within(widened);
            }
        }
        widened
    }

    /// The name of the meter that `row` is compared with. A usage record is
    /// added to an item, whatever the catalog called that item's usage then.
    pub(super) fn name_of<'a>(&'a self, row: &'a UsageEventRow) -> &'a str {
        let item_id = row.subscription_item_id.as_ref();
        let by_item = item_id.and_then(|id| self.usage_record_items.get(id));
        by_item.unwrap_or(&row.meter_event_name)
    }

    /// The billing periods that stand for the minutes of a meter; none where
    /// Stripe tells minutes.
    pub(super) fn periods_of(&self, event_name: &str) -> Option<&UsagePeriods> {
        let mut known = self.compared.iter();
        match known.find(|meter| meter.event_name == event_name) {
            Some(meter) => match &meter.source {
                Source::UsageRecords(periods) => Some(periods),
                Source::Meters(_) => None,
            },
            None => self.are_usage_records().then_some(&self.no_periods),
        }
    }

    /// Whether the account is billed by usage records: it is by one or the other.
    fn are_usage_records(&self) -> bool {
        !self.usage_record_items.is_empty()
    }
}
