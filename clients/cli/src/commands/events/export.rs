//! `meterline events export`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use audit::ExportFormat;
use billing::{Clock, CustomerId, Timestamp, UsageStatus};
use clap::Args;
use ledger::Ledger;
use meterline_cli::events::{Export, ExportProgress, ExportSummary};
use serde_json::json;

use super::super::Failure;
use super::super::progress::Progress;
use super::arguments::FilterArguments;
use super::customer;

#[derive(Args)]
pub(crate) struct ExportArguments {
    /// Whose events.
    #[arg(value_name = "CUSTOMER", value_parser = CustomerId::parse)]
    customer: CustomerId,
    /// The file to write. While it is not whole, FILE.resume beside it says how far
    /// it is, and the same command goes on.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// csv or jsonl; else what the file's name ends with.
    #[arg(long, value_name = "FORMAT")]
    format: Option<ExportFormat>,
    /// Begin anew, whatever is there.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    filter: FilterArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Writes the file, and prints what is in it.
pub(super) async fn run(
    arguments: &ExportArguments,
    ledger: &Ledger,
    clock: &Arc<dyn Clock>,
) -> Result<(), Failure> {
    let row = customer(ledger, &arguments.customer).await?;
    let filter = arguments.filter.filter();
    let named = || arguments.out.extension()?.to_str()?.parse().ok();
    let export = Export {
        customer_id: arguments.customer.clone(),
        format: arguments.format.or_else(named).ok_or(Failure::NoFormat)?,
        path: arguments.out.clone(),
        replace: arguments.replace,
        filter,
    };
    let from = export.filter.from.or(export.filter.billed_from);
    let to = export.filter.to.or(export.filter.billed_to);
    let bar = Bar {
        from: from.unwrap_or(row.subscription_started_at),
        to: to
            .unwrap_or_else(|| clock.now())
            .min(clock.now().max(row.period_end)),
    };
    let mut progress = Progress::new();
    let written = export.run(ledger, |done| progress.say(&bar.line(done)));
    let written = written.await;
    progress.clear();
    print(arguments, &written?)?;
    Ok(())
}

/// The time that an export goes through: how many events there are nobody knows
/// before they are read.
struct Bar {
    from: Timestamp,
    to: Timestamp,
}

impl Bar {
    /// Places of it.
    const WIDTH: i64 = 30;

    fn line(&self, done: &ExportProgress) -> String {
        let ExportProgress { events, bytes, at } = done;
        let whole_ms = self.to.ms_since(self.from).max(1);
        let done_ms = at.map_or(whole_ms, |at| at.ms_since(self.from).clamp(0, whole_ms));
        let part = |of: i64| i128::from(done_ms) * i128::from(of) / i128::from(whole_ms);
        let full = usize::try_from(part(Self::WIDTH)).unwrap_or_default();
        let empty = usize::try_from(Self::WIDTH).unwrap_or_default() - full;
        let bar = format!("[{}{}]", "#".repeat(full), ".".repeat(empty));
        let percent = part(100);
        let megabytes = bytes / 1_000_000;
        format!("{bar} {percent:3} %  {events} events, {megabytes} MB")
    }
}

fn print(arguments: &ExportArguments, written: &ExportSummary) -> io::Result<()> {
    let mut out = io::stdout();
    let file = arguments.out.display();
    if arguments.json {
        let units = written
            .units
            .iter()
            .map(|(status, units)| (status.as_str(), *units));
        let units: std::collections::BTreeMap<&str, u64> = units.collect();
        return writeln!(
            out,
            "{}",
            json!({
                "file": file.to_string(), "events": written.events, "bytes": written.bytes,
                "units": units,
            })
        );
    }
    let ExportSummary { events, bytes, .. } = written;
    writeln!(out, "{file}: {events} events, {bytes} bytes")?;
    let of = |(status, units): (&UsageStatus, &u64)| format!("{units} {status}");
    let units: Vec<String> = written.units.iter().map(of).collect();
    if !units.is_empty() {
        writeln!(out, "units: {}", units.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_long_as_the_time_that_is_done() {
        let bar = Bar {
            from: Timestamp::from_unix_s(1_000),
            to: Timestamp::from_unix_s(2_000),
        };
        let line = |at: Option<i64>| {
            bar.line(&ExportProgress {
                events: 7,
                bytes: 2_500_000,
                at: at.map(Timestamp::from_unix_s),
            })
        };
        let half = "[###############...............]  50 %  7 events, 2 MB";
        assert_eq!(line(Some(1_500)), half);
        assert!(line(Some(900)).starts_with("[.............................."));
        assert!(line(Some(9_000)).contains("] 100 %"));
        assert!(line(None).contains("] 100 %"));
    }
}
