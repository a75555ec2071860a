//! `meterline events tail`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use audit::AuditEvent;
use billing::{Clock, CustomerId};
use clap::Args;
use ledger::{Ledger, UsageEventRow};
use meterline_cli::events::Follower;

use super::super::{Failure, complain};
use super::arguments::KindArguments;
use super::{cells, customer};

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct TailArguments {
    /// Whose events.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// How many of those that are there already come first.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    last: u32,
    #[command(flatten)]
    kind: KindArguments,
    /// Print JSON, a line for each event.
    #[arg(long)]
    json: bool,
}

/// Prints each event once, as it stands when it is met, until Ctrl-C or until
/// nobody reads any more. A look that fails is told of, and made again.
pub(super) async fn run(
    arguments: &TailArguments,
    ledger: &Ledger,
    clock: &Arc<dyn Clock>,
) -> Result<(), Failure> {
    let row = customer(ledger, &arguments.customer).await?;
    let has_test_clock = row.test_clock.is_some();
    let (id, filter) = (arguments.customer.clone(), arguments.kind.filter());
    let mut follower = Follower::new(ledger.clone(), id, filter, has_test_clock);
    let last = usize::try_from(arguments.last).unwrap_or(usize::MAX);
    let there = follower.begin(last, clock.now()).await?;
    if is_over(print(there, arguments.json))? {
        return Ok(());
    }
    loop {
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match follower.next(clock.now()).await {
            Ok(rows) => {
                if is_over(print(rows, arguments.json))? {
                    return Ok(());
                }
            }
            Err(error) => complain("the log cannot be read; once more", &error),
        }
    }
}

fn print(rows: Vec<UsageEventRow>, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for event in rows.into_iter().map(AuditEvent::from) {
        if json {
            writeln!(out, "{}", serde_json::to_string(&event)?)?;
        } else {
            let [occurred, status, units, action_type, _, reason, event_id] = cells(&event);
            let line = format!("{occurred:24}  {status:11}  {units:>6}  {action_type}  {event_id}");
            let reason = if reason == "–" {
                String::new()
            } else {
                format!("  {reason}")
            };
            writeln!(out, "{line}{reason}")?;
        }
    }
    out.flush()
}

/// Whether whoever read it reads no more: that ends it, and is no failure.
fn is_over(printed: io::Result<()>) -> io::Result<bool> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        printed => printed.map(|()| false),
    }
}
