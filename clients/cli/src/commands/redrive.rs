//! `meterline redrive`: its arguments, and what it prints.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use billing::{CustomerId, EventId, HeldReason, Identifier, Timestamp, UsageStatus};
use clap::{Args, ValueEnum};
use ledger::{Ledger, READ_EVENTS_MAX, UsageEventFilter, UsageEventRow};
use metering::{CustomerDirectory, Delivered, Deliverer, Prospect, Redriven, Redriver};
use serde_json::json;

use super::Failure;
use super::environment::{Surroundings, surroundings};
use super::progress::Progress;

/// The exit status where an event is not delivered.
const NOT_ALL_DELIVERED: u8 = 1;

#[derive(Args)]
pub(crate) struct RedriveArguments {
    /// Which events.
    #[arg(long, value_enum)]
    status: StatusArgument,
    /// Only this customer's.
    #[arg(long, value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: Option<CustomerId>,
    /// Only this one of the customer's.
    #[arg(long, value_name = "EVENT_ID", value_parser = EventId::parse, requires = "customer")]
    event: Option<EventId>,
    /// Send them. Without it they are only listed.
    #[arg(long)]
    yes: bool,
    /// Quarantined and rejected events: reconcile has been run and has not found
    /// them in Stripe. One that Stripe has after all would be billed twice.
    #[arg(long)]
    not_in_stripe: bool,
    /// Quarantined and rejected events: Stripe's own list of meter events has them. They are
    /// noted as delivered and not sent; one that Stripe has not is never billed.
    #[arg(long, conflicts_with = "not_in_stripe")]
    in_stripe: bool,
    /// With --in-stripe and --event: the time under which Stripe's list has the event,
    /// RFC 3339 or unix seconds. So an event that was carried over is billed in the
    /// period that Stripe bills it in. Only a time that Stripe was told is taken.
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse, requires_all = ["in_stripe", "event"])]
    at: Option<Timestamp>,
    /// Print JSON, a line for each event.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusArgument {
    Quarantined,
    Held,
    Rejected,
    /// Only with --in-stripe and --at.
    Delivered,
}

impl From<StatusArgument> for UsageStatus {
    fn from(status: StatusArgument) -> Self {
        match status {
            StatusArgument::Quarantined => Self::Quarantined,
            StatusArgument::Held => Self::Held,
            StatusArgument::Rejected => Self::Rejected,
            StatusArgument::Delivered => Self::Delivered,
        }
    }
}

/// Lists, or redrives, and prints an outcome for each event. The status is 0
/// where every one is delivered, or was to be listed only.
pub(crate) async fn run(arguments: RedriveArguments) -> Result<ExitCode, Failure> {
    // With the stream, a refusal that came later than the 200 may name an event
    // of which an earlier sending counts.
    let may_double = arguments.status != StatusArgument::Held;
    let is_known = arguments.not_in_stripe || arguments.in_stripe;
    if arguments.yes && may_double && !is_known {
        return Err(Failure::PerhapsInStripe);
    }
    match arguments.status {
        StatusArgument::Held if arguments.in_stripe => return Err(Failure::NeverInStripe),
        StatusArgument::Delivered if arguments.at.is_none() => return Err(Failure::NoTime),
        _ => {}
    }
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let redriver = Redriver::new(
        ledger.clone(),
        CustomerDirectory::new(ledger.clone(), stripe.clone(), Arc::clone(&clock)),
        Deliverer::new(ledger.clone(), stripe, Arc::clone(&clock)),
        clock,
    );
    let filter = UsageEventFilter {
        status: Some(arguments.status.into()),
        customer_id: arguments.customer.clone(),
    };
    let mut run = Run {
        ledger,
        redriver,
        arguments,
        listed: 0,
        delivered: 0,
    };
    run.all(&filter).await?;
    run.end()
}

struct Run {
    ledger: Ledger,
    redriver: Redriver,
    arguments: RedriveArguments,
    listed: u64,
    delivered: u64,
}

impl Run {
    async fn all(&mut self, filter: &UsageEventFilter) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let mut scanned: u64 = 0;
        let mut cursor = None;
        loop {
            let mut page = self.ledger.scan_usage_events(filter, cursor).await?;
            scanned = scanned.saturating_add(page.scanned);
            progress.say(&format!(
                "{scanned} events looked at, {} found",
                self.listed
            ));
            if let Some(event_id) = &self.arguments.event {
                page.rows.retain(|row| row.event_id == *event_id);
            }
            if !page.rows.is_empty() {
                progress.clear();
                self.page(&page.rows).await?;
            }
            cursor = page.next;
            if cursor.is_none() {
                progress.clear();
                return Ok(());
            }
        }
    }

    async fn page(&mut self, rows: &[UsageEventRow]) -> Result<(), Failure> {
        self.listed = self.listed.saturating_add(rows.len() as u64);
        if !self.arguments.yes {
            return self.list(rows).await;
        }
        let redriven = if let Some(at) = self.arguments.at {
            let mut noted = Vec::with_capacity(rows.len());
            for row in rows {
                noted.push(self.redriver.note_in_stripe_at(row, at).await);
            }
            noted
        } else if self.arguments.in_stripe {
            self.redriver.note_in_stripe(rows).await
        } else {
            self.redriver.redrive(rows).await
        };
        let meters = self.meters_of(rows).await;
        for (row, redriven) in rows.iter().zip(redriven) {
            let is_delivered = matches!(
                redriven,
                Redriven::Sent(Delivered::Delivered) | Redriven::Noted
            );
            self.delivered = self.delivered.saturating_add(u64::from(is_delivered));
            let meter = meters.get(&row.identifier).unwrap_or(&row.meter_event_name);
            let outcome = describe(&redriven, row);
            self.print(row, meter, &outcome, is_delivered)?;
        }
        Ok(())
    }

    async fn list(&self, rows: &[UsageEventRow]) -> Result<(), Failure> {
        for row in rows {
            let prospect = match self.arguments.at {
                Some(at) => self.redriver.prospect_in_stripe_at(row, at).await?,
                None if self.arguments.in_stripe => Redriver::prospect_in_stripe(row),
                None => self.redriver.prospect(row).await?,
            };
            let meter = match &prospect {
                Prospect::Send(billing) => &billing.meter_event_name,
                _ => &row.meter_event_name,
            };
            let outcome = describe_prospect(&prospect, row);
            self.print(row, meter, &outcome, false)?;
        }
        Ok(())
    }

    /// The meters that count `rows` now: a redrive may have chosen others. Where
    /// the table does not tell, what was read before is printed.
    async fn meters_of(&self, rows: &[UsageEventRow]) -> HashMap<Identifier, String> {
        let mut meters = HashMap::with_capacity(rows.len());
        for rows in rows.chunks(READ_EVENTS_MAX) {
            let identifiers: Vec<Identifier> =
                rows.iter().map(|row| row.identifier.clone()).collect();
            let now = self.ledger.usage_events(&identifiers).await;
            let now = now.unwrap_or_default().into_iter();
            meters.extend(now.map(|row| (row.identifier, row.meter_event_name)));
        }
        meters
    }

    fn print(
        &self,
        row: &UsageEventRow,
        meter: &str,
        outcome: &str,
        is_delivered: bool,
    ) -> io::Result<()> {
        let mut out = io::stdout();
        if self.arguments.json {
            let line = json!({
                "customer_id": row.customer_id,
                "event_id": row.event_id,
                "identifier": row.identifier,
                "action_type": row.action_type,
                "meter_event_name": meter,
                "quantity": row.quantity,
                "delivered": is_delivered,
                "outcome": outcome,
            });
            return writeln!(out, "{line}");
        }
        let (customer_id, event_id) = (&row.customer_id, row.event_id.as_str());
        write!(out, "{customer_id}  {event_id:?}  {}", row.quantity)?;
        if !meter.is_empty() {
            write!(out, " {meter}")?;
        }
        writeln!(out, "  {outcome}")
    }

    fn end(self) -> Result<ExitCode, Failure> {
        let Self {
            arguments,
            listed,
            delivered,
            ..
        } = self;
        if !arguments.yes {
            let does = if arguments.in_stripe {
                "notes them as delivered"
            } else {
                "sends them"
            };
            writeln!(io::stderr(), "{listed} found; --yes {does}")?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(io::stderr(), "{delivered} of {listed} delivered")?;
        Ok(if delivered == listed {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_ALL_DELIVERED)
        })
    }
}

fn describe(redriven: &Redriven, row: &UsageEventRow) -> String {
    match redriven {
        Redriven::Sent(Delivered::Delivered) => "delivered".to_owned(),
        Redriven::Sent(Delivered::Rejected { stripe_code }) => format!("rejected: {stripe_code}"),
        Redriven::Sent(Delivered::Pending) => "pending: redelivery goes on with it".to_owned(),
        Redriven::Sent(Delivered::Quarantined) => "quarantined".to_owned(),
        Redriven::Sent(Delivered::Settled(status)) => format!("settled by another: {status}"),
        Redriven::Noted => "noted as delivered".to_owned(),
        Redriven::Left(prospect) => describe_prospect(prospect, row),
        Redriven::Changed => "changed meanwhile: run it again".to_owned(),
        Redriven::Failed(error) => format!("failed: {error}"),
    }
}

fn describe_prospect(prospect: &Prospect, row: &UsageEventRow) -> String {
    match prospect {
        Prospect::Send(time) if time.carried_over => {
            format!("to be carried over, billed at {}", time.billed_at)
        }
        Prospect::Send(time) => format!("to be billed at {}", time.billed_at),
        Prospect::Held(reason @ HeldReason::NoSubscriptionItem) => format!(
            "{}: {}: its customer has no item of the meter that counts {}; \
             run `meterline catalog subscribe --customer {}`, then this again",
            row.status,
            reason.as_str(),
            row.action_type.as_str(),
            row.customer_id
        ),
        Prospect::Held(reason) => format!("held: {}", reason.as_str()),
        Prospect::Note if row.status == UsageStatus::Delivered => {
            "is noted as delivered at this time already".to_owned()
        }
        Prospect::Note => "to be noted as delivered".to_owned(),
        Prospect::NoteAt { billed_at, .. } => {
            format!("to be noted as delivered, billed at {billed_at}")
        }
        Prospect::UnknownCustomer => "its customer is unknown".to_owned(),
        Prospect::NotGivenUp(status) => format!("is {status}"),
        Prospect::CarriedOver => "was carried over: perhaps Stripe has it in the period before; \
             say with --at under which time it has it"
            .to_owned(),
        Prospect::NotAtThisTime => format!(
            "Stripe was never told this time, or no invoice bills it; it was told {}",
            told(row)
        ),
    }
}

/// The times that Stripe may have `row` at, the one that it is billed at first.
fn told(row: &UsageEventRow) -> String {
    let told = row.billed_at.iter().chain(&row.told_at);
    let told: Vec<String> = told.map(ToString::to_string).collect();
    if told.is_empty() {
        "none".to_owned()
    } else {
        told.join(" or ")
    }
}
