//! `meterline customer`: its arguments, and what it prints.

mod show;

use std::io::{self, Write};
use std::process::ExitCode;

use billing::CustomerId;
use clap::{Args, Subcommand};
use meterline_cli::erasure::{Erasure, Place};
use serde_json::{Value, json};

use super::Failure;
use super::environment::{Surroundings, surroundings};

/// What to do with a customer.
#[derive(Subcommand)]
pub(crate) enum CustomerCommand {
    /// Show status, period, units and cost so far, and the last invoices.
    Show(show::ShowArguments),
    /// List the personal data in Meterline's tables, and with --yes take it out.
    /// Usage, totals, amounts and Stripe's ids stay.
    Erase(EraseArguments),
}

#[derive(Args)]
pub(crate) struct EraseArguments {
    /// Whose data.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// Do it; else it is only listed.
    #[arg(long)]
    yes: bool,
    /// Even if the subscription has not ended in Stripe.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What Meterline cannot erase.
const LEFT: [&str; 5] = [
    "Stripe holds name, e-mail, cards and invoices: redact the customer there (Dashboard, or a redaction job)",
    "logs name the customer by Stripe's id, until their retention is over (parameter LogRetentionDays)",
    "backups of the tables hold the data for up to 35 days (point-in-time recovery)",
    "what notifications told of the customer is with their receivers",
    "event ids and action types are your own words: they stay, and so should hold no names",
];

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: CustomerCommand) -> Result<ExitCode, Failure> {
    let arguments = match command {
        CustomerCommand::Show(arguments) => {
            show::run(&arguments).await?;
            return Ok(ExitCode::SUCCESS);
        }
        CustomerCommand::Erase(arguments) => arguments,
    };
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let erasure = Erasure::find(&ledger, &arguments.customer).await?;
    let (places, keys) = (erasure.places(), erasure.keys.clone());
    if !arguments.force {
        erasure.check_has_ended(&stripe).await?;
    }
    if arguments.yes {
        erasure.erase(&ledger, &clock).await?;
    }
    print(&arguments, &places, &keys)?;
    Ok(ExitCode::SUCCESS)
}

fn print(arguments: &EraseArguments, places: &[Place], keys: &[String]) -> io::Result<()> {
    let mut out = io::stdout();
    if arguments.json {
        let places: Vec<Value> = places.iter().map(place_json).collect();
        let answer = json!({
            "customer_id": arguments.customer,
            "erased": arguments.yes,
            "places": places,
            "keys": keys,
            "left": LEFT,
        });
        return writeln!(out, "{answer}");
    }
    let done = if arguments.yes {
        "erased"
    } else {
        "would erase"
    };
    for place in places {
        let members = match place.members.as_slice() {
            [] => "(marked as erased)".to_owned(),
            members => members.join(", "),
        };
        writeln!(out, "{done}  {}  {}  {members}", place.table, place.key)?;
    }
    if places.is_empty() {
        writeln!(out, "nothing is left to erase of {}", arguments.customer)?;
    } else if !arguments.yes {
        writeln!(out, "nothing was changed: say --yes to erase")?;
    } else {
        let again = "run it again in a minute: a webhook under way may have stored something";
        writeln!(out, "{again}")?;
    }
    writeln!(out, "\nleft to you:")?;
    for key_id in keys {
        writeln!(
            out,
            "- the key {key_id} is for this customer alone: `meterline keys revoke {key_id}`"
        )?;
    }
    for left in LEFT {
        writeln!(out, "- {left}")?;
    }
    Ok(())
}

fn place_json(place: &Place) -> Value {
    json!({ "table": place.table, "key": place.key, "members": place.members })
}
