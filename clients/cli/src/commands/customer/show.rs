//! `meterline customer show`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use billing::{Currency, CustomerId, Money, Timestamp, UsageStatus};
use clap::Args;
use ledger::{CustomerRow, Ledger, Tally, Total};
use limits::LimitView;
use metering::{CustomerDirectory, KnownCustomer};
use serde::Serialize;

use super::super::Failure;
use super::super::environment::{Surroundings, surroundings};
use super::super::limit::{view_of, write_limit};
use super::super::table::table;

/// Invoices that are shown.
const INVOICES: u32 = 5;

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// Whom.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is known of a customer. Amounts are decimal texts in major units.
#[derive(Serialize)]
struct Shown {
    customer_id: CustomerId,
    external_id: Option<String>,
    status: &'static str,
    subscription_id: String,
    subscription_ends_at: Option<String>,
    /// When the free trial ends that the period is; none where it is none.
    trial_ends_at: Option<String>,
    test_clock: Option<String>,
    period_start: String,
    period_end: String,
    currency: String,
    /// What the period's usage costs so far; none where it cannot be summed up.
    cost: Option<String>,
    meters: Vec<Meter>,
    /// Units of the period that are neither on an invoice nor on their way to one.
    unbilled_units: BTreeMap<&'static str, u64>,
    /// Units that no period bills.
    held_units: u64,
    held_events: u64,
    /// None while there is no limit.
    spending_limit: Option<LimitView>,
    invoices: Vec<Invoice>,
}

/// What one meter counts.
#[derive(Serialize)]
struct Meter {
    meter_event_name: String,
    /// None for a meter that no item bills any more.
    subscription_item_id: Option<String>,
    units: u64,
    /// Those of them that Stripe is not yet known to have.
    pending_units: u64,
    /// None where nothing bills them.
    cost: Option<String>,
}

#[derive(Serialize)]
struct Invoice {
    invoice_id: String,
    number: Option<String>,
    status: Option<String>,
    total: String,
    currency: String,
    created_at: String,
}

/// Prints what the tables and Stripe say of a customer.
pub(super) async fn run(arguments: &ShowArguments) -> Result<(), Failure> {
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let id = &arguments.customer;
    let directory = CustomerDirectory::new(ledger.clone(), stripe.clone(), clock);
    let customer = directory.current_customer(id).await?;
    let customer = customer.ok_or_else(|| Failure::NoSuchCustomer(id.clone()))?;
    let invoices = stripe.list_invoices(id.as_str(), INVOICES).await;
    let invoices = invoices.map_err(|source| audit::ExplainError::Stripe {
        what: "the customer's invoices",
        source,
    })?;
    let mut shown = Shown::of(&ledger, &customer).await?;
    shown.invoices = invoices.iter().map(Invoice::of).collect();
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&shown)?)?;
    } else {
        shown.print(&mut out)?;
    }
    Ok(())
}

impl Shown {
    async fn of(ledger: &Ledger, customer: &KnownCustomer) -> Result<Self, Failure> {
        let row = &customer.row;
        let id = &row.customer_id;
        let totals = ledger.totals_of_period(id, row.period_start).await?;
        let held = sum(&ledger.held_totals(id).await?);
        let of_period = sum(&totals);
        let meters = meters(row, &totals);
        let unbilled = [
            UsageStatus::Rejected,
            UsageStatus::Quarantined,
            UsageStatus::Voiding,
            UsageStatus::Voided,
        ];
        let unbilled = unbilled.map(|status| (status.as_str(), of_period.units(status)));
        let time = |at: Timestamp| at.to_string();
        Ok(Self {
            customer_id: id.clone(),
            external_id: row.external_id.clone(),
            status: customer.status().as_str(),
            subscription_id: row.subscription_id.clone(),
            subscription_ends_at: row.subscription_ends_at.map(time),
            trial_ends_at: row.trial_of(row.period_start).map(|it| time(it.end)),
            test_clock: row.test_clock.clone(),
            period_start: time(row.period_start),
            period_end: time(row.period_end),
            currency: row.item.price.currency().as_str().to_owned(),
            cost: cost(row, &meters).map(|cost| cost.to_string()),
            meters,
            unbilled_units: unbilled
                .into_iter()
                .filter(|(_, units)| *units > 0)
                .collect(),
            held_units: held.units(UsageStatus::Held),
            held_events: held.events(UsageStatus::Held),
            spending_limit: view_of(ledger, row, row.period_start).await?,
            invoices: Vec::new(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let currency = &self.currency;
        let external_id = self.external_id.as_ref();
        let external_id = external_id.map_or_else(String::new, |id| format!("  {id:?}"));
        writeln!(out, "{}  {}{external_id}", self.customer_id, self.status)?;
        if let Some(end) = &self.subscription_ends_at {
            writeln!(out, "the subscription ends at {end}")?;
        }
        if let Some(end) = &self.trial_ends_at {
            writeln!(out, "usage is free until {end}, the end of the trial")?;
        }
        if let Some(clock) = &self.test_clock {
            writeln!(out, "on the test clock {clock}")?;
        }
        let cost = self.cost.as_deref().unwrap_or("unknown");
        let (start, end) = (&self.period_start, &self.period_end);
        writeln!(out, "period {start} to {end}: {cost} {currency} so far\n")?;
        let meters: Vec<[String; 4]> = self.meters.iter().map(|it| it.cells(currency)).collect();
        let headings = ["METER", "UNITS", "PENDING", "COST"];
        out.write_all(table(&headings, &meters).as_bytes())?;
        for (status, units) in &self.unbilled_units {
            writeln!(out, "{units} units {status}")?;
        }
        if self.held_events > 0 {
            let (units, events) = (self.held_units, self.held_events);
            writeln!(
                out,
                "{units} units in {events} events held: nothing bills them"
            )?;
        }
        writeln!(out)?;
        if let Some(limit) = &self.spending_limit {
            write_limit(out, limit)?;
            writeln!(out)?;
        }
        let invoices: Vec<[String; 5]> = self.invoices.iter().map(Invoice::cells).collect();
        let headings = ["INVOICE", "NUMBER", "STATUS", "TOTAL", "CREATED"];
        out.write_all(table(&headings, &invoices).as_bytes())
    }
}

fn sum(totals: &[Total]) -> Tally {
    totals.iter().fold(Tally::default(), |mut sum, total| {
        sum.add(&total.tally);
        sum
    })
}

/// The meters of the customer's items, those without usage too; then those that no
/// item bills any more.
fn meters(row: &CustomerRow, totals: &[Total]) -> Vec<Meter> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for total in totals {
        let meter = row.meter_of_totals(&total.key.meter_event_name);
        tallies.entry(meter).or_default().add(&total.tally);
    }
    let mut meters = Vec::new();
    for item in row.items() {
        let tally = tallies.remove(item.meter_event_name.as_str());
        let tally = tally.unwrap_or_default();
        meters.push(Meter {
            subscription_item_id: Some(item.subscription_item_id.clone()),
            cost: Some(
                row.cost_of(item, row.period_start, tally.billable_units())
                    .to_string(),
            ),
            ..Meter::of(&item.meter_event_name, &tally)
        });
    }
    let others = tallies
        .iter()
        .filter(|(_, tally)| tally.billable_units() > 0);
    meters.extend(others.map(|(name, tally)| Meter::of(name, tally)));
    meters
}

/// What the items cost together, each rounded by itself as on the invoice.
fn cost(row: &CustomerRow, meters: &[Meter]) -> Option<Money> {
    let nothing = Money::from_minor_units(0, row.item.price.currency().clone());
    row.items()
        .zip(meters)
        .try_fold(nothing, |sum, (item, meter)| {
            sum.checked_add(&row.cost_of(item, row.period_start, meter.units))
        })
}

impl Meter {
    fn of(meter_event_name: &str, tally: &Tally) -> Self {
        Self {
            meter_event_name: meter_event_name.to_owned(),
            subscription_item_id: None,
            units: tally.billable_units(),
            pending_units: tally.units(UsageStatus::Pending),
            cost: None,
        }
    }

    fn cells(&self, currency: &str) -> [String; 4] {
        let name = match self.meter_event_name.as_str() {
            "" => "(no name)",
            name => name,
        };
        let cost = self.cost.as_ref();
        [
            name.to_owned(),
            self.units.to_string(),
            self.pending_units.to_string(),
            cost.map_or_else(|| "–".to_owned(), |cost| format!("{cost} {currency}")),
        ]
    }
}

impl Invoice {
    fn of(invoice: &stripe::Invoice) -> Self {
        let total = match Currency::parse(&invoice.currency) {
            Ok(currency) => Money::from_minor_units(invoice.total, currency).to_string(),
            Err(_) => format!("{} minor units", invoice.total),
        };
        Self {
            invoice_id: invoice.id.clone(),
            number: invoice.number.clone(),
            status: invoice.status.clone(),
            total,
            currency: invoice.currency.clone(),
            created_at: Timestamp::from_unix_s(invoice.created).to_string(),
        }
    }

    fn cells(&self) -> [String; 5] {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".to_owned());
        [
            self.invoice_id.clone(),
            or_dash(&self.number),
            or_dash(&self.status),
            format!("{} {}", self.total, self.currency),
            self.created_at.clone(),
        ]
    }
}
