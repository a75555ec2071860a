//! `meterline rebuild`: its arguments, and what it prints.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use meterline_cli::Rebuilder;
use meterline_cli::rebuild::{Difference, RebuildReport};
use serde_json::json;
use web::{Settings, SettingsError};

use super::Failure;
use super::progress::Progress;

/// The exit status where something differs still.
const DIFFERS: u8 = 1;

#[derive(Args)]
pub(crate) struct RebuildArguments {
    /// Compare only, and change nothing.
    #[arg(long)]
    check: bool,
    /// How long to wait for the system to come to rest.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait_s: u64,
    /// How long a change may take to appear in the audit log's stream.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    stream_delay_s: u64,
    /// Print JSON, a line for each difference.
    #[arg(long)]
    json: bool,
}

/// Compares, or rebuilds, and prints what differed. The status is 1 where
/// something differs still.
pub(crate) async fn run(arguments: RebuildArguments) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let rebuilder = Rebuilder::new(settings.ledger(), streams_client().await?)
        .with_patience(Duration::from_secs(arguments.wait_s))
        .with_stream_delay(Duration::from_secs(arguments.stream_delay_s));
    let mut progress = Progress::new();
    let say = |events| progress.say(&format!("{events} events read"));
    let report = if arguments.check {
        rebuilder.check(say).await
    } else {
        rebuilder.rebuild(say).await
    };
    progress.clear();
    let report = report?;
    print(&report, &arguments)?;
    let is_left = |difference: &&Difference| {
        let is_unreadable = matches!(
            difference,
            Difference::Unreadable(_) | Difference::UnreadableEntry(_)
        );
        arguments.check || is_unreadable
    };
    Ok(if report.differences.iter().any(|it| is_left(&it)) {
        ExitCode::from(DIFFERS)
    } else {
        ExitCode::SUCCESS
    })
}

/// Emulators serve the streams at the tables' address.
pub(super) async fn streams_client() -> Result<aws_sdk_dynamodbstreams::Client, SettingsError> {
    let aws = ledger::connect().await?;
    let mut config = aws_sdk_dynamodbstreams::config::Builder::from(&aws);
    let set = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    if set("AWS_ENDPOINT_URL_DYNAMODB_STREAMS").is_none()
        && let Some(url) = set("AWS_ENDPOINT_URL_DYNAMODB")
    {
        config = config.endpoint_url(url);
    }
    Ok(aws_sdk_dynamodbstreams::Client::from_conf(config.build()))
}

fn print(report: &RebuildReport, arguments: &RebuildArguments) -> io::Result<()> {
    let mut out = io::stdout();
    for difference in &report.differences {
        if arguments.json {
            writeln!(out, "{}", json!({ "difference": difference.to_string() }))?;
        } else {
            writeln!(out, "{difference}")?;
        }
    }
    let done = if arguments.check {
        "differences"
    } else {
        "differences, set right"
    };
    writeln!(
        io::stderr(),
        "{} events, {} {done}",
        report.events,
        report.differences.len()
    )
}
