//! Stories of `POST /v1/usage/batch`.

use billing::{CustomerId, UsageStatus};
use ledger::Scope;
use serde_json::{Value, json};

use crate::story::{Story, problem};

fn counts(answer: &Value) -> [u64; 4] {
    ["delivered", "pending", "duplicates", "rejected"].map(|name| answer[name].as_u64().unwrap())
}

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["status"].as_str().unwrap())
        .collect()
}

fn batch(events: impl IntoIterator<Item = Value>) -> Value {
    json!({ "events": events.into_iter().collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_hundred_events_are_one_request_to_stripe() {
    let story = Story::start().await;
    // A second request to the stream would fail.
    let world = &story.world;
    world
        .break_stripe(json!({
            "kind": "error_before", "status": 503, "skip": 1, "times": 9,
            "path_prefix": "/v2/billing/meter_event_stream",
        }))
        .await;
    // Every byte of every id is escaped: the largest body that is valid.
    let id = |n: u64| format!("{n:03}{}", "\u{1}".repeat(252));
    let body = batch((0..100).map(|n| story.event(&id(n), n + 1)));
    assert!(body.to_string().len() > 150_000);
    let (status, answer) = story.emit_batch(&body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(counts(&answer), [100, 0, 0, 0]);
    for (n, result) in (0..).zip(answer["results"].as_array().unwrap()) {
        assert_eq!(result["event_id"], id(n));
        assert_eq!(result["quantity"], n + 1);
    }
    assert_eq!(story.in_stripe().await, (100, 5_050));
}

#[tokio::test]
async fn one_bad_event_spoils_no_other() {
    let story = Story::start().await;
    let mut fractional = story.event("fractional", 1);
    fractional["quantity"] = json!(0.5);
    let mut unknown_customer = story.event("unknown-customer", 1);
    unknown_customer["customer_id"] = json!("cus_nobody");
    let mut nameless = story.event("", 1);
    nameless.as_object_mut().unwrap().remove("event_id");
    let (status, answer) = story
        .emit_batch(&batch([
            story.event("first", 1),
            fractional,
            unknown_customer,
            nameless,
            json!("not an event"),
            story.event("last", 2),
        ]))
        .await;
    assert_eq!(status, 200);
    assert_eq!(counts(&answer), [2, 0, 0, 4]);
    assert_eq!(statuses(&answer)[0], "delivered");
    assert_eq!(statuses(&answer)[1..5], ["invalid"; 4]);
    assert_eq!(statuses(&answer)[5], "delivered");
    let results = &answer["results"];
    assert_eq!(results[1]["event_id"], "fractional");
    assert_eq!(results[1]["error"]["field"], "quantity");
    assert_eq!(results[2]["error"]["type"], problem("customer-not-found"));
    assert_eq!(results[3]["error"]["field"], "event_id");
    assert_eq!(results[3].get("event_id"), None);
    assert_eq!(story.in_stripe().await, (2, 3));
}

#[tokio::test]
async fn an_id_that_comes_twice_in_a_batch_counts_once() {
    let story = Story::start().await;
    let (_, answer) = story
        .emit_batch(&batch([
            story.event("job-1", 3),
            story.event("job-1", 3),
            story.event("job-1", 4),
            story.event("job-2", 1),
        ]))
        .await;
    assert_eq!(
        statuses(&answer),
        ["delivered", "delivered", "conflict", "delivered"]
    );
    assert_eq!(counts(&answer), [2, 0, 1, 1]);
    assert_eq!(answer["results"][0]["duplicate"], false);
    assert_eq!(answer["results"][1]["duplicate"], true);
    assert_eq!(answer["results"][2]["error"]["type"], problem("conflict"));
    assert_eq!(story.in_stripe().await, (2, 4));
}

#[tokio::test]
async fn a_batch_that_stripe_does_not_take_is_durable_and_sent_by_the_next_call() {
    let story = Story::start().await;
    let body = batch([
        story.event("job-1", 1),
        story.event("job-1", 1),
        story.event("job-2", 2),
    ]);
    story.world.break_stream(503, 3).await;
    let (status, answer) = story.emit_batch(&body).await;
    assert_eq!((status, counts(&answer)), (200, [0, 3, 0, 0]));
    story.world.assert_faults_are_used_up().await;
    let (_, answer) = story.emit_batch(&body).await;
    assert_eq!(counts(&answer), [0, 0, 3, 0]);
    assert_eq!(story.in_stripe().await, (2, 3));
}

#[tokio::test]
async fn events_for_customers_of_others_are_refused_one_by_one() {
    let mut story = Story::start().await;
    let mine = story.customer.customer_id.clone();
    story.key = story
        .world
        .api_key(vec![Scope::Emit], Some(vec![mine]))
        .await;
    let other = story.world.onboard(None).await;
    let mut theirs = story.event("job-1", 1);
    theirs["customer_id"] = json!(other.customer_id);
    let (status, answer) = story
        .emit_batch(&batch([theirs, story.event("job-1", 1)]))
        .await;
    assert_eq!((status, counts(&answer)), (200, [1, 0, 0, 1]));
    assert_eq!(answer["results"][0]["error"]["type"], problem("forbidden"));
    let their_id: &CustomerId = &other.customer_id;
    assert_eq!(story.world.in_stripe(their_id).await, (0, 0));
}

#[tokio::test]
async fn only_a_list_of_one_to_a_hundred_is_a_batch() {
    let story = Story::start().await;
    let too_many = batch((0..101).map(|n| story.event(&format!("job-{n}"), 1)));
    for body in [batch([]), too_many, json!({}), json!({ "events": "all" })] {
        let (status, answer) = story.emit_batch(&body).await;
        assert_eq!((status, &answer["field"]), (400, &json!("events")));
    }
    assert_eq!(story.status_in_log("job-0").await, None);
    let huge = batch([story.event(&"x".repeat(300_000), 1)]);
    assert_eq!(story.emit_batch(&huge).await.0, 413);
}

#[tokio::test]
async fn a_batch_and_single_calls_share_one_set_of_ids() {
    let story = Story::start().await;
    story.emit(&story.event("job-1", 1)).await;
    story.emit(&story.event("job-2", 1)).await;
    story
        .move_to("job-2", UsageStatus::Delivered, UsageStatus::Voided)
        .await;
    let (_, answer) = story
        .emit_batch(&batch([
            story.event("job-1", 1),
            story.event("job-2", 1),
            story.event("job-3", 1),
        ]))
        .await;
    assert_eq!(statuses(&answer), ["delivered", "voided", "delivered"]);
    assert_eq!(counts(&answer), [1, 0, 1, 1]);
}
