//! Stories of several redeliveries at once, and of one that was killed.

use std::sync::Arc;
use std::time::Duration;

use redelivery::{Redelivery, Report};
use serde_json::json;
use tokio::time::Instant;

use crate::story::{HOUR_MS, MINUTE_MS, Story};

const EVENTS: usize = 120;
/// The function's timeout: a run's time, and a lease's.
const RUN: Duration = Duration::from_secs(55);

async fn run(redelivery: &Redelivery) -> Report {
    redelivery.run(Instant::now() + RUN).await.unwrap()
}

/// Events that are due by any of the clocks, in every bucket of the outbox.
async fn due() -> Story {
    let story = Story::start().await;
    story.emit_many_in_vain(EVENTS).await;
    story.world.clock.advance_ms(10 * MINUTE_MS);
    story
}

/// Every request to the meter event stream takes long enough for others to come.
async fn slow_stripe(story: &Story) {
    let fault = json!({
        "kind": "delay_ms", "delay_ms": 300, "times": 99,
        "path_prefix": "/v2/billing/meter_event_stream",
    });
    story.world.break_stripe(fault).await;
}

/// A run that is killed while Stripe has its request.
async fn killed(story: &Story, redelivery: &Redelivery) {
    slow_stripe(story).await;
    let until_stripe_is_asked = async {
        while story.world.struck(0).await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        report = run(redelivery) => panic!("it ended: {report:?}"),
        () = until_stripe_is_asked => {}
    }
    story.world.repair_stripe().await;
}

#[tokio::test]
async fn of_two_runs_at_once_none_sends_what_the_other_does() {
    for ahead_ms in [0, 4 * MINUTE_MS, -4 * MINUTE_MS] {
        let story = due().await;
        slow_stripe(&story).await;
        let clock = story.world.clock.ahead_by_ms(ahead_ms);
        let another = story.another(Arc::new(clock));
        let (one, other) = tokio::join!(run(&story.redelivery), run(&another));
        // What one could not have it left to the other, who had it.
        assert_eq!(one.delivered + other.delivered, EVENTS, "{one:?} {other:?}");
        assert_eq!(story.in_stripe().await, (EVENTS as u64, EVENTS as u64));
        assert_eq!(story.sent_again(), 0, "{ahead_ms} ms ahead");
    }
}

#[tokio::test]
async fn nobody_waits_for_a_run_that_has_ended() {
    let story = due().await;
    let another = story.another(story.world.clock());
    let delivered = run(&story.redelivery).await.delivered;
    assert_eq!(delivered, EVENTS);
    assert_eq!(run(&another).await, Report::default());
    assert_eq!(story.outbox_length().await, 0, "entries or leases are left");
}

#[tokio::test]
async fn the_buckets_of_a_killed_run_are_free_when_its_time_is_over() {
    // However far its clock was off.
    for ahead_ms in [0, HOUR_MS, -4 * MINUTE_MS] {
        let story = due().await;
        let clock = story.world.clock.ahead_by_ms(ahead_ms);
        killed(&story, &story.another(Arc::new(clock))).await;

        let report = run(&story.redelivery).await;
        assert!(report.leased > 0 && report.delivered == 0, "{report:?}");
        story.world.clock.advance_ms(50_000);
        assert_eq!(run(&story.redelivery).await.delivered, 0);
        story.world.clock.advance_ms(5_001);
        assert_eq!(run(&story.redelivery).await.delivered, EVENTS);
        assert_eq!(story.in_stripe().await, (EVENTS as u64, EVENTS as u64));
        assert_eq!(story.outbox_length().await, 0, "leases are left");
    }
}

#[tokio::test]
async fn a_process_that_saw_nothing_waits_as_long_as_clocks_may_differ() {
    let story = due().await;
    killed(&story, &story.another(story.world.clock())).await;
    let report_of_a_new_process = async || run(&story.another(story.world.clock())).await;
    story.world.clock.advance_ms(55_000 + 5 * MINUTE_MS - 1);
    assert_eq!(report_of_a_new_process().await.delivered, 0);
    story.world.clock.advance_ms(2);
    assert_eq!(report_of_a_new_process().await.delivered, EVENTS);
}

#[tokio::test]
async fn a_process_goes_on_with_what_its_own_run_left() {
    let story = due().await;
    killed(&story, &story.redelivery).await;
    assert_eq!(run(&story.redelivery).await.delivered, EVENTS);
}
