//! `make soak`: the simulation on the command line.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use soak::{Options, Plant, Progress, SoakError, Step, soak};
use stripe::UsageApi;

/// Runs the whole system under seeded faults, and counts what is left.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many events the agents send.
    #[arg(long, env = "EVENTS", default_value_t = 100_000)]
    events: u64,
    /// What everything is drawn from; a fresh one if none is given.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Plants an error for the checker to find.
    #[arg(long, env = "PLANT")]
    plant: Option<Plant>,
    /// Events of a batch, at most.
    #[arg(long, env = "BATCH", default_value_t = 100)]
    batch: u64,
    /// Calls of agents at once.
    #[arg(long, env = "CALLS", default_value_t = 8)]
    calls: usize,
    /// By which API usage goes to Stripe: meter_event_stream or meter_event.
    #[arg(long, env = "USAGE_API", default_value_t, value_parser = usage_api)]
    usage_api: UsageApi,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            let error: &dyn Error = &error;
            eprint!("{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, SoakError> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        // Short enough to be read out.
        None => u64::from(getrandom::u32()?),
    };
    let options = Options {
        seed,
        events: arguments.events,
        batch_events_max: arguments.batch,
        calls_at_once: arguments.calls,
        usage_api: arguments.usage_api,
        plant: arguments.plant,
    };
    println!("seed {seed}");
    let report = soak(&options, &|progress| tell(progress, options.events))?;
    print!("{report}");
    let is_clean = report.is_clean();
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The count knows an event in Stripe by its identifier, which a usage record
/// does not have.
fn usage_api(name: &str) -> Result<UsageApi, String> {
    match name.parse() {
        Ok(UsageApi::UsageRecord) => {
            Err("usage records have no identifiers to count by".to_owned())
        }
        Ok(usage_api) => Ok(usage_api),
        Err(error) => Err(error.to_string()),
    }
}

fn tell(progress: &Progress, of: u64) {
    let Progress {
        step,
        events,
        faults,
        elapsed,
    } = progress;
    let seconds = elapsed.as_secs();
    match step {
        Step::Emitting => eprintln!("{seconds:>5} s  {events} of {of} events, {faults} faults"),
        Step::ComingToRest => eprintln!("{seconds:>5} s  coming to rest"),
        Step::Counting => eprintln!("{seconds:>5} s  counting {events} events"),
        Step::Reconciling => eprintln!("{seconds:>5} s  reconciling"),
    }
}
