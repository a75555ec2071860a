//! A seeded simulation of the whole system under faults, and an independent
//! count of what is left: see `docs/proof.md`.
//!
//! | module | does |
//! | --- | --- |
//! | `runner` | plays a run: agents, rollup, redelivery, webhooks, the clock |
//! | `agents` | emit usage and remember what they were told |
//! | `functions` | the functions as a process that can be killed |
//! | `proxy`, `wire`, `answers` | stand before DynamoDB and Stripe and break what passes |
//! | `stream`, `endpoint` | the stream and the webhooks, as they come on a bad day |
//! | `fault`, `random` | what goes wrong, by the seed |
//! | `checker` | the count, which shares no code with what it counts |
//! | `plant` | errors for the checker to find |
//! | `reconciliation`, `decisions` | the operator's part, which must find what the count did |
//! | `world`, `direct`, `clock` | the databases, the way past the proxies, the time |

mod agents;
mod answers;
mod checker;
mod decisions;
mod direct;
mod endpoint;
mod error;
mod fault;
mod functions;
mod plant;
mod proxy;
mod random;
mod reconciliation;
mod report;
mod runner;
mod stream;
mod wire;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use meterline_cli::reconcile::Repair;
use stripe::UsageApi;
use test_support::HandClock;
use tokio::runtime::{Builder, Handle};

use crate::checker::{Findings, check_all, check_outbox};
use crate::runner::Runner;
use crate::world::World;

pub use crate::checker::{Finding, Kind};
pub use crate::decisions::Decisions;
pub use crate::error::SoakError;
pub use crate::fault::Fault;
pub use crate::plant::Plant;
pub use crate::reconciliation::Reconciliation;
pub use crate::report::{Reconciled, Report};

/// 2026-01-05T10:00:00Z: runs begin then, or up to 25 days later.
const BEGINNING_MS: i64 = 1_767_607_200_000;
const BEGINNING_HOURS: u64 = 25 * 24;
const HOUR_MS: i64 = 3_600_000;

/// Where temporary files cost no disk.
const TMPFS: &str = "/dev/shm";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything that is drawn is drawn from it.
    pub seed: u64,
    /// How many different events the agents send; repeats come on top.
    pub events: u64,
    /// Events of a batch, at most.
    pub batch_events_max: u64,
    /// Calls of agents at once.
    pub calls_at_once: usize,
    /// By which API usage is reported: one that knows events by their identifiers,
    /// since the count does.
    pub usage_api: UsageApi,
    /// An error for the checker to find.
    pub plant: Option<Plant>,
}

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Agents emit, under faults.
    Emitting,
    /// What is pending is sent, and periods end.
    ComingToRest,
    /// All is counted.
    Counting,
    /// The operator's part.
    Reconciling,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it is at.
    pub step: Step,
    /// Events sent so far.
    pub events: u64,
    /// Faults so far.
    pub faults: u64,
    /// Time so far.
    pub elapsed: Duration,
}

/// Runs the simulation to its end, and counts.
///
/// # Errors
/// [`SoakError`] where it cannot be run; what is wrong with the system is in
/// the report.
pub fn soak(options: &Options, on_progress: &dyn Fn(&Progress)) -> Result<Report, SoakError> {
    // One thread decides; the proxies and Stripe have another, DynamoDB its own.
    let servers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let deciding = Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir_in(temporary())?;
    let handle = servers.handle();
    let report = deciding.block_on(run(options, folder.path(), handle, on_progress));
    servers.shutdown_background();
    report
}

fn temporary() -> PathBuf {
    let tmpfs = Path::new(TMPFS);
    if tmpfs.is_dir() {
        tmpfs.to_owned()
    } else {
        std::env::temp_dir()
    }
}

async fn run(
    options: &Options,
    folder: &Path,
    servers: &Handle,
    on_progress: &dyn Fn(&Progress),
) -> Result<Report, SoakError> {
    let hours = random::Random::of(options.seed, "beginning").below(BEGINNING_HOURS);
    let hours = i64::try_from(hours).unwrap_or(0);
    let clock = HandClock::at_unix_ms(BEGINNING_MS + hours * HOUR_MS);
    let world = World::start(options, clock, folder, servers).await?;
    let mut runner = Runner::start(world, options, on_progress).await?;
    let mut findings = Findings::default();
    let mut planted = None;

    runner.play().await?;
    runner.begin(Step::ComingToRest);
    runner.make_peace().await?;
    if options.plant == Some(Plant::Outbox) {
        planted = Some(plant::forget(runner.subject()).await?);
    }
    check_outbox(runner.subject(), &mut findings).await?;
    runner.come_to_rest().await?;
    match options.plant {
        Some(Plant::Loss) => planted = Some(plant::lose(runner.subject(), folder).await?),
        Some(Plant::Double) => planted = Some(plant::double(runner.subject()).await?),
        Some(Plant::Meter) => {
            planted = Some(plant::count_elsewhere(runner.subject(), folder).await?);
        }
        _ => {}
    }
    runner.close_periods().await?;
    match options.plant {
        Some(Plant::Unbilled) => planted = Some(plant::unbill(runner.subject(), folder).await?),
        Some(Plant::Total) => planted = Some(plant::miscount(runner.subject()).await?),
        _ => {}
    }
    runner.begin(Step::Counting);
    check_all(runner.subject(), &mut findings).await?;
    let mut report = Report::of(options, &runner, findings, planted);
    if options.plant.is_none() {
        reconcile(&mut runner, &mut report).await?;
    }
    Ok(report)
}

/// The operator's part: `reconcile --repair` settles what Stripe's sums tell, the
/// operator the rest by Stripe's list of events; the system comes to rest again,
/// and all is counted once more.
async fn reconcile(runner: &mut Runner<'_>, report: &mut Report) -> Result<(), SoakError> {
    runner.begin(Step::Reconciling);
    let repair = Reconciliation::of(&runner.world, Repair::Open).await?;
    let decisions = Decisions::take(&runner.world).await?;
    runner.begin(Step::ComingToRest);
    runner.make_peace().await?;
    runner.come_to_rest().await?;
    runner.close_periods().await?;
    let mut findings = Findings::default();
    // What was carried over cannot be noted by word alone: but with all else
    // decided, Stripe's sums tell.
    runner.begin(Step::Reconciling);
    Reconciliation::of(&runner.world, Repair::Open).await?;
    runner.make_peace().await?;
    runner.begin(Step::Counting);
    check_all(runner.subject(), &mut findings).await?;
    runner.begin(Step::Reconciling);
    let after = Reconciliation::of(&runner.world, Repair::Nothing).await?;
    report.reconciled(repair, decisions, after, findings);
    Ok(())
}
