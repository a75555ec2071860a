//! Reads the command line, and runs the command.

mod commands;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// Meterline's commands for its operator.
///
/// Keys come from the environment only: a command line is visible to every
/// process.
#[derive(Parser)]
#[command(name = "meterline", version)]
struct Arguments {
    #[command(subcommand)]
    command: commands::Command,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Arguments::parse().command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, to stderr. There is nowhere to report that it is closed.
fn complain(error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    let _ = writeln!(io::stderr(), "meterline: {text}");
}
