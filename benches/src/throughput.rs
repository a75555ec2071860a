//! The most that batches of 100 reach, beside what the embedded database takes
//! of the same writes with nothing else running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, TryStreamExt};
use stack::Pumping;

use crate::floor::{Floor, Ready};
use crate::load::batches;
use crate::page::Page;
use crate::samples::{median, ms, per_second, ratio};
use crate::world::World;
use crate::{Failure, Scale};

const CUSTOMERS: usize = 20;
const RUNS: usize = 3;
/// Callers of the batches, and writes at once of the database alone.
const CALLERS: usize = 4;
const WRITES_IN_FLIGHT: usize = 64;
/// Statements of one call (Amazon DynamoDB API reference: `BatchExecuteStatement`).
const STATEMENTS_MAX: usize = 25;

/// Measures and tells.
pub(crate) async fn run(page: &mut Page, scale: Scale) -> Result<(), Failure> {
    page.heading("The most that batches of 100 reach")?;
    page.line(&format!(
        "Events a second from {CALLERS} callers, one batch after the other, Stripe answering at \
         once; beside it, by turns, the same put and update of each event by a bare client, \
         {WRITES_IN_FLIGHT} at once, nothing else running; and the same with the \
         puts by `BatchExecuteStatement`, {STATEMENTS_MAX} a call, {CALLERS} such calls at once.\n"
    ))?;
    page.columns(&[
        "run",
        "batches, events/s",
        "p50 of a batch",
        "errors",
        "database alone, events/s",
        "share",
        "puts by PartiQL, events/s",
    ])?;
    let mut runs = Vec::new();
    for run in 1..=RUNS {
        page.progress(&format!("run {run} of {RUNS}"))?;
        let world = Arc::new(World::start(Pumping::Automatic, None).await?);
        let customers = Arc::new(world.onboard(CUSTOMERS).await?);
        let duration = Duration::from_secs(scale.of_u64(15));
        let (load, delivered) = batches(&world, &customers, CALLERS, duration).await?;
        let reached = per_second(delivered, load.elapsed);
        let world = Arc::into_inner(world).ok_or("an agent is still at work")?;
        world.stop().await?;
        let alone = database_alone(scale.of(20_000), Writes::Single).await?;
        let by_partiql = database_alone(scale.of(20_000), Writes::PartiQl).await?;
        page.row([
            run.to_string(),
            reached.to_string(),
            ms(load.samples.p50_us()),
            load.errors.to_string(),
            alone.to_string(),
            ratio(reached, alone),
            by_partiql.to_string(),
        ])?;
        runs.push((reached, alone));
    }
    let (reached, alone): (Vec<u64>, Vec<u64>) = runs.into_iter().unzip();
    let (reached, alone) = (median(reached), median(alone));
    page.line(&format!(
        "\nMedians: {reached} and {alone} events a second, a share of {}.",
        ratio(reached, alone)
    ))?;
    Ok(())
}

/// How the database alone is written to.
#[derive(Clone, Copy)]
enum Writes {
    /// A put and an update each.
    Single,
    /// 25 puts a call, then their updates.
    PartiQl,
}

/// Events a second.
async fn database_alone(events: usize, writes: Writes) -> Result<u64, Failure> {
    let world = World::start(Pumping::Manual, None).await?;
    let customers = world.onboard(CUSTOMERS).await?;
    let floor = Floor::new(&world).await?;
    let mut ready: Vec<Ready> = customers
        .iter()
        .cycle()
        .take(events)
        .map(|customer| Floor::ready(&world, customer))
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    match writes {
        Writes::Single => {
            stream::iter(ready.into_iter().map(Ok))
                .try_for_each_concurrent(WRITES_IN_FLIGHT, |event| floor.write(event))
                .await?;
        }
        Writes::PartiQl => {
            let mut calls = Vec::new();
            while !ready.is_empty() {
                calls.push(ready.split_off(ready.len().saturating_sub(STATEMENTS_MAX)));
            }
            stream::iter(calls.into_iter().map(Ok))
                .try_for_each_concurrent(CALLERS, |events| floor.write_by_partiql(events))
                .await?;
        }
    }
    let reached = per_second(events as u64, started.elapsed());
    drop(floor);
    world.stop().await?;
    Ok(reached)
}
