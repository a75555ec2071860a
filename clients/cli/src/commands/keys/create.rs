//! `meterline keys create`.

use std::io::{self, Write};

use billing::{CustomerId, DAY_MS, Timestamp};
use clap::Args;
use ledger::{ApiKeyRow, Ledger, NewApiKey, RequestRate, Scope};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::super::Failure;
use super::arguments::{ScopeArgument, parse_name};

/// A hundred years.
const DAYS_MAX: i64 = 36_500;
/// Every request with the key reads them all.
const CUSTOMERS_MAX: usize = 1_000;

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// What it may do; may be given again.
    #[arg(long = "scope", value_enum, required = true)]
    scopes: Vec<ScopeArgument>,
    /// A customer that it may act for; may be given again. All, if none.
    #[arg(long = "customer", value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customers: Vec<CustomerId>,
    /// What people call it.
    #[arg(long, value_parser = parse_name)]
    name: Option<String>,
    /// How many requests it may make. As many as any key, if not given.
    #[arg(long, value_name = "REQUESTS")]
    requests_per_second: Option<RequestRate>,
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

pub(super) async fn run(
    arguments: CreateArguments,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<(), Failure> {
    if arguments.customers.len() > CUSTOMERS_MAX {
        return Err(Failure::TooManyCustomers(CUSTOMERS_MAX));
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in arguments.scopes.iter().copied().map(Scope::from) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let NewApiKey { key, mut row } = NewApiKey::generate(scopes, now)?;
    row.customers = (!arguments.customers.is_empty()).then_some(arguments.customers);
    row.name = arguments.name;
    row.requests_per_second = arguments.requests_per_second;
    let lasts_ms = arguments
        .expires_in_days
        .map(|days| days.saturating_mul(DAY_MS));
    row.expires_at = lasts_ms.map(|lasts_ms| now.plus_ms(lasts_ms));
    // Stored first: a key that is shown works.
    ledger.put_api_key(&row).await?;
    Ok(print(&key, &row, arguments.json)?)
}

/// Prints a key: the only time that its secret is shown.
pub(super) fn print(key: &SecretString, row: &ApiKeyRow, as_json: bool) -> io::Result<()> {
    let mut out = io::stdout();
    let key = key.expose_secret();
    if !as_json {
        return writeln!(out, "{key}");
    }
    let mut made = json!({
        "key": key,
        "key_id": row.key_id,
        "name": row.name,
        "scopes": row.scopes,
        "customers": row.customers,
        "requests_per_second": row.requests_per_second,
        "expires_at": row.expires_at.map(|at| at.to_string()),
    });
    if let Some(old) = &row.rotated_from {
        made["rotated_from"] = json!(old);
    }
    writeln!(out, "{made}")
}
