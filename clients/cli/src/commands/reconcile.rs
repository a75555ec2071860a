//! `meterline reconcile`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use billing::{CustomerId, Timestamp};
use clap::Args;
use ledger::{CustomerCursor, Ledger, UnnamedRefusals};
use meterline_cli::reconcile::{
    CustomerReport, Finding, HeldUsage, MeterReport, NamedEvent, Repair,
};
use meterline_cli::{ReconcileOptions, Reconciler};

use super::environment::{Surroundings, surroundings};
use super::progress::Progress;
use super::{Failure, complain};

/// The exit status where something differs, and where something could not be compared.
const DIFFERS: u8 = 1;
const COULD_NOT: u8 = 2;

#[derive(Args)]
pub(crate) struct ReconcileArguments {
    /// From: RFC 3339, in the customers' own time.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    from: Timestamp,
    /// Up to.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
    to: Timestamp,
    /// Only this customer; may be given again. All customers, if none.
    #[arg(long = "customer", value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customers: Vec<CustomerId>,
    /// Settle what points to one set of events only: note as delivered what
    /// Stripe has, and send again what is quarantined and what Stripe has not.
    /// Without it nothing is changed.
    #[arg(long)]
    repair: bool,
    /// Send again, too, what is called delivered and what Stripe has not.
    #[arg(long, requires = "repair")]
    resend: bool,
    /// Take this report of Stripe's, evt_…, off the list of those that did not
    /// name all that was refused, if all customers agree; may be given again.
    #[arg(long, value_name = "EVENT", conflicts_with = "customers")]
    settle: Vec<String>,
    /// Print JSON, a line for each customer and for each report of Stripe's that
    /// did not name all that was refused.
    #[arg(long)]
    json: bool,
}

/// Reconciles, and prints what came of it. The status is 0 where all agree, 1
/// where something differs still or refused usage has no name, 2 where a customer could not be compared.
pub(crate) async fn run(arguments: ReconcileArguments) -> Result<ExitCode, Failure> {
    let repair = match (arguments.repair, arguments.resend) {
        (false, _) => Repair::Nothing,
        (true, false) => Repair::Open,
        (true, true) => Repair::OpenAndLost,
    };
    let options = ReconcileOptions::new(arguments.from, arguments.to)?;
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let mut run = Run {
        reconciler: Reconciler::new(ledger.clone(), stripe, clock),
        options: options.with_repair(repair),
        json: arguments.json,
        progress: Progress::new(),
        agree: 0,
        differ: 0,
        failed: 0,
        unsettled: 0,
    };
    if arguments.customers.is_empty() {
        let mut cursor = CustomerCursor::default();
        while let Some(customers) = ledger.next_customers(&mut cursor).await? {
            for customer in customers {
                run.customer(&customer.customer_id).await?;
            }
        }
    }
    for customer_id in &arguments.customers {
        run.customer(customer_id).await?;
    }
    run.unnamed_refusals(&ledger, &arguments.settle).await?;
    run.end()
}

struct Run {
    reconciler: Reconciler,
    options: ReconcileOptions,
    json: bool,
    progress: Progress,
    agree: u64,
    differ: u64,
    failed: u64,
    /// Reports of Stripe's that did not name all that was refused.
    unsettled: u64,
}

impl Run {
    async fn customer(&mut self, customer_id: &CustomerId) -> Result<(), Failure> {
        let done = self.agree + self.differ + self.failed;
        self.progress
            .say(&format!("{done} customers compared, now {customer_id}"));
        let report = self.reconciler.customer(customer_id, self.options).await;
        self.progress.clear();
        match report {
            Ok(report) => {
                if report.agrees() {
                    self.agree += 1;
                } else {
                    self.differ += 1;
                }
                self.print(&report)
            }
            Err(error) => {
                self.failed += 1;
                let what = format!("customer {customer_id} is not compared");
                complain(&what, &error);
                Ok(())
            }
        }
    }

    /// Takes the reports `settled` off the list where nothing differs any more,
    /// and prints the others.
    async fn unnamed_refusals(
        &mut self,
        ledger: &Ledger,
        settled: &[String],
    ) -> Result<(), Failure> {
        let all_agree = self.differ == 0 && self.failed == 0;
        self.progress.clear();
        for refusals in ledger.unnamed_refusals().await? {
            if all_agree && settled.contains(&refusals.stripe_event_id) {
                ledger
                    .settle_unnamed_refusals(&refusals.stripe_event_id)
                    .await?;
                continue;
            }
            self.unsettled += 1;
            let mut out = io::stdout();
            if self.json {
                writeln!(out, "{}", serde_json::to_string(&refusals)?)?;
            } else {
                print_refusals(&mut out, &refusals)?;
            }
        }
        Ok(())
    }

    fn print(&self, report: &CustomerReport) -> Result<(), Failure> {
        let mut out = io::stdout();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(report)?)?;
        } else {
            print_report(&mut out, report)?;
        }
        Ok(())
    }

    fn end(mut self) -> Result<ExitCode, Failure> {
        self.progress.clear();
        if !self.json {
            let Self {
                agree,
                differ,
                failed,
                ..
            } = self;
            writeln!(
                io::stdout(),
                "{agree} agree, {differ} differ, {failed} could not be compared"
            )?;
        }
        Ok(match (self.failed, self.differ + self.unsettled) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(DIFFERS),
            (_, _) => ExitCode::from(COULD_NOT),
        })
    }
}

fn print_report(out: &mut impl Write, report: &CustomerReport) -> io::Result<()> {
    let verdict = if report.agrees() { "agrees" } else { "DIFFERS" };
    write!(out, "{}  {verdict}  ", report.customer_id)?;
    match report.meters.len() {
        0 => print_units(out, &Units::of_customer(report))?,
        // What they count does not add up to anything.
        several => writeln!(out, "{several} meters")?,
    }
    for meter in &report.meters {
        write!(out, "  {}  ", name(&meter.meter_event_name))?;
        print_units(out, &Units::of_meter(meter))?;
    }
    for HeldUsage {
        reason,
        events,
        units,
    } in &report.held
    {
        let reason = reason.as_str();
        writeln!(
            out,
            "  held for {reason}, not billed: {events} events, {units} units"
        )?;
    }
    for finding in &report.findings {
        print_finding(out, finding)?;
    }
    Ok(())
}

/// What log and Stripe have of a meter.
struct Units {
    log: i64,
    stripe: i64,
    in_flight: u64,
    unbilled: u64,
    not_compared: u64,
    invoices_compared: usize,
}

impl Units {
    const fn of_customer(report: &CustomerReport) -> Self {
        Self {
            log: report.log_units,
            stripe: report.stripe_units,
            in_flight: report.in_flight_units,
            unbilled: report.unbilled_units,
            not_compared: report.usage_record_units,
            invoices_compared: report.invoices_compared,
        }
    }

    const fn of_meter(report: &MeterReport) -> Self {
        Self {
            log: report.log_units,
            stripe: report.stripe_units,
            in_flight: report.in_flight_units,
            unbilled: report.unbilled_units,
            not_compared: report.usage_record_units,
            invoices_compared: report.invoices_compared,
        }
    }
}

fn print_units(out: &mut impl Write, units: &Units) -> io::Result<()> {
    write!(out, "log {}, Stripe {}", units.log, units.stripe)?;
    for (units, what) in [
        (units.in_flight, "in flight"),
        (units.unbilled, "rejected or voided"),
        (units.not_compared, "usage records, not compared"),
    ] {
        if units > 0 {
            write!(out, ", {units} {what}")?;
        }
    }
    if units.invoices_compared > 0 {
        write!(out, "; {} invoiced periods", units.invoices_compared)?;
    }
    writeln!(out)
}

/// The event name of a meter. Usage records of before the catalog have none.
const fn name(meter_event_name: &str) -> &str {
    if meter_event_name.is_empty() {
        "(no name)"
    } else {
        meter_event_name
    }
}

fn print_refusals(out: &mut impl Write, refusals: &UnnamedRefusals) -> io::Result<()> {
    let UnnamedRefusals {
        stripe_event_id,
        validation_start,
        validation_end,
        refused_events,
        named_events,
        codes,
        ..
    } = refusals;
    writeln!(
        out,
        "{stripe_event_id}  between {validation_start} and {validation_end} Stripe refused \
         {refused_events} events that it had taken ({}), and named {named_events}: send again \
         what it does not have, then say --settle {stripe_event_id}",
        codes.join(", ")
    )
}

/// Prints a finding, and the events that it points to.
pub(super) fn print_finding(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    write!(out, "  ")?;
    if let Some(meter) = &finding.meter_event_name {
        write!(out, "{}  ", name(meter))?;
    }
    if let Some(from) = &finding.from {
        write!(out, "{from}  ")?;
    }
    if let (Some(log_units), Some(other_units)) = (finding.log_units, finding.other_units) {
        write!(out, "{log_units} by the log, {other_units} found: ")?;
    }
    let repaired = if finding.is_repaired {
        " [repaired]"
    } else {
        ""
    };
    writeln!(out, "{}{repaired}", finding.kind.sentence())?;
    for NamedEvent {
        event_id,
        identifier,
        quantity,
        status,
    } in &finding.events
    {
        writeln!(out, "    {event_id:?}  {quantity} {status}  {identifier}")?;
    }
    if finding.more_events > 0 {
        writeln!(out, "    and {} more", finding.more_events)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use billing::HeldReason;
    use meterline_cli::reconcile::FindingKind;

    use super::*;

    fn printed(report: &CustomerReport) -> String {
        let mut out = Vec::new();
        print_report(&mut out, report).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn totals_differ(meter: Option<&str>) -> Finding {
        Finding {
            kind: FindingKind::TotalsDiffer,
            meter_event_name: meter.map(str::to_owned),
            from: Some("2026-10-14T09:00:00Z".to_owned()),
            log_units: Some(12),
            other_units: Some(17),
            events: Vec::new(),
            more_events: 0,
            is_repaired: false,
        }
    }

    fn report(meters: Vec<MeterReport>, findings: Vec<Finding>) -> CustomerReport {
        CustomerReport {
            customer_id: CustomerId::parse("cus_A").unwrap(),
            now: "2026-11-25T00:00:00Z".to_owned(),
            log_units: 12,
            stripe_units: 12,
            usage_record_units: 0,
            in_flight_units: 5,
            unbilled_units: 0,
            invoices_compared: 1,
            held: Vec::new(),
            meters,
            findings,
        }
    }

    fn meter(name: &str, units: i64) -> MeterReport {
        MeterReport {
            meter_event_name: name.to_owned(),
            log_units: units,
            stripe_units: units,
            usage_record_units: 0,
            in_flight_units: 0,
            unbilled_units: 3,
            invoices_compared: 1,
        }
    }

    #[test]
    fn of_the_only_meter_no_name_is_printed() {
        assert_eq!(
            printed(&report(Vec::new(), vec![totals_differ(None)])),
            "cus_A  DIFFERS  log 12, Stripe 12, 5 in flight; 1 invoiced periods\n  \
             2026-10-14T09:00:00Z  12 by the log, 17 found: \
             the totals are not the log's: run `meterline rebuild`\n"
        );
    }

    #[test]
    fn what_is_held_is_printed_and_no_difference() {
        let held = HeldUsage {
            reason: HeldReason::NoSubscriptionItem,
            events: 3,
            units: 40,
        };
        let report = CustomerReport {
            held: vec![held],
            ..report(Vec::new(), Vec::new())
        };
        assert_eq!(
            printed(&report),
            "cus_A  agrees  log 12, Stripe 12, 5 in flight; 1 invoiced periods\n  \
             held for no_subscription_item, not billed: 3 events, 40 units\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["held"][0],
            serde_json::json!({ "reason": "no_subscription_item", "events": 3, "units": 40 })
        );
    }

    #[test]
    fn of_several_meters_each_has_a_line_and_its_findings_name_it() {
        let meters = vec![meter("", 4), meter("llm_tokens", 8)];
        let findings = vec![totals_differ(Some("llm_tokens"))];
        assert_eq!(
            printed(&report(meters, findings)),
            "cus_A  DIFFERS  2 meters\n  \
             (no name)  log 4, Stripe 4, 3 rejected or voided; 1 invoiced periods\n  \
             llm_tokens  log 8, Stripe 8, 3 rejected or voided; 1 invoiced periods\n  \
             llm_tokens  2026-10-14T09:00:00Z  12 by the log, 17 found: \
             the totals are not the log's: run `meterline rebuild`\n"
        );
    }
}
