//! Agents, many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::Failure;
use crate::samples::Samples;
use crate::world::{Customer, World};

/// The most events of one batch.
pub(crate) const BATCH_EVENTS: usize = 100;

const TICK: Duration = Duration::from_millis(1);

/// What came of a load.
#[derive(Default)]
pub(crate) struct Load {
    /// From when a request was due to its answer.
    pub(crate) samples: Samples,
    /// Requests that were not answered as they should be.
    pub(crate) errors: u64,
    /// From the first request's due time to the last answer.
    pub(crate) elapsed: Duration,
}

/// What one request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `POST /v1/usage`: one event.
    Single,
    /// `POST /v1/usage/batch`: 100 events.
    Batch,
}

/// Requests at a fixed rate, whether or not the answers keep up: the n-th is due
/// at n / rate, and its time counts from there.
pub(crate) async fn at_rate(
    world: &Arc<World>,
    customers: &Arc<Vec<Customer>>,
    request: Request,
    per_second: u64,
    count: u64,
) -> Result<Load, Failure> {
    let errors = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut answers = JoinSet::new();
    let mut sent = 0;
    while sent < count {
        let due = Duration::from_micros(sent * 1_000_000 / per_second);
        if started.elapsed() < due {
            tokio::time::sleep(TICK).await;
            continue;
        }
        let (world, customers) = (Arc::clone(world), Arc::clone(customers));
        let errors = Arc::clone(&errors);
        let number = usize::try_from(sent)?;
        answers.spawn(async move {
            if !is_delivered(&world, &customers, request, number).await {
                errors.fetch_add(1, Ordering::Relaxed);
            }
            started.elapsed().saturating_sub(due)
        });
        sent += 1;
    }
    let mut load = Load::default();
    while let Some(taken) = answers.join_next().await {
        load.samples.add(taken?);
    }
    load.elapsed = started.elapsed();
    load.errors = errors.load(Ordering::Relaxed);
    Ok(load)
}

async fn is_delivered(
    world: &World,
    customers: &[Customer],
    request: Request,
    number: usize,
) -> bool {
    match request {
        Request::Single => {
            let Some(customer) = customers.get(number % customers.len()) else {
                return false;
            };
            let answer = world.post("/v1/usage", world.event(customer).to_string());
            answer.await.is_ok_and(|answer| answer.status == 200)
        }
        Request::Batch => {
            let answer = world.post("/v1/usage/batch", batch(world, customers));
            answer
                .await
                .is_ok_and(|answer| answer.body["delivered"] == BATCH_EVENTS)
        }
    }
}

/// The body of a batch, its events spread over the customers.
fn batch(world: &World, customers: &[Customer]) -> String {
    let events: Vec<_> = customers
        .iter()
        .cycle()
        .take(BATCH_EVENTS)
        .map(|customer| world.event(customer))
        .collect();
    json!({ "events": events }).to_string()
}

/// Batches of 100, from so many callers, one after the other, for so long.
pub(crate) async fn batches(
    world: &Arc<World>,
    customers: &Arc<Vec<Customer>>,
    callers: usize,
    duration: Duration,
) -> Result<(Load, u64), Failure> {
    let started = Instant::now();
    let mut at_work = JoinSet::new();
    for _ in 0..callers {
        let (world, customers) = (Arc::clone(world), Arc::clone(customers));
        at_work.spawn(async move {
            let (mut samples, mut delivered, mut errors) = (Samples::default(), 0, 0);
            while started.elapsed() < duration {
                let body = batch(&world, &customers);
                let sent = Instant::now();
                let answer = world.post("/v1/usage/batch", body).await?.expect(&[200])?;
                samples.add(sent.elapsed());
                let of_batch = answer["delivered"].as_u64().unwrap_or_default();
                delivered += of_batch;
                errors += BATCH_EVENTS as u64 - of_batch;
            }
            Ok::<_, Failure>((samples, delivered, errors))
        });
    }
    let (mut load, mut delivered) = (Load::default(), 0);
    while let Some(worked) = at_work.join_next().await {
        let (samples, of_caller, errors) = worked??;
        load.samples.extend(samples);
        load.errors += errors;
        delivered += of_caller;
    }
    load.elapsed = started.elapsed();
    Ok((load, delivered))
}
