//! `meterline void`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use billing::{CustomerId, EventId, Identifier};
use clap::{Args, ValueEnum};
use metering::{Found, Void, VoidError, Voider};
use serde_json::json;

use super::environment::{Surroundings, surroundings};
use super::{Failure, complain};

/// The exit status where the operator has to find something out first.
const LEFT_TO_OPERATOR: u8 = 1;

#[derive(Args)]
pub(crate) struct VoidArguments {
    /// The agent's id of the event.
    #[arg(value_name = "EVENT_ID", value_parser = EventId::parse, requires = "customer")]
    event_id: Option<EventId>,
    /// Whose event it is.
    #[arg(long, value_name = "CUSTOMER", value_parser = CustomerId::parse, requires = "event_id")]
    customer: Option<CustomerId>,
    /// The event's identifier, in place of customer and id.
    #[arg(
        long,
        value_parser = parse_identifier,
        required_unless_present = "event_id",
        conflicts_with = "event_id"
    )]
    identifier: Option<Identifier>,
    /// What reconcile found, for an event that Stripe perhaps counts.
    #[arg(long, value_enum)]
    found: Option<FoundArgument>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FoundArgument {
    /// Stripe counts it: its customer is credited.
    Counted,
    /// Stripe does not count it: there is nothing to take back.
    NotCounted,
}

impl From<FoundArgument> for Found {
    fn from(found: FoundArgument) -> Self {
        match found {
            FoundArgument::Counted => Self::Counted,
            FoundArgument::NotCounted => Self::NotCounted,
        }
    }
}

/// An identifier: 64 hex digits.
pub(crate) fn parse_identifier(text: &str) -> Result<Identifier, String> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(is_hex) {
        return Err("an identifier is 64 hex digits in lower case".to_owned());
    }
    serde_json::from_value(json!(text)).map_err(|error| error.to_string())
}

/// Voids an event, and prints what became of it. The status is 0 where it is
/// voided, whoever did it, and 1 where its fate has to be found out first.
pub(crate) async fn run(arguments: VoidArguments) -> Result<ExitCode, Failure> {
    let identifier = match (arguments.identifier, arguments.customer, arguments.event_id) {
        (Some(identifier), _, _) => identifier,
        (None, Some(customer), Some(event_id)) => Identifier::of(&customer, &event_id),
        _ => return Err(Failure::NoEvent),
    };
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let voider = Voider::new(ledger, stripe, clock);
    let found = arguments.found.map(Found::from);
    match voider.void(&identifier, found).await {
        Ok(outcome) => {
            print(&identifier, &outcome, arguments.json)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ VoidError::FateUnknown) => {
            complain(identifier.as_str(), &error);
            Ok(ExitCode::from(LEFT_TO_OPERATOR))
        }
        Err(error) => Err(error.into()),
    }
}

fn print(identifier: &Identifier, outcome: &Void, as_json: bool) -> io::Result<()> {
    let mut out = io::stdout();
    if !as_json {
        return writeln!(out, "{identifier}  {}", sentence(outcome));
    }
    let word = match outcome {
        Void::Before => "voided_before",
        Void::NeverBilled => "never_billed",
        Void::Cancelled => "cancelled",
        Void::Credited { .. } => "credited",
    };
    let mut line = json!({ "identifier": identifier, "status": "voided", "outcome": word });
    if let Void::Credited {
        minor_units,
        currency,
        transaction_id,
    } = outcome
    {
        line["credit"] = json!({
            "minor_units": minor_units,
            "currency": currency,
            "customer_balance_transaction": transaction_id,
        });
    }
    writeln!(out, "{line}")
}

fn sentence(outcome: &Void) -> String {
    match outcome {
        Void::Before => "was voided before".to_owned(),
        Void::NeverBilled => "voided; Stripe never counted it".to_owned(),
        Void::Cancelled => "voided; cancelled in Stripe".to_owned(),
        Void::Credited {
            minor_units,
            currency,
            transaction_id,
        } => {
            let money = billing::Money::from_minor_units(*minor_units, currency.clone());
            let transaction = transaction_id.as_deref().unwrap_or("nothing to transfer");
            format!(
                "voided; credited {money} {} ({transaction})",
                currency.as_str()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_64_hex_digits() {
        let digits = "ab".repeat(32);
        assert_eq!(parse_identifier(&digits).unwrap().as_str(), digits);
        for text in ["", "job-7", &digits[1..], &digits.to_uppercase()] {
            assert!(parse_identifier(text).is_err(), "{text}");
        }
    }
}
