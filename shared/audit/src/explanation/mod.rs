//! Why an invoice's lines say what they say: for each meter that they bill, what
//! the audit log has of it, next to Stripe's quantity.
//!
//! | module | does |
//! | --- | --- |
//! | [`lines`] | says which lines bill which meter |
//! | [`logged`] | says what the log has of a meter in a period |
//! | [`cause`] | names a difference |
//! | [`carried`] | finds what was carried into a period |

mod carried;
mod cause;
mod lines;
mod logged;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use billing::{Currency, CustomerId, Money, Timestamp, UsageStatus};
use ledger::{CustomerRow, Ledger, LedgerError, Tally, Total};
use metering::{PricedUsage, UsageLines, bills_usage, is_final, lines_of, usage_period};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

pub use carried::CarriedOver;
pub use cause::{Difference, DifferenceCause};
pub use lines::ExplainedLine;
pub use logged::{LoggedUsage, UnitsOfAction, UnitsOfDay, VoidCredit};

use lines::{BilledUsage, Lines};
use logged::Totals;

/// An invoice, explained. Amounts are decimal texts in major units, times RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvoiceExplanation {
    /// Stripe's id of it.
    pub invoice_id: String,
    /// What people call it; null until it is final.
    #[schema(required)]
    pub number: Option<String>,
    /// Where it stands, in Stripe's word.
    #[schema(required)]
    pub status: Option<String>,
    /// Whose it is.
    #[schema(schema_with = schema::customer_id)]
    pub customer_id: String,
    /// Of every amount.
    #[schema(schema_with = schema::currency)]
    pub currency: String,
    /// What it comes to.
    #[schema(schema_with = schema::amount)]
    pub total: String,
    /// Whether its lines are what is billed for good: else Stripe may still sum up.
    pub is_final: bool,
    /// Whether the log has every unit that is billed, and no more. False, too, where
    /// it bills usage of another subscription than the customer's: what is behind
    /// that the log does not say.
    pub agrees: bool,
    /// Each meter that it bills.
    pub usage: Vec<ExplainedUsage>,
    /// Usage of its period that it has no line for, such as that of an item which was
    /// removed.
    pub unbilled: Vec<UnbilledUsage>,
    /// Lines that bill no usage.
    pub other_lines: Vec<ExplainedLine>,
}

/// What an invoice bills of one meter, and what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ExplainedUsage {
    /// The meter; null for usage records that no catalog tells apart.
    #[schema(required)]
    pub meter_event_name: Option<String>,
    /// The subscription's item; null where an invoice item stands for one that was
    /// removed.
    #[schema(required)]
    pub subscription_item_id: Option<String>,
    /// The start of what the lines bill, inclusive.
    #[schema(schema_with = schema::time)]
    pub period_start: String,
    /// Its end, exclusive.
    #[schema(schema_with = schema::time)]
    pub period_end: String,
    /// The lines: a price in tiers has several.
    pub lines: Vec<ExplainedLine>,
    /// What the lines come to.
    #[schema(schema_with = schema::amount)]
    pub amount: String,
    /// The units of the lines, as Stripe has them.
    pub stripe_units: i64,
    /// The same, as the log has them: delivered units, and those that were voided
    /// when it was too late to take them off, for which there is a credit.
    pub log_units: i64,
    /// What the log has, unit by unit.
    pub log: LoggedUsage,
    /// What was voided too late to be taken off the lines, and credited.
    #[schema(required)]
    pub void_credit: Option<VoidCredit>,
    /// What happened in an earlier period, whose invoice was final by then.
    pub carried_over: CarriedOver,
    /// What differs; null where the log has what Stripe bills.
    #[schema(required)]
    pub difference: Option<Difference>,
    /// Where the API lists the events behind the lines.
    pub events_url: String,
}

/// Delivered usage of a meter that an invoice has no line for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnbilledUsage {
    /// The meter; null for usage records that no catalog tells apart.
    #[schema(required)]
    pub meter_event_name: Option<String>,
    /// Delivered units of the period.
    pub units: u64,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe failed.
    #[error("Stripe could not be asked for {what}: {source}")]
    Stripe {
        /// What was asked for.
        what: &'static str,
        /// Its error, which names no secret.
        source: stripe::Error,
    },
    /// There is no such invoice of this customer.
    #[error("no invoice with this id is the customer's")]
    NoSuchInvoice,
    /// Stripe's answer names no currency.
    #[error("the invoice's currency cannot be read")]
    Currency(#[from] billing::InvalidCurrency),
}

impl ExplainError {
    const fn stripe(what: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { what, source }
    }
}

/// Explains invoices.
pub struct Explainer {
    ledger: Ledger,
    stripe: stripe::Client,
    usage_lines: UsageLines,
    /// Events that are looked at for what was carried over, at most.
    looked_at_max: usize,
}

impl Explainer {
    /// Explains Stripe's invoices by `ledger`. To find what was carried over into
    /// a period, up to `looked_at_max` earlier events are looked at.
    pub fn new(ledger: Ledger, stripe: stripe::Client, looked_at_max: usize) -> Self {
        Self {
            ledger,
            stripe,
            usage_lines: UsageLines::default(),
            looked_at_max,
        }
    }

    /// The invoice `invoice_id`, whoever's it is.
    ///
    /// # Errors
    /// [`ExplainError::NoSuchInvoice`] where Stripe has none, also for a text that
    /// is no id.
    pub async fn invoice(&self, invoice_id: &str) -> Result<stripe::Invoice, ExplainError> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '_';
        // Other words behind `/v1/invoices/` are other requests, such as `search`.
        if !invoice_id.starts_with("in_") || !invoice_id.chars().all(is_id) {
            return Err(ExplainError::NoSuchInvoice);
        }
        let found = self.stripe.retrieve_invoice(invoice_id).await;
        found.map_err(|error| {
            if error.is_not_found() {
                ExplainError::NoSuchInvoice
            } else {
                ExplainError::stripe("the invoice")(error)
            }
        })
    }

    /// Explains the invoice `invoice_id` of `customer`.
    ///
    /// # Errors
    /// [`ExplainError`]; the same for an invoice of somebody else as for none.
    pub async fn explain(
        &self,
        customer: &CustomerRow,
        invoice_id: &str,
    ) -> Result<InvoiceExplanation, ExplainError> {
        let invoice = self.invoice(invoice_id).await?;
        if invoice.customer.as_deref() != Some(customer.customer_id.as_str()) {
            return Err(ExplainError::NoSuchInvoice);
        }
        let currency = Currency::parse(&invoice.currency)?;
        let lines = self.lines(customer, &invoice).await?;
        // What Stripe sums over begins with the period, and so do the log's rows of it.
        let period_start = usage_period(&invoice, customer).map(|period| period.start);
        let mut periods = Periods::of(&self.ledger, &customer.customer_id);
        let unbilled = match period_start {
            Some(start) if bills_usage(&invoice, customer) => {
                unbilled(customer, &lines.usage, periods.totals(start).await?)
            }
            _ => Vec::new(),
        };
        let mut usage = Vec::new();
        for billed in lines.usage {
            let start = billed.period().start;
            let start = period_start.map_or(start, |at| at.min(start));
            let totals = Totals::of(customer, &billed, periods.totals(start).await?);
            let explained = self.usage(customer, &invoice, &currency, start, totals, billed);
            usage.push(explained.await?);
        }
        let other_lines = lines.others.iter();
        Ok(InvoiceExplanation {
            agrees: usage.iter().all(|it| it.difference.is_none())
                && unbilled.is_empty()
                && !lines.has_foreign_usage,
            usage,
            unbilled,
            other_lines: other_lines
                .map(|line| ExplainedLine::of(line, &currency))
                .collect(),
            total: Money::from_minor_units(invoice.total, currency.clone()).to_string(),
            currency: currency.as_str().to_owned(),
            is_final: is_final(&invoice),
            customer_id: customer.customer_id.to_string(),
            invoice_id: invoice.id,
            number: invoice.number,
            status: invoice.status,
        })
    }

    async fn lines(
        &self,
        customer: &CustomerRow,
        invoice: &stripe::Invoice,
    ) -> Result<Lines, ExplainError> {
        let all = lines_of(&self.stripe, invoice).await;
        let all = all.map_err(ExplainError::stripe("the invoice's lines"))?;
        let mut lines = Lines::default();
        for line in all {
            let usage = self.usage_lines.usage_of(&self.stripe, customer, &line);
            let usage = usage.await;
            let usage = usage.map_err(ExplainError::stripe("the price of an invoice's line"))?;
            if bills_usage(invoice, customer) {
                lines.add(customer, usage, line);
            } else {
                // The first invoice has a line for usage, and none of it yet.
                let is_usage = usage != PricedUsage::None && line.quantity.unwrap_or(0) != 0;
                lines.has_foreign_usage |= is_usage;
                lines.others.push(line);
            }
        }
        if lines.usage.iter().any(BilledUsage::is_unnamed) {
            let meters = self.stripe.list_meters().await;
            let meters = meters.map_err(ExplainError::stripe("meters"))?;
            lines.name(&meters);
        }
        Ok(lines)
    }

    async fn usage(
        &self,
        customer: &CustomerRow,
        invoice: &stripe::Invoice,
        currency: &Currency,
        period_start: Timestamp,
        totals: Totals,
        billed: BilledUsage,
    ) -> Result<ExplainedUsage, ExplainError> {
        let id = &customer.customer_id;
        let period = billed.period();
        let mut credits = ledger::VoidCredits::default();
        for name in totals.names() {
            let of_name = self.ledger.void_credits_of(id, name, period_start);
            let of_name = of_name.await?;
            credits.units = credits.units.saturating_add(of_name.units);
            credits.minor_units = credits.minor_units.saturating_add(of_name.minor_units);
        }
        let log = totals.logged(credits.units);
        let carried_over =
            carried::find(&self.ledger, id, &billed, &totals, self.looked_at_max).await?;
        let log_units = log.billed_units();
        let stripe_units = billed.units();
        let difference = Difference::of(stripe_units, &log, is_final(invoice));
        let amount = Money::from_minor_units(billed.amount(), currency.clone());
        let void_credit = VoidCredit::of(&credits, currency);
        let lines = billed.lines.iter();
        Ok(ExplainedUsage {
            lines: lines
                .map(|line| ExplainedLine::of(line, currency))
                .collect(),
            amount: amount.to_string(),
            events_url: billed.events_url(id),
            period_start: period.start.to_string(),
            period_end: period.end.to_string(),
            meter_event_name: billed.shown_name(),
            subscription_item_id: billed.subscription_item_id,
            stripe_units,
            log_units,
            log,
            void_credit,
            carried_over,
            difference,
        })
    }
}

/// What the log has of a customer's periods, each read once, so that all figures of an
/// explanation are of one moment.
struct Periods<'a> {
    ledger: &'a Ledger,
    customer_id: &'a CustomerId,
    read: BTreeMap<Timestamp, Vec<Total>>,
}

impl<'a> Periods<'a> {
    const fn of(ledger: &'a Ledger, customer_id: &'a CustomerId) -> Self {
        let read = BTreeMap::new();
        Self {
            ledger,
            customer_id,
            read,
        }
    }

    /// The totals of the period that begins at `start`.
    async fn totals(&mut self, start: Timestamp) -> Result<&[Total], ExplainError> {
        Ok(match self.read.entry(start) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let totals = self.ledger.totals_of_period(self.customer_id, start);
                unread.insert(totals.await?)
            }
        })
    }
}

/// What was delivered, by the `totals` of a period, of which nothing is `billed`.
fn unbilled(
    customer: &CustomerRow,
    billed: &[BilledUsage],
    totals: &[Total],
) -> Vec<UnbilledUsage> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for Total { key, tally } in totals {
        let name = customer.meter_of_totals(&key.meter_event_name).to_owned();
        if !billed.iter().any(|billed| billed.name() == name) {
            tallies.entry(name).or_default().add(tally);
        }
    }
    let units = |tally: &Tally| tally.units(UsageStatus::Delivered);
    let unbilled = tallies.into_iter().map(|(name, tally)| UnbilledUsage {
        units: units(&tally),
        meter_event_name: Some(name).filter(|name| !name.is_empty()),
    });
    unbilled.filter(|it| it.units > 0).collect()
}
