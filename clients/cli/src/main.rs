//! Reads the command line, and runs the command.

mod commands;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use commands::{Failure, complain};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use web::UNKNOWN_ACCOUNT_TARGET;

/// The exit status of a command that could not be carried out, as of one whose
/// arguments are wrong.
const COULD_NOT: u8 = 2;
/// That of a program that SIGPIPE ended: whoever read a list, such as `head`, has seen enough.
const NOBODY_READS: u8 = 128 + 13;

/// Meterline's commands for its operator.
///
/// Keys come from the environment only: a command line is visible to every
/// process. The exit status is 0 where all is as it should be, 1 where something
/// is left for the operator, 2 where the command could not be carried out, and 141 where
/// whoever read a list stopped reading.
#[derive(Parser)]
#[command(name = "meterline", version)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

/// Tells on stderr what is no failure and yet the operator's to know: that nobody knows whose the
/// Stripe key is.
fn warn_of_unknown_account() {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    tracing_subscriber::registry()
        .with(lines)
        .with(Targets::new().with_target(UNKNOWN_ACCOUNT_TARGET, LevelFilter::WARN))
        .init();
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    warn_of_unknown_account();
    let command = Arguments::parse().command;
    let only_lists = command.only_lists();
    match command.run().await {
        Ok(exit_code) => exit_code,
        Err(Failure::Output(error)) if only_lists && error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::from(NOBODY_READS)
        }
        Err(failure) => {
            complain("meterline", &failure);
            ExitCode::from(COULD_NOT)
        }
    }
}
