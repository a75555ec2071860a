//! Which lines of an invoice bill which meter. A price in tiers has several lines
//! for one meter, and so has one that was changed within the period; Stripe tells
//! of none of them which events it is for, only of all together.

use std::ops::Range;

use billing::{Currency, CustomerId, Money, Timestamp};
use ledger::CustomerRow;
use metering::PricedUsage;
use serde::Serialize;
use stripe::{InvoiceLine, List, Meter};
use utoipa::ToSchema;
use web::openapi::schema;

/// A line, as Stripe has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedLine {
    /// What the invoice says.
    #[schema(required)]
    pub description: Option<String>,
    /// The price.
    #[schema(required)]
    pub price_id: Option<String>,
    /// Its units; null, or 0, for a flat amount.
    #[schema(required)]
    pub quantity: Option<i64>,
    /// Per unit, in minor units, as Stripe's decimal text.
    #[schema(required)]
    pub unit_amount_decimal: Option<String>,
    /// What it comes to, rounded once.
    #[schema(schema_with = schema::amount)]
    pub amount: String,
    /// From then, inclusive.
    #[schema(schema_with = schema::time)]
    pub period_start: String,
    /// Up to then, exclusive.
    #[schema(schema_with = schema::time)]
    pub period_end: String,
}

impl ExplainedLine {
    pub(super) fn of(line: &InvoiceLine, currency: &Currency) -> Self {
        Self {
            description: line.description.clone(),
            price_id: line.price.clone(),
            quantity: line.quantity,
            unit_amount_decimal: line.unit_amount_decimal.clone(),
            amount: Money::from_minor_units(line.amount, currency.clone()).to_string(),
            period_start: Timestamp::from_unix_s(line.period.start).to_string(),
            period_end: Timestamp::from_unix_s(line.period.end).to_string(),
        }
    }
}

/// The lines of an invoice.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// By what they bill, in the invoice's order.
    pub(super) usage: Vec<BilledUsage>,
    pub(super) others: Vec<InvoiceLine>,
    /// Some of the others bill usage, of another subscription.
    pub(super) has_foreign_usage: bool,
}

/// The lines that bill one meter.
#[derive(Clone, Debug)]
pub(super) struct BilledUsage {
    usage: PricedUsage,
    /// The event name that tells its usage in the log; none where it is not known yet.
    name: Option<String>,
    pub(super) subscription_item_id: Option<String>,
    pub(super) lines: Vec<InvoiceLine>,
}

impl Lines {
    pub(super) fn add(&mut self, customer: &CustomerRow, usage: PricedUsage, line: InvoiceLine) {
        if usage == PricedUsage::None {
            self.others.push(line);
            return;
        }
        let is_same = |billed: &&mut BilledUsage| billed.bills(&usage, &line);
        match self.usage.iter_mut().find(is_same) {
            Some(billed) => billed.lines.push(line),
            None => self.usage.push(BilledUsage::begin(customer, usage, line)),
        }
    }

    /// Gives the usage of meters that no item has any more its event names.
    pub(super) fn name(&mut self, meters: &List<Meter>) {
        for billed in &mut self.usage {
            let meter_id = billed.usage.meter_id();
            let meter = meters.iter().find(|meter| Some(&*meter.id) == meter_id);
            if billed.name.is_none() {
                billed.name = meter.map(|meter| meter.event_name.clone());
            }
        }
    }
}

impl BilledUsage {
    fn begin(customer: &CustomerRow, usage: PricedUsage, line: InvoiceLine) -> Self {
        let item = customer.items().find(|item| match usage.meter_id() {
            Some(meter_id) => item.meter_id == meter_id,
            None => Some(&item.subscription_item_id) == line.subscription_item.as_ref(),
        });
        Self {
            name: item.map(|item| item.meter_event_name.clone()),
            subscription_item_id: line.subscription_item.clone(),
            usage,
            lines: vec![line],
        }
    }

    /// Whether `line`, which bills `usage`, is one of these. Of usage records it is
    /// the item that tells.
    fn bills(&self, usage: &PricedUsage, line: &InvoiceLine) -> bool {
        let is_same_item = self.subscription_item_id == line.subscription_item;
        self.usage == *usage && (usage.meter_id().is_some() || is_same_item)
    }

    /// Whether only Stripe can tell the event name.
    pub(super) fn is_unnamed(&self) -> bool {
        self.name.is_none() && self.usage.meter_id().is_some()
    }

    /// Whether it bills usage records.
    pub(super) fn is_usage_records(&self) -> bool {
        self.usage == PricedUsage::UsageRecords
    }

    /// The event name of its meter; empty for usage records that nothing tells apart.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    pub(super) fn shown_name(&self) -> Option<String> {
        self.name.clone().filter(|name| !name.is_empty())
    }

    /// From the first of its lines' periods to the last.
    pub(super) fn period(&self) -> Range<Timestamp> {
        let start = self.lines.iter().map(|line| line.period.start).min();
        let end = self.lines.iter().map(|line| line.period.end).max();
        Timestamp::from_unix_s(start.unwrap_or_default())
            ..Timestamp::from_unix_s(end.unwrap_or_default())
    }

    pub(super) fn units(&self) -> i64 {
        let units = self.lines.iter().filter_map(|line| line.quantity);
        units.fold(0, i64::saturating_add)
    }

    pub(super) fn amount(&self) -> i64 {
        let amounts = self.lines.iter().map(|line| line.amount);
        amounts.fold(0, i64::saturating_add)
    }

    /// Where the API lists its events.
    pub(super) fn events_url(&self, customer_id: &CustomerId) -> String {
        let Range { start, end } = self.period();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("billed_from", &start.to_string());
        query.append_pair("billed_to", &end.to_string());
        // What the catalog calls usage records now, it may not have called them then.
        if !self.is_usage_records() {
            query.append_pair("meter_event_name", self.name());
        }
        format!("/v1/customers/{customer_id}/events?{}", query.finish())
    }
}
