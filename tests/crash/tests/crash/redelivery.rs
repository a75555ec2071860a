//! A redelivery that ends everywhere: the next minute finds what it left.

use std::time::Duration;

use ::redelivery::{Redelivery, Report};
use crash::{Aftermath, Claim, Scenario, Surroundings, World};
use tokio::time::Instant;

use crate::{assert_all_counted_once, sweep_with};

/// The function's timeout.
const TIMEOUT: Duration = Duration::from_secs(55);

/// A run's lease, and as much again as clocks may differ.
const LEASE_MINUTES: u32 = 7;

struct Minute {
    customer_id: String,
    claims: Vec<Claim>,
}

impl Scenario for Minute {
    type Input = ();
    type Answer = Report;

    const CALLS: &'static [&'static str] = &[
        "Query OutboxTable",
        "PutItem OutboxTable",
        "BatchGetItem UsageEventsTable",
        "GetItem CustomersTable",
        "POST /v2/billing/meter_event_session",
        "POST /v2/billing/meter_event_stream",
        "UpdateItem UsageEventsTable",
        "DeleteItem OutboxTable",
    ];

    /// Two events in an entry of the outbox, one of them delivered since.
    async fn prepare(&mut self, world: &World) {
        world.redeliver_all().await;
        let mut pending = world.an_event(&self.customer_id);
        world.leave_pending(&mut pending).await;
        let mut retried = world.an_event(&self.customer_id);
        world.leave_pending(&mut retried).await;
        world.roll_up().await;
        assert_eq!(world.emit(&mut retried).await, "delivered");
        self.claims.extend([pending, retried]);
        world.pass_a_minute();
    }

    /// The lease of the process that ended must be over.
    fn time_passes(&mut self, world: &World) {
        for _ in 0..LEASE_MINUTES {
            world.pass_a_minute();
        }
    }

    async fn handle(surroundings: Surroundings, (): ()) -> Option<Report> {
        let Surroundings {
            ledger,
            stripe,
            clock,
            ..
        } = surroundings;
        let redelivery = Redelivery::new(ledger, stripe, clock);
        let report = redelivery.run(Instant::now() + TIMEOUT).await.ok()?;
        (report.pending == 0).then_some(report)
    }

    fn acknowledge(&mut self, (): &(), report: Report) {
        assert_eq!((report.rejected, report.quarantined), (0, 0), "{report:?}");
    }
}

async fn story(aftermath: Aftermath) {
    let world = World::start().await;
    let mut minute = Minute {
        customer_id: world.onboard("acme").await,
        claims: Vec::new(),
    };
    sweep_with("redelivery", &world, &mut minute, aftermath, 1).await;
    assert_all_counted_once(&world, &minute.claims).await;
}

// Three tests, so that they run at once: a trial takes many calls.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_ends_anywhere_leaves_the_rest_to_a_later_minute() {
    story(Aftermath::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_ends_anywhere_is_finished_by_the_next() {
    story(Aftermath::Retry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redelivery_that_ends_anywhere_is_finished_by_two_at_once() {
    story(Aftermath::TwoAtOnce).await;
}
