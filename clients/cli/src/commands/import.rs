//! `meterline import`: its arguments, and what it prints.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use meterline_cli::import::{Format, ImportReport, Importer, Issue, Origin, Source, SourceName};

use super::environment::{Surroundings, surroundings};
use super::progress::Progress;
use super::{Failure, complain};

/// The exit status where rows need the operator, and where the import stopped.
const ISSUES: u8 = 1;
const COULD_NOT: u8 = 2;

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// A name for where the rows come from: part of every event id, so it must
    /// be the same when the file is imported again.
    #[arg(long, value_name = "NAME", required_unless_present = "as_emitted")]
    source: Option<SourceName>,
    /// The rows are events that agents emitted here and were told are delivered, which
    /// the audit log has lost: note them under their own ids, and send nothing.
    #[arg(long, conflicts_with = "source")]
    as_emitted: bool,
    /// The file.
    file: PathBuf,
    /// How it is written; by the file's name if not given.
    #[arg(long)]
    format: Option<FormatArgument>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArgument {
    Jsonl,
    Csv,
    Sqlite,
}

impl From<FormatArgument> for Format {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Jsonl => Self::Jsonl,
            FormatArgument::Csv => Self::Csv,
            FormatArgument::Sqlite => Self::Sqlite,
        }
    }
}

/// Imports, and prints what came of it. The status is 0 where every row is, or
/// will be, accounted for; 1 where rows need the operator; 2 where it stopped.
pub(crate) async fn run(arguments: ImportArguments) -> Result<ExitCode, Failure> {
    let format = arguments.format.map(Format::from);
    let format = format.or_else(|| Format::of(&arguments.file));
    let mut file = Source::open(&arguments.file, format.ok_or(Failure::NoFormat)?)?;
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings().await?;
    let origin = match arguments.source {
        Some(source) if !arguments.as_emitted => Origin::Elsewhere(source),
        _ => Origin::Emitted,
    };
    let mut importer = Importer::new(ledger, stripe, clock, origin, arguments.dry_run);
    let mut report = ImportReport::default();
    let mut progress = Progress::new();
    let imported = importer.import(&mut file, &mut report, |report| {
        progress.say(&format!("{} rows", report.rows));
    });
    let imported = imported.await;
    progress.clear();
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    } else {
        print_report(&report, arguments.dry_run)?;
    }
    if let Err(error) = imported {
        complain(
            "meterline: the import stopped; run again, it goes on",
            &error,
        );
        return Ok(ExitCode::from(COULD_NOT));
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(ISSUES)
    })
}

fn print_report(report: &ImportReport, is_dry_run: bool) -> io::Result<()> {
    let mut out = io::stdout();
    let mode = if is_dry_run { " (dry run)" } else { "" };
    writeln!(out, "{} rows{mode}", report.rows)?;
    for (outcome, count) in &report.outcomes {
        let words = outcome.words();
        writeln!(
            out,
            "{:>9} rows, {} units: {words}",
            count.rows, count.units
        )?;
    }
    for Issue {
        row,
        outcome: _,
        reason,
    } in &report.issues
    {
        writeln!(out, "row {row}: {reason}")?;
    }
    if report.more_issues > 0 {
        writeln!(out, "and {} rows more", report.more_issues)?;
    }
    Ok(())
}
