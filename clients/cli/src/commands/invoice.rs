//! `meterline invoice`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use audit::explanation::{ExplainedLine, ExplainedUsage};
use audit::{ExplainError, Explainer, InvoiceExplanation};
use billing::{CustomerId, Timestamp};
use clap::{Args, Subcommand};
use metering::CustomerDirectory;
use meterline_cli::reconcile::Finding;
use meterline_cli::{ReconcileOptions, Reconciler};
use serde::Serialize;

use super::environment::{Surroundings, surroundings};
use super::reconcile::print_finding;
use super::{Failure, complain};

/// The exit status where the log has not what is billed.
const DIFFERS: u8 = 1;

/// What to do with an invoice.
#[derive(Subcommand)]
pub(crate) enum InvoiceCommand {
    /// Say for each line of an invoice which usage is behind it.
    Explain(ExplainArguments),
}

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// Stripe's id of it, in_….
    #[arg(value_name = "INVOICE")]
    invoice: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An explanation, and where something differs, what reconciling finds.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    explanation: InvoiceExplanation,
    findings: Vec<Finding>,
}

/// Explains, and prints it. The status is 0 where the log has what is billed, 1
/// where it has not.
pub(crate) async fn run(command: InvoiceCommand) -> Result<ExitCode, Failure> {
    let InvoiceCommand::Explain(arguments) = command;
    let around = surroundings().await?;
    let (ledger, stripe) = (around.ledger.clone(), around.stripe.clone());
    let explainer = Explainer::new(ledger.clone(), stripe.clone(), usize::MAX);
    let invoice = explainer.invoice(&arguments.invoice).await?;
    let customer_id = invoice.customer.as_deref().unwrap_or_default();
    let customer_id = CustomerId::parse(customer_id).map_err(|_| ExplainError::NoSuchInvoice)?;
    let directory = CustomerDirectory::new(ledger, stripe, around.clock.clone());
    let customer = directory.current_customer(&customer_id).await?;
    let customer = customer.ok_or_else(|| Failure::NoSuchCustomer(customer_id.clone()))?;
    let explanation = explainer.explain(&customer.row, &arguments.invoice).await?;
    let explained = Explained {
        findings: findings(around, &explanation, &customer_id).await,
        explanation,
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&explained)?)?;
    } else {
        print(&mut out, &explained)?;
    }
    Ok(if explained.explanation.agrees {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DIFFERS)
    })
}

/// What reconciling finds in the periods that differ. That it cannot be done is
/// told, and keeps nothing else from being shown.
async fn findings(
    around: Surroundings,
    explanation: &InvoiceExplanation,
    customer_id: &CustomerId,
) -> Vec<Finding> {
    let differing = explanation
        .usage
        .iter()
        .filter(|it| it.difference.is_some());
    let time = |text: &str| Timestamp::parse_rfc3339(text).ok();
    let periods = differing.filter_map(|it| time(&it.period_start).zip(time(&it.period_end)));
    let Some((from, to)) = periods.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return Vec::new();
    };
    let Ok(options) = ReconcileOptions::new(from, to) else {
        return Vec::new();
    };
    let reconciler = Reconciler::new(around.ledger, around.stripe, around.clock);
    match reconciler.customer(customer_id, options).await {
        Ok(report) => report.findings,
        Err(error) => {
            complain("the difference is not looked into", &error);
            Vec::new()
        }
    }
}

fn print(out: &mut impl Write, explained: &Explained) -> io::Result<()> {
    let InvoiceExplanation {
        invoice_id,
        number,
        status,
        customer_id,
        currency,
        total,
        ..
    } = &explained.explanation;
    let status = status.as_deref().unwrap_or("–");
    let number = number.as_deref().unwrap_or("no number yet");
    writeln!(
        out,
        "{invoice_id}  {number}  {status}  {total} {currency}  {customer_id}"
    )?;
    for usage in &explained.explanation.usage {
        print_usage(out, usage, currency, customer_id)?;
    }
    for unbilled in &explained.explanation.unbilled {
        let meter = unbilled
            .meter_event_name
            .as_deref()
            .unwrap_or("usage records");
        let units = unbilled.units;
        writeln!(out, "\nNO LINE: {units} delivered units of {meter}")?;
    }
    for line in &explained.explanation.other_lines {
        write!(out, "\nno usage: ")?;
        print_line(out, line, currency)?;
    }
    if !explained.findings.is_empty() {
        writeln!(out, "\nmeterline reconcile finds:")?;
    }
    for finding in &explained.findings {
        print_finding(out, finding)?;
    }
    Ok(())
}

fn print_line(out: &mut impl Write, line: &ExplainedLine, currency: &str) -> io::Result<()> {
    let description = line.description.as_deref().unwrap_or("a line");
    let quantity = line.quantity.unwrap_or_default();
    writeln!(
        out,
        "{quantity} units  {} {currency}  {description:?}",
        line.amount
    )
}

fn print_usage(
    out: &mut impl Write,
    usage: &ExplainedUsage,
    currency: &str,
    customer_id: &str,
) -> io::Result<()> {
    let log = &usage.log;
    let (start, end) = (&usage.period_start, &usage.period_end);
    let name = usage.meter_event_name.as_deref().unwrap_or("(no name)");
    writeln!(out, "\n{name}  {start} to {end}")?;
    for line in &usage.lines {
        write!(out, "  line  ")?;
        print_line(out, line, currency)?;
    }
    writeln!(out, "  Stripe bills {} units", usage.stripe_units)?;
    write!(out, "  the log has  {} units: ", usage.log_units)?;
    let (units, events) = (log.delivered_units, log.delivered_events);
    write!(out, "{units} delivered in {events} events")?;
    if let Some(credit) = &usage.void_credit {
        let (units, amount) = (credit.units, &credit.amount);
        write!(
            out,
            ", {units} voided and credited with {amount} {currency}"
        )?;
    }
    writeln!(out)?;
    for day in &log.by_day {
        writeln!(
            out,
            "    {}  {:>10}",
            day.day.get(..10).unwrap_or(&day.day),
            day.units
        )?;
    }
    for action in &log.by_action_type {
        writeln!(out, "    {:>22}  {}", action.units, action.action_type)?;
    }
    let carried = &usage.carried_over;
    if carried.events > 0 {
        let (units, events) = (carried.units, carried.events);
        writeln!(
            out,
            "  of them {units} in {events} events were carried over from before"
        )?;
    }
    for (units, what) in [
        (log.voided_units, "voided, not billed"),
        (log.pending_units, "pending"),
        (
            log.quarantined_units,
            "quarantined: Stripe perhaps has them",
        ),
        (log.rejected_units, "rejected, not billed"),
    ] {
        if units > 0 {
            writeln!(out, "  besides: {units} units {what}")?;
        }
    }
    match &usage.difference {
        None => writeln!(out, "  both are equal")?,
        Some(difference) => {
            let (units, why) = (difference.units, difference.explanation);
            writeln!(out, "  DIFFERS by {units}: {why}")?;
        }
    }
    writeln!(
        out,
        "  its events: meterline events list {customer_id} --billed-from {start} --billed-to {end}"
    )
}
