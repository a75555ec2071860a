//! The program, run as Lambda runs it.

use serde_json::json;

use crate::support::lambda::{Answered, invoke};
use crate::support::world::World;

/// What the program answers to the schedule's event, with `more` in its environment.
async fn answer(world: &World, more: &[(&'static str, &str)]) -> Answered {
    let variables = world.stripe_variables();
    let variables = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let variables: Vec<(&str, &str)> = variables.chain(more.iter().copied()).collect();
    let event = include_str!("../../../events/redelivery.json");
    let event = serde_json::from_str(event).unwrap();
    let program = env!("CARGO_BIN_EXE_redelivery");
    invoke(program, &world.tables.url, &variables, &event).await
}

fn nothing_to_do() -> Answered {
    Ok(json!({
        "delivered": 0, "pending": 0, "rejected": 0, "quarantined": 0,
        "unreadable": 0, "leased": 0, "stale": 0, "oldest_pending_ms": 0,
        "limits": {
            "looked": 0, "raised": 0, "resolved": 0, "untold": 0, "expired": 0, "failed": 0,
        },
    }))
}

#[tokio::test]
async fn the_schedules_event_is_answered_with_a_report() {
    let world = World::start().await;
    assert_eq!(answer(&world, &[]).await, nothing_to_do());
}

/// As the template sets them, where mails and the webhook are on.
#[tokio::test]
async fn with_other_ways_for_notifications_on_it_answers_the_same() {
    let world = World::start().await;
    let more = [
        ("NOTIFICATION_CHANNELS", "email,webhook"),
        (
            "NOTIFICATION_SETTINGS",
            r#"{"email":{"from":"billing@example.com"},"webhook":{"url":"https://hooks.example.com/"}}"#,
        ),
        (
            "NOTIFICATION_WEBHOOK_SECRET",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ),
    ];
    assert_eq!(answer(&world, &more).await, nothing_to_do());
}

#[tokio::test]
async fn settings_of_notifications_that_are_missing_stop_no_usage() {
    let world = World::start().await;
    let more = [("NOTIFICATION_CHANNELS", "email,webhook")];
    assert_eq!(answer(&world, &more).await, nothing_to_do());
}
