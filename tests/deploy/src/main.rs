//! `make deploy-test`: deploys the stack with `sam deploy` to an AWS on this
//! machine, plays on the deployed functions, and deploys again while they work.
//!
//! | module | does |
//! | --- | --- |
//! | `cloud`, `command` | AWS on this machine, and the programs that speak to it |
//! | `build` | what `sam build` made, and builds that are newer, broken, refused |
//! | `deployment` | `sam deploy`, and how the stack is reached |
//! | `operator`, `deployed` | README's "Deploy it", step by step |
//! | `acts` | the story; an update, a broken version and the way back under load |
//! | `agents`, `books` | who emits, and whether everyone has counted the same |
//! | `logs`, `notifications`, `mails` | what the functions log, and tell the operator and the customers |
//! | `figures` | how long calls take, cold and warm |

mod acts;
mod agents;
mod books;
mod build;
mod cloud;
mod command;
mod deployed;
mod deployment;
mod failure;
mod figures;
mod logs;
mod mails;
mod notifications;
mod operator;
mod patience;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use stack::story::Narrator;
use stripe_simulator::Simulator;
use tokio::signal::unix::{SignalKind, signal};

use crate::acts::{Acts, Scale};
use crate::build::{BUILT, Build};
use crate::cloud::Cloud;
use crate::deployed::deploy;
use crate::failure::Failure;
use crate::logs::Logs;

const LAST_LINES: usize = 40;

/// Deploys the stack to an AWS on this machine and plays on it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Operations of the story.
    #[arg(long, default_value_t = 200)]
    operations: u64,
    /// The page that the figures are written into; they are printed only, if none is given.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut narrator = Narrator::to_stdout();
    let played = tokio::select! {
        played = run(&arguments, &mut narrator) => played,
        interrupted = interrupted() => Err(interrupted),
    };
    match played {
        Ok(()) if narrator.wrong().is_empty() => {
            println!("\nAll {} figures came out.", narrator.figures());
            ExitCode::SUCCESS
        }
        Ok(()) => {
            eprintln!("\nFigures that did not come out:");
            for wrong in narrator.wrong() {
                eprintln!("  {wrong}");
            }
            ExitCode::FAILURE
        }
        Err(failure) => {
            let failure: &dyn Error = &failure;
            eprint!("\n{failure}");
            let mut source = failure.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

async fn interrupted() -> Failure {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return Failure::unexpected("the handling of signals");
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Failure::Interrupted,
        _ = terminate.recv() => Failure::Interrupted,
    }
}

/// Starts what everything stands on, plays, and ends it, whatever became of it.
async fn run(arguments: &Arguments, narrator: &mut Narrator) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(Failure::io("no folder to work in"))?;
    let build = Build::of_sam(Path::new(BUILT), &folder.path().join("build"))?;
    let simulator = Simulator::start(stripe_simulator::Config::default()).await?;
    let cloud = Cloud::start(folder.path()).await?;
    let played = play(
        arguments,
        &cloud,
        &simulator,
        &build,
        folder.path(),
        narrator,
    )
    .await;
    if played.is_err() || !narrator.wrong().is_empty() {
        show_last_lines(cloud.log());
    }
    cloud.stop().await;
    simulator.stop().await;
    played
}

async fn play(
    arguments: &Arguments,
    cloud: &Cloud,
    simulator: &Simulator,
    build: &Build,
    folder: &Path,
    narrator: &mut Narrator,
) -> Result<(), Failure> {
    narrator.part("The first deployment");
    let deployed = deploy(cloud, simulator, build, folder, narrator).await?;
    let played = async {
        let mut acts = Acts::begin(cloud, &deployed, build, folder).await?;
        narrator.part("An event that Stripe does not take at once");
        acts.one_is_late(narrator).await?;
        narrator.part("The main job, on the deployed functions");
        let scale = Scale {
            operations: arguments.operations,
        };
        acts.story(narrator, scale).await?;
        narrator.part("The late event comes to Stripe by the schedule");
        acts.the_late_one_comes(narrator).await?;
        narrator.part("The mails, by the schedule as well");
        acts.mails(narrator).await?;
        narrator.part("An emission without one of its permissions");
        acts.forbidden(narrator).await?;
        narrator.part("An update while agents emit");
        acts.update(narrator).await?;
        narrator.part("A broken version while agents emit, and back");
        acts.broken(narrator).await?;
        narrator.part("An update that AWS refuses while agents emit");
        acts.refused(narrator).await?;
        narrator.part("How fast it is, here");
        let figures = acts.measure().await?;
        for line in figures.section().lines() {
            narrator.say(line);
        }
        acts.close(narrator).await?;
        narrator.part("The mails once more");
        acts.mails_once_more(narrator).await?;
        narrator.part("What logs and outputs hold");
        acts.nothing_leaks(narrator).await?;
        if let Some(page) = &arguments.page {
            figures.write_into(page)?;
        }
        Ok(())
    }
    .await;
    if played.is_err() || !narrator.wrong().is_empty() {
        let logs = Logs::read(cloud, &deployed.deployment).await?;
        eprintln!("── last lines of the functions ──");
        for line in logs.tail(LAST_LINES) {
            eprintln!("{line}");
        }
    }
    played
}

fn show_last_lines(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("── last lines of ministack ──");
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        eprintln!("{line}");
    }
}
