//! Starts the local system and says where it is.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use stack::{Options, System};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A condition that does not hold is an answer, not an event to log.
const LOG_FILTER: &str = "warn,dynoxide=error";

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// All of Meterline in one process, with a DynamoDB and a Stripe of its own.
#[derive(Parser)]
#[command(
    version,
    after_help = "\
Environment:
  LOCAL_DIR                  where all state is kept [default: .local]
  METERLINE_PORT             the API's port, 0 for a free one [default: 8080]
  DYNAMODB_PORT              DynamoDB's port [default: 8000]
  STRIPE_PORT                the Stripe simulator's port [default: 12111]
  AWS_ENDPOINT_URL_DYNAMODB  a DynamoDB that runs elsewhere
  STRIPE_API_BASE            a Stripe that runs elsewhere, with STRIPE_SECRET_KEY
  RUST_LOG                   what is logged, to standard error [default: warn]

What was picked is in LOCAL_DIR/env, ready to source."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the whole system, until Ctrl-C.
    Serve,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    let done = match arguments.command {
        Command::Serve => serve().await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<ExitCode, Box<dyn Error>> {
    let system = System::start(Options::from_environment()?).await?;
    let mut signals = Signals::listen()?;
    say_where(&system)?;
    signals.next().await;
    // A second signal means: now.
    tokio::select! {
        stopped = system.stop() => stopped?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    }
    Ok(ExitCode::SUCCESS)
}

fn say_where(system: &System) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Meterline  {}", system.url())?;
    writeln!(out, "DynamoDB   {}", system.dynamodb_url())?;
    writeln!(out, "Stripe     {}", system.stripe_url())?;
    writeln!(out, "Keys       source {}", system.env_file().display())
}

/// Ctrl-C, and what a supervisor sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
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
    let _ = writeln!(io::stderr(), "meterline-local: {text}");
}
