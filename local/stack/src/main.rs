//! Starts the local system and says where it is.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meterline_cli::complaint::complain;
use stack::scenario::{self, Outcome};
use stack::story::{self, Narrator};
use stack::{Options, System, breakage};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A condition that does not hold is an answer of DynamoDB, not an event to log.
const SERVE_LOG_FILTER: &str = "warn,dynoxide=error,stack::notifications=info";
/// The story forges webhooks and lets payments fail, and tells of it itself.
const RUN_LOG_FILTER: &str = "error";

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
  STRIPE_METER_EVENTS_BASE   its meter event stream [default: STRIPE_API_BASE]
  STRIPE_WEBHOOK_SECRET      what it signs with; unset, an endpoint is made there
  STRIPE_EVENTS              poll: fetch its events, since it cannot reach this machine
                             [default: webhook]
  USAGE_API                  how usage goes to Stripe: meter_event_stream, meter_event
                             or usage_record [default: meter_event_stream]
  DUNNING_GRACE_DAYS         days until who does not pay is suspended [default: 14]
  DUNNING_FAILED_ATTEMPTS    failed attempts that suspend before [default: 4]
  NOTIFICATION_CHANNELS      email, webhook, or both with a comma: how notifications go
                             out besides [default: none]; see docs/notifications.md
  RUST_LOG                   what is logged to standard error
                             [default: warn; of a run, error]

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
    /// Start the whole system and play the main job on it, from a card to a paid invoice.
    Run {
        /// Leave after the story; the status says whether every figure came out.
        #[arg(long)]
        exit: bool,
    },
    /// Play the nightly-batch disaster against a nightly batch and against Meterline,
    /// in a folder of its own, and print both bills.
    Breakage,
    /// Play the main job against Stripe itself, in test mode, and end there what it
    /// made. Needs STRIPE_SECRET_KEY (sk_test_… or rk_test_…); see docs/scenario.md.
    Scenario {
        /// Only end what the run with this id has left.
        #[arg(long, value_name = "RUN", value_parser = scenario::parse_run_id)]
        clean: Option<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve => {
            start_log(SERVE_LOG_FILTER);
            serve().await
        }
        Command::Run { exit } => {
            start_log(RUN_LOG_FILTER);
            run(exit).await
        }
        Command::Breakage => {
            start_log(RUN_LOG_FILTER);
            break_both().await
        }
        Command::Scenario { clean } => {
            start_log(RUN_LOG_FILTER);
            play_scenario(clean).await
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            complain("meterline-local", error.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<ExitCode, Box<dyn Error>> {
    let system = System::start(Options::from_environment()?).await?;
    let mut signals = Signals::listen()?;
    say_where(&system)?;
    signals.next().await;
    stop(system, &mut signals, ExitCode::SUCCESS).await
}

async fn run(exit: bool) -> Result<ExitCode, Box<dyn Error>> {
    let system = System::start(Options::from_environment()?).await?;
    let mut signals = Signals::listen()?;
    say_where(&system)?;
    let mut narrator = Narrator::to_stdout();
    let settings = story::Settings::default();
    let played = tokio::select! {
        played = story::play(&system, &settings, &mut narrator) => played,
        () = signals.next() => {
            return stop(system, &mut signals, ExitCode::from(INTERRUPTED)).await;
        }
    };
    let came_out = played.is_ok() && narrator.wrong().is_empty();
    if let Err(error) = &played {
        complain("meterline-local", error);
    }
    say_outcome(&narrator, came_out)?;
    if !exit {
        writeln!(io::stdout(), "Serving until Ctrl-C.")?;
        signals.next().await;
    }
    let code = if came_out {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    stop(system, &mut signals, code).await
}

/// The status says whether the play showed what it is there to show.
async fn break_both() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let bills = breakage::play(folder.path(), &mut io::stdout()).await?;
    let shown = bills.wrong_by_batch > 0 && bills.wrong_by_meterline == 0;
    Ok(if shown {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// In a folder of its own: tables are of one Stripe account.
async fn play_scenario(clean: Option<String>) -> Result<ExitCode, Box<dyn Error>> {
    let is_clean_up = clean.is_some();
    let run_id = clean.map_or_else(scenario::new_run_id, Ok)?;
    let folder = tempfile::tempdir()?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let options = scenario::options(variable, folder.path(), &run_id)?;
    let mut signals = Signals::listen()?;
    let mut narrator = Narrator::to_stdout();
    let played = if is_clean_up {
        scenario::clean_up(&options, &mut narrator).await
    } else {
        let settings = scenario::story_settings();
        let mut again = Signals::listen()?;
        tokio::select! {
            played = scenario::run(options, &settings, &mut narrator, signals.next()) => played,
            // A second one cuts the clean-up short.
            () = async { again.next().await; again.next().await } => {
                return Ok(ExitCode::from(INTERRUPTED));
            }
        }
    };
    let came_out = matches!(played, Ok(Outcome::Played)) && narrator.wrong().is_empty();
    if let Err(error) = &played {
        complain("meterline-local", error);
    }
    say_outcome(&narrator, came_out)?;
    Ok(match played {
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        _ if came_out => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Stops the system; a second signal means: now.
async fn stop(
    system: System,
    signals: &mut Signals,
    code: ExitCode,
) -> Result<ExitCode, Box<dyn Error>> {
    tokio::select! {
        stopped = system.stop() => stopped?,
        () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
    }
    Ok(code)
}

fn say_outcome(narrator: &Narrator, came_out: bool) -> io::Result<()> {
    let mut out = io::stdout();
    let figures = narrator.figures();
    if came_out {
        return writeln!(out, "\nAll {figures} figures came out.");
    }
    if narrator.wrong().is_empty() {
        return writeln!(out, "\nThe story stopped before its end.");
    }
    writeln!(out, "\nNot every figure came out:")?;
    for wrong in narrator.wrong() {
        writeln!(out, "  ✗ {wrong}")?;
    }
    Ok(())
}

fn say_where(system: &System) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "Meterline  {}", system.url())?;
    writeln!(out, "DynamoDB   {}", system.dynamodb_url())?;
    writeln!(out, "Stripe     {}", system.stripe_url())?;
    writeln!(out, "Keys       source {}", system.env_file().display())?;
    writeln!(
        out,
        "Told       {}",
        system.notifications().file().display()
    )
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

fn start_log(default_filter: &str) {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default_filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
}
