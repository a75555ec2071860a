//! Emission by each of Stripe's APIs for usage: one event, and a batch.

use billing::{EventId, Identifier, UsageStatus};
use serde_json::{Value, json};
use stripe::UsageApi;

use crate::story::Story;
use crate::support::world::{World, stripe_client};

async fn story_of(usage_api: UsageApi) -> Story {
    let world = World::with_usage_api(usage_api).await;
    let customer = world.onboard(None).await;
    Story::of(world, customer).await
}

/// The id of the usage record, in an answer and in a repeat's.
async fn record_ids(story: &Story) -> [Value; 2] {
    let (status, first) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!((status, &first["status"]), (200, &json!("delivered")));
    let (_, again) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(again["duplicate"], true);
    [first, again].map(|answer| answer["stripe_record_id"].clone())
}

#[tokio::test]
async fn one_event_is_in_stripe_when_the_answer_comes() {
    for usage_api in UsageApi::ALL {
        let story = story_of(usage_api).await;
        let [record_id, again] = record_ids(&story).await;
        assert_eq!(record_id, again);
        if usage_api == UsageApi::UsageRecord {
            assert!(record_id.as_str().unwrap().starts_with("mbur_"));
            let customer_id = &story.customer.customer_id;
            let identifier = Identifier::of(customer_id, &EventId::parse("job-1").unwrap());
            let row = story.world.ledger.usage_event(&identifier).await;
            let row = row.unwrap().unwrap();
            assert_eq!(record_id, json!(row.stripe_record_id));
            let item_id = &story.customer.item.subscription_item_id;
            assert_eq!(row.subscription_item_id.as_ref(), Some(item_id));
        } else {
            assert_eq!(record_id, Value::Null, "{usage_api}");
        }
        assert_eq!(story.in_stripe().await, (1, 3), "{usage_api}");
    }
}

#[tokio::test]
async fn a_batch_has_an_outcome_for_each_event() {
    for usage_api in UsageApi::ALL {
        let story = story_of(usage_api).await;
        story.emit(&story.event("job-0", 1)).await;
        let mut events: Vec<Value> = (0..20)
            .map(|n| story.event(&format!("job-{n}"), 1))
            .collect();
        events[7]["quantity"] = json!(0);
        let (status, answer) = story.emit_batch(&json!({ "events": events })).await;
        assert_eq!(status, 200, "{answer}");
        let counts = ["delivered", "pending", "duplicates", "rejected"]
            .map(|count| answer[count].as_u64().unwrap());
        assert_eq!(counts, [18, 0, 1, 1], "{usage_api}: {answer}");
        assert_eq!(story.in_stripe().await, (19, 19), "{usage_api}");
    }
}

#[tokio::test]
async fn what_the_call_that_records_it_hears_refused_is_rejected() {
    let story = story_of(UsageApi::MeterEvent).await;
    let meter_id = &story.customer.item.meter_id;
    let path = format!("/v1/billing/meters/{meter_id}/deactivate");
    story.world.post_to_stripe(&path).await;
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(
        (status, &answer["stripe_code"]),
        (422, &json!("archived_meter"))
    );
    let rejected = Some(UsageStatus::Rejected);
    assert_eq!(story.status_in_log("job-1").await, rejected);

    // Stripe may have taken this one before it was refused.
    story
        .world
        .break_stripe(json!({
            "kind": "error_before", "status": 503, "times": 3,
            "path_prefix": "/v1/billing/meter_events",
        }))
        .await;
    let (status, answer) = story.emit(&story.event("job-2", 3)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("pending")));
    let (status, answer) = story.emit(&story.event("job-2", 3)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("quarantined")));
}

#[tokio::test]
async fn usage_that_the_customers_price_does_not_take_is_not_recorded() {
    let mut world = World::with_usage_api(UsageApi::UsageRecord).await;
    let customer = world.onboard(None).await;
    let [(_, url), ..] = world.stripe_variables();
    world.stripe = stripe_client(&url);
    let story = Story::of(world, customer).await;
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 500, "{answer}");
    assert!(
        answer["detail"].as_str().unwrap().contains("USAGE_API"),
        "{answer}"
    );
    assert_eq!(story.status_in_log("job-1").await, None);
}
