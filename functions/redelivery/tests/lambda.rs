//! The program, run as Lambda runs it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../emission/tests/support/mod.rs"]
mod support;

use serde_json::json;
use support::lambda::invoke;
use support::world::World;

#[tokio::test]
async fn the_schedules_event_is_answered_with_a_report() {
    let world = World::start().await;
    let variables = world.stripe_variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let event = include_str!("../../../events/redelivery.json");
    let event = serde_json::from_str(event).unwrap();
    let program = env!("CARGO_BIN_EXE_redelivery");
    let answer = invoke(program, &world.tables.url, &variables, &event).await;
    let report = json!({
        "delivered": 0, "pending": 0, "rejected": 0, "quarantined": 0,
        "unreadable": 0, "leased": 0, "stale": 0, "oldest_pending_ms": 0,
    });
    assert_eq!(answer, Ok(report));
}
