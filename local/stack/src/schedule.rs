//! The schedules of the template, here: redelivery, every minute, and the sweep
//! of Stripe's events, every quarter of an hour.

use std::sync::Arc;
use std::time::Duration;

use courier::{Courier, CourierError};
use redelivery::{Redelivery, RedeliveryError, Report};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};
use webhook::{SweepError, SweepReport};

/// `rate(1 minute)`.
const PERIOD: Duration = Duration::from_secs(60);
/// The function's timeout: it ends before the next run starts.
const RUN_TIMEOUT: Duration = Duration::from_secs(55);
/// `rate(15 minutes)`.
const SWEEP_PERIOD: Duration = Duration::from_secs(15 * 60);
/// For how long a sweep starts events: the function's timeout, less its reserve.
const SWEEP_TIME: Duration = Duration::from_secs(28);
/// How long a run may go on at the end. One that is cut off is as one that
/// Lambda cut off: what it did not note, the next run finds.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs redelivery as the schedule does, with the function's time.
///
/// # Errors
/// Redelivery's; the next run is the retry.
pub async fn redeliver(redelivery: &Redelivery) -> Result<Report, RedeliveryError> {
    redelivery.run(Instant::now() + RUN_TIMEOUT).await
}

/// Delivers notifications as the schedule does, with the function's time.
///
/// # Errors
/// The courier's; the next run is the retry.
pub async fn deliver(courier: &Courier) -> Result<courier::Report, CourierError> {
    courier.run(Instant::now() + RUN_TIMEOUT).await
}

/// Sweeps as the schedule does, with the function's time.
///
/// # Errors
/// The sweep's; the next run is the retry.
pub async fn sweep(webhook: &webhook::State) -> Result<SweepReport, SweepError> {
    webhook.sweep(Instant::now() + SWEEP_TIME).await
}

/// The schedules, running. Dropped, they start no further run.
#[derive(Debug)]
pub struct Schedule {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Schedule {
    /// Runs `redelivery` and `courier`, if there is one, now and every minute, and the
    /// sweep of `webhook`, if there is to be one, now and every quarter of an hour.
    pub fn start(
        redelivery: Arc<Redelivery>,
        courier: Option<Arc<Courier>>,
        webhook: Option<webhook::State>,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        Self {
            task: tokio::spawn(async move {
                let sweeping = async {
                    if let Some(webhook) = webhook {
                        run_sweep(webhook, &stopped).await;
                    }
                };
                tokio::join!(run(redelivery, courier, &stopped), sweeping);
            }),
            stop: stop.drop_guard(),
        }
    }

    /// Starts no further run and waits for the one under way, if it is not long.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        let mut task = self.task;
        match tokio::time::timeout(STOP_TIMEOUT, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the schedule failed"),
            Err(_) => {
                tracing::warn!("redelivery or a sweep was cut off");
                task.abort();
            }
        }
    }
}

async fn run_sweep(webhook: webhook::State, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = sweep(&webhook).await {
            tracing::error!(%error, "the sweep failed; the next one is the retry");
        }
    }
}

async fn run(redelivery: Arc<Redelivery>, courier: Option<Arc<Courier>>, stop: &CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let told = async {
            if let Some(courier) = &courier
                && let Err(error) = deliver(courier).await
            {
                tracing::error!(%error, "notifications wait for the next minute");
            }
        };
        let (redelivered, ()) = tokio::join!(redeliver(&redelivery), told);
        if let Err(error) = redelivered {
            tracing::error!(%error, "redelivery failed; the next minute is the retry");
        }
    }
}
