//! `meterline limit`: its arguments, and what it prints.

use std::io::{self, Write};

use billing::{CustomerId, Enforcement, LimitTerms, Timestamp};
use clap::{ArgGroup, Args, Subcommand};
use ledger::{CustomerRow, Ledger};
use limits::{LimitError, LimitView, Spending, Standing, set_limit};
use metering::{CustomerDirectory, KnownCustomer};
use serde_json::json;

use super::Failure;
use super::environment::{Surroundings, surroundings};

/// What to do with a customer's limit.
#[derive(Subcommand)]
pub(crate) enum LimitCommand {
    /// Show a customer's limit, and what is left of it.
    Show(LimitArguments),
    /// Set it, in place of the one before. It holds for the current period, too.
    Set(SetArguments),
    /// Take it away.
    Remove(LimitArguments),
}

#[derive(Args)]
pub(crate) struct LimitArguments {
    /// Whose limit.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(group = ArgGroup::new("cap").required(true))]
#[command(group = ArgGroup::new("enforcement").required(true))]
pub(crate) struct SetArguments {
    #[command(flatten)]
    of: LimitArguments,
    /// The most units of a period, of every meter together.
    #[arg(long, group = "cap")]
    units: Option<u64>,
    /// The most that a period may cost, in the customer's currency: 50.00.
    #[arg(long, group = "cap")]
    amount: Option<String>,
    /// Stop the customer there: `access` says no, and nothing more is reserved.
    #[arg(long, group = "enforcement")]
    hard: bool,
    /// Stop nobody: only tell.
    #[arg(long, group = "enforcement")]
    soft: bool,
    /// Tell when so many percent are used; comma-separated. Default: 50,80,100.
    #[arg(long = "at", value_name = "PERCENT", value_delimiter = ',')]
    thresholds_percent: Option<Vec<u16>>,
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: LimitCommand) -> Result<(), Failure> {
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let of = match command {
        LimitCommand::Show(of) => of,
        LimitCommand::Set(arguments) => {
            let terms = LimitTerms {
                units: arguments.units,
                amount: arguments.amount,
                currency: None,
                enforcement: match arguments.hard {
                    true => Enforcement::Hard,
                    false => Enforcement::Soft,
                },
                thresholds_percent: arguments.thresholds_percent,
            };
            set_limit(&ledger, &arguments.of.customer, Some(&terms), clock.now()).await?;
            arguments.of
        }
        LimitCommand::Remove(of) => {
            set_limit(&ledger, &of.customer, None, clock.now()).await?;
            of
        }
    };
    let directory = CustomerDirectory::new(ledger.clone(), stripe, clock);
    let customer = directory.current_customer(&of.customer).await?;
    let customer = customer.ok_or_else(|| LimitError::NoCustomer(of.customer.clone()))?;
    let period_start = customer.current_period().start;
    let limit = view_of(&ledger, &customer.row, period_start).await?;
    print(&of, &customer, limit)?;
    Ok(())
}

/// The limit of `row` and how much of it is used in the period that begins at
/// `period_start`; none where there is none.
pub(super) async fn view_of(
    ledger: &Ledger,
    row: &CustomerRow,
    period_start: Timestamp,
) -> Result<Option<LimitView>, Failure> {
    if row.spending_limit.is_none() {
        return Ok(None);
    }
    let usage = ledger.usage_of_period(&row.customer_id, period_start);
    let usage = usage.await?;
    let standing = Standing::of(&Spending::of(row, period_start, &usage))?;
    Ok(standing.map(|it| LimitView::of(&it, usage.watch.as_ref())))
}

fn print(
    of: &LimitArguments,
    customer: &KnownCustomer,
    limit: Option<LimitView>,
) -> io::Result<()> {
    let mut out = io::stdout();
    let period = customer.current_period();
    if of.json {
        let answer = json!({
            "customer_id": of.customer,
            "period_start": period.start.to_string(),
            "period_end": period.end.to_string(),
            "spending_limit": limit,
        });
        return writeln!(out, "{answer}");
    }
    let Some(limit) = limit else {
        return writeln!(out, "{}  no limit", of.customer);
    };
    writeln!(out, "customer  {}", of.customer)?;
    writeln!(out, "period    {} to {}", period.start, period.end)?;
    write_limit(&mut out, &limit)
}

/// Writes a limit, and how much of it is used, line by line.
pub(super) fn write_limit(out: &mut impl Write, limit: &LimitView) -> io::Result<()> {
    let currency = &limit.currency;
    let most = match (&limit.units, &limit.amount) {
        (Some(units), _) => format!("{units} units"),
        (None, Some(amount)) => format!("{amount} {currency}"),
        (None, None) => "nothing".to_owned(),
    };
    let told: Vec<String> = limit
        .thresholds_percent
        .iter()
        .map(|percent| format!("{percent} %"))
        .collect();
    let told = match told.as_slice() {
        [] => "never".to_owned(),
        _ => format!("at {}", told.join(", ")),
    };
    let used_percent = limit
        .used_percent
        .map_or_else(|| "? %".to_owned(), |percent| format!("{percent} %"));
    let left = match (&limit.left_units, &limit.left_amount) {
        (Some(units), _) => format!("{units} units"),
        (None, Some(amount)) => format!("{amount} {currency}"),
        (None, None) => format!("unknown: the customer does not pay in {currency} any more"),
    };
    writeln!(out, "limit     {most} a period, {}", limit.enforcement)?;
    writeln!(out, "told      {told}")?;
    writeln!(
        out,
        "used      {} units, {} {}: {used_percent}",
        limit.used_units, limit.used_amount, limit.used_currency
    )?;
    writeln!(out, "held      {} units", limit.held_units)?;
    writeln!(out, "left      {left}")?;
    for alert in &limit.alerts {
        let (percent, at) = (alert.threshold_percent, &alert.raised_at);
        writeln!(out, "alert     {percent} % since {at}")?;
    }
    Ok(())
}
