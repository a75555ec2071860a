//! An emission that is cut off at every step in turn: the same call again ends
//! it, and Stripe counts it once.

use billing::UsageStatus;
use serde_json::json;

use crate::story::{Story, problem};
use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;
use crate::support::world::World;

/// Emission with a way to its tables on which answers can be lost.
async fn a_story(retries: bool) -> (Story, Lossy) {
    let world = World::start().await;
    let customer = world.onboard(None).await;
    let lossy = Lossy::start(&world.tables.url).await;
    let tables = if retries {
        Tables::with_retries(&lossy.url)
    } else {
        Tables::at(&lossy.url)
    };
    let story = Story::served_with(tables.ledger, world, customer).await;
    (story, lossy)
}

#[tokio::test]
async fn cut_off_at_any_step_the_same_call_finishes_it_once() {
    let (story, lossy) = a_story(false).await;
    for (n, (operation, loss, cut_off, stored, is_known)) in [
        // Nothing was recorded, or perhaps: the caller cannot tell.
        ("PutItem", Loss::Request, 503, None, false),
        (
            "PutItem",
            Loss::Answer,
            503,
            Some(UsageStatus::Pending),
            true,
        ),
        // Stripe has it, and the log does not know, or the call does not.
        (
            "UpdateItem",
            Loss::Request,
            202,
            Some(UsageStatus::Pending),
            true,
        ),
        (
            "UpdateItem",
            Loss::Answer,
            202,
            Some(UsageStatus::Delivered),
            true,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let event_id = format!("job-{n}");
        let body = story.event(&event_id, 1);
        lossy.lose(operation, loss);
        let (status, answer) = story.emit(&body).await;
        assert_eq!(status, cut_off, "{operation} {loss:?} {answer}");
        lossy.assert_all_lost();
        assert_eq!(story.status_in_log(&event_id).await, stored);

        let (status, answer) = story.emit(&body).await;
        assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
        assert_eq!(answer["duplicate"], is_known, "{operation} {loss:?}");
        assert_eq!(
            story.status_in_log(&event_id).await,
            Some(UsageStatus::Delivered)
        );
        let once = n as u64 + 1;
        assert_eq!(story.in_stripe().await, (once, once));
    }
}

#[tokio::test]
async fn a_put_that_the_sdk_repeats_knows_its_own_row() {
    let (story, lossy) = a_story(true).await;
    lossy.lose("PutItem", Loss::Answer);
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    lossy.assert_all_lost();
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)));
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn an_update_that_the_sdk_repeats_is_no_surprise() {
    let (story, lossy) = a_story(true).await;
    lossy.lose("UpdateItem", Loss::Answer);
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    lossy.assert_all_lost();
    assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn in_a_batch_only_the_event_that_is_cut_off_is_unknown() {
    let (story, lossy) = a_story(false).await;
    let events: Vec<_> = (0..5)
        .map(|n| story.event(&format!("job-{n}"), 1))
        .collect();
    let body = json!({ "events": events });
    lossy.lose("PutItem", Loss::Answer);
    let (status, answer) = story.emit_batch(&body).await;
    lossy.assert_all_lost();
    assert_eq!((status, &answer["delivered"]), (200, &json!(4)));
    let results = answer["results"].as_array().unwrap();
    let unknown = results.iter().find(|result| result["status"] == "unknown");
    assert_eq!(unknown.unwrap()["error"]["type"], problem("unavailable"));

    let (_, answer) = story.emit_batch(&body).await;
    assert_eq!(answer["duplicates"], 5);
    assert_eq!(story.in_stripe().await, (5, 5));
}

#[tokio::test]
async fn many_calls_at_once_with_one_id_count_once() {
    let (story, _) = a_story(false).await;
    let body = story.event("job-1", 3);
    let calls = (0..8).map(|_| story.emit(&body));
    for (status, answer) in metering::in_order(calls.collect(), 8).await {
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(story.in_stripe().await, (1, 3));
}
