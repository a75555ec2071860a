//! What Stripe does later: aggregating meter events, reporting those that cannot count, turning
//! periods, moving test clocks, delivering webhooks.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::api::error::Result;
use crate::call::Call;
use crate::core::Core;
use crate::engine;
use crate::resources::{meter_event_stream, test_clocks};
use crate::store::{idempotency, meter_events};
use crate::webhooks::{self, Round};

/// How long the background rests between looks at what is due.
const NAP: Duration = Duration::from_millis(25);
/// A receiver that causes an event with each event would keep `settle` busy forever.
const ROUNDS_MAX: usize = 1000;

/// How much was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Done {
    /// Meter events that summaries and invoices now know.
    aggregated: usize,
    /// Meter events that an error report now names.
    reported: usize,
    /// Test clocks that arrived.
    clocks: usize,
    /// Periods turned, drafts finalised and payments tried in the account's own time.
    steps: usize,
    /// Webhooks that an endpoint took.
    delivered: usize,
    /// Attempts that an endpoint did not take.
    failed: usize,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.aggregated += other.aggregated;
        self.reported += other.reported;
        self.clocks += other.clocks;
        self.steps += other.steps;
        self.delivered += other.delivered;
        self.failed += other.failed;
    }
}

/// Works until told to stop.
pub(crate) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let state = async {
        while !stop.is_cancelled() {
            let advanced = advance(&core, core.aggregation_delay_ms).await;
            rest(&stop, advanced.map(|done| done.clocks > 0)).await;
        }
    };
    let webhooks = async {
        while !stop.is_cancelled() {
            let round = webhooks::deliver_due(&core).await;
            rest(&stop, round.map(|round| round != Round::default())).await;
        }
    };
    tokio::join!(state, webhooks);
}

/// Sleeps, unless there was something to do: then there may be more.
async fn rest(stop: &CancellationToken, was_busy: Result<bool>) {
    match was_busy {
        Ok(true) => return,
        Ok(false) => {}
        Err(error) => tracing::warn!(?error, "the background failed and tries again"),
    }
    tokio::select! {
        () = tokio::time::sleep(NAP) => {}
        () = stop.cancelled() => {}
    }
}

/// Does all that is due, webhooks too, and what these cause in turn.
pub(crate) async fn settle(core: &Arc<Core>) -> Result<Done> {
    let mut total = Done::default();
    for _ in 0..ROUNDS_MAX {
        let mut done = advance(core, 0).await?;
        let round = webhooks::deliver_due(core).await?;
        done.delivered = round.delivered;
        done.failed = round.failed;
        if done == Done::default() {
            break;
        }
        total.add(done);
    }
    Ok(total)
}

/// Moves the state to now, each part in a transaction of its own.
async fn advance(core: &Arc<Core>, aggregation_delay_ms: i64) -> Result<Done> {
    let counted = core.work_alone(move |call| count(call, aggregation_delay_ms));
    let mut done = counted.await?;
    done.add(core.work_alone(move_clocks).await?);
    let steps = core.work_alone(|call| engine::run(call, None, call.now()));
    done.steps = steps.await?;
    Ok(done)
}

fn count(call: &Call<'_>, delay_ms: i64) -> Result<Done> {
    let received_by_ms = call.now_ms - delay_ms;
    idempotency::forget_old(call.db, call.now())?;
    Ok(Done {
        aggregated: meter_events::aggregate(call.db, received_by_ms)?,
        reported: meter_event_stream::report_errors(call, received_by_ms)?,
        ..Done::default()
    })
}

/// A clock on its way takes all usage accepted so far with it: no invoice may depend on how
/// quickly somebody asked for the advance.
fn move_clocks(call: &Call<'_>) -> Result<Done> {
    if !test_clocks::is_any_advancing(call)? {
        return Ok(Done::default());
    }
    let counted = count(call, 0)?;
    Ok(Done {
        clocks: test_clocks::arrive(call)?,
        ..counted
    })
}
