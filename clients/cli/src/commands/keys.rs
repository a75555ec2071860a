//! `meterline keys`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;

use billing::CustomerId;
use clap::{Args, Subcommand, ValueEnum};
use ledger::{NewApiKey, Scope};
use secrecy::ExposeSecret;
use serde_json::json;
use web::Settings;

use super::Failure;

const DAY_MS: i64 = 24 * 3_600_000;
/// A hundred years.
const DAYS_MAX: i64 = 36_500;

/// What to do with API keys.
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print it: it is shown this once, and kept nowhere.
    Create(CreateArguments),
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// What it may do; may be given again.
    #[arg(long = "scope", value_enum, required = true)]
    scopes: Vec<ScopeArgument>,
    /// A customer that it may act for; may be given again. All, if none.
    #[arg(long = "customer", value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customers: Vec<CustomerId>,
    /// When it ceases to work. Never, if not given.
    #[arg(
        long,
        value_name = "DAYS",
        value_parser = clap::value_parser!(i64).range(1..=DAYS_MAX)
    )]
    expires_in_days: Option<i64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeArgument {
    /// Emit usage.
    Emit,
    /// Read usage, access and invoices.
    Read,
    /// Everything, onboarding included.
    Admin,
}

impl From<ScopeArgument> for Scope {
    fn from(scope: ScopeArgument) -> Self {
        match scope {
            ScopeArgument::Emit => Self::Emit,
            ScopeArgument::Read => Self::Read,
            ScopeArgument::Admin => Self::Admin,
        }
    }
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: KeysCommand) -> Result<ExitCode, Failure> {
    let KeysCommand::Create(arguments) = command;
    let settings = Settings::from_environment().await?;
    let now = settings.clock().now();
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in arguments.scopes.iter().copied().map(Scope::from) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let NewApiKey { key, mut row } = NewApiKey::generate(scopes, now)?;
    row.customers = (!arguments.customers.is_empty()).then_some(arguments.customers);
    let lasts_ms = arguments
        .expires_in_days
        .map(|days| days.saturating_mul(DAY_MS));
    row.expires_at = lasts_ms.map(|lasts_ms| now.plus_ms(lasts_ms));
    // Stored first: a key that is shown works.
    settings.ledger().put_api_key(&row).await?;
    let mut out = io::stdout();
    let key = key.expose_secret();
    if arguments.json {
        let made = json!({
            "key": key,
            "key_id": row.key_id,
            "scopes": row.scopes,
            "customers": row.customers,
            "expires_at": row.expires_at.map(|at| at.to_string()),
        });
        writeln!(out, "{made}")?;
    } else {
        writeln!(out, "{key}")?;
    }
    Ok(ExitCode::SUCCESS)
}
