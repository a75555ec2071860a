//! `meterline events`: its arguments, and what it prints.

mod arguments;
mod export;
mod list;
mod tail;

use std::io::{self, Write};
use std::process::ExitCode;

use audit::AuditEvent;
use clap::Subcommand;
use ledger::{Ledger, UsageEventRow};
use web::Settings;

use super::Failure;
use super::table::table;

/// What to do with a customer's audit log.
#[derive(Subcommand)]
pub(crate) enum EventsCommand {
    /// List a customer's events, the last to happen first.
    List(list::ListArguments),
    /// Follow a customer's events, until Ctrl-C.
    Tail(tail::TailArguments),
    /// Write a customer's events to a file; one that was cut short goes on.
    Export(export::ExportArguments),
}

const HEADINGS: [&str; 7] = [
    "OCCURRED", "STATUS", "UNITS", "ACTION", "BILLED", "REASON", "EVENT",
];

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: EventsCommand) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let ledger = settings.ledger();
    match command {
        EventsCommand::List(arguments) => list::run(&arguments, &ledger).await?,
        EventsCommand::Tail(arguments) => {
            tail::run(&arguments, &ledger, &settings.clock()).await?;
        }
        EventsCommand::Export(arguments) => {
            export::run(&arguments, &ledger, &settings.clock()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line of the table. Of an id that could do something to a terminal only a
/// description is shown.
fn cells(event: &AuditEvent) -> [String; 7] {
    let billed = match &event.billed_at {
        Some(at) if event.carried_over => format!("{at} (carried over)"),
        Some(at) => at.clone(),
        None => "–".to_owned(),
    };
    [
        event.occurred_at.clone(),
        event.status.to_string(),
        event.quantity.to_string(),
        event.action_type.clone(),
        billed,
        event.reason().unwrap_or("–").to_owned(),
        format!("{:?}", event.event_id),
    ]
}

/// Prints `rows`: a line of JSON for each, or a table.
fn print(rows: Vec<UsageEventRow>, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let events = rows.into_iter().map(AuditEvent::from);
    if json {
        for event in events {
            writeln!(out, "{}", serde_json::to_string(&event)?)?;
        }
    } else {
        let lines: Vec<[String; 7]> = events.map(|event| cells(&event)).collect();
        out.write_all(table(&HEADINGS, &lines).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

/// Refuses a customer that is none: nothing would be found, and nothing said.
async fn customer(
    ledger: &Ledger,
    customer_id: &billing::CustomerId,
) -> Result<ledger::CustomerRow, Failure> {
    let found = ledger.customer(customer_id).await?;
    found.ok_or_else(|| Failure::NoSuchCustomer(customer_id.clone()))
}
