//! Stories of `POST /v1/usage`, against a real DynamoDB wire protocol and a
//! simulated Stripe.

use billing::{CustomerId, UsageStatus};
use ledger::{CustomerRow, CustomerStatus, Scope};
use serde_json::json;

use crate::story::{HOUR_MS, Story, problem};
use crate::support::world::World;

#[tokio::test]
async fn usage_is_recorded_once_and_in_stripe_when_the_answer_comes() {
    let story = Story::start().await;
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer,
        json!({
            "event_id": "job-1", "status": "delivered", "duplicate": false,
            "quantity": 3, "customer_status": "active",
        })
    );
    assert_eq!(story.in_stripe().await, (1, 3));
    assert_eq!(
        story.status_in_log("job-1").await,
        Some(UsageStatus::Delivered)
    );
}

#[tokio::test]
async fn a_repeat_sends_nothing_and_says_so() {
    let story = Story::start().await;
    story.emit(&story.event("job-1", 3)).await;
    // A request that reached Stripe now would fail.
    story.world.break_stream(500, 9).await;
    for _ in 0..2 {
        let (status, answer) = story.emit(&story.event("job-1", 3)).await;
        assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
        assert_eq!(answer["duplicate"], true);
    }
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict() {
    let story = Story::start().await;
    story.emit(&story.event("job-1", 3)).await;
    let mut other_action = story.event("job-1", 3);
    other_action["action_type"] = json!("page_read");
    let mut timed = story.event("job-1", 3);
    timed["occurred_at"] = json!(story.world.now().to_string());
    for body in [story.event("job-1", 4), other_action, timed] {
        let (status, answer) = story.emit(&body).await;
        assert_eq!((status, &answer["type"]), (409, &problem("conflict")));
    }
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn the_same_id_of_another_customer_is_another_event() {
    let story = Story::start().await;
    let other = story.world.onboard(None).await;
    story.emit(&story.event("job-1", 3)).await;
    let mut body = story.event("job-1", 4);
    body["customer_id"] = json!(other.customer_id);
    let (status, answer) = story.emit(&body).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)));
    assert_eq!(story.world.in_stripe(&other.customer_id).await, (1, 4));
}

#[tokio::test]
async fn while_stripe_is_down_usage_is_durable_and_the_next_call_takes_it_over() {
    let story = Story::start().await;
    story.world.break_stream(503, 3).await;
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("pending")));
    story.world.assert_faults_are_used_up().await;
    assert_eq!(story.in_stripe().await, (0, 0));

    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
    assert_eq!(answer["duplicate"], true);
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn a_lost_answer_of_stripe_counts_once() {
    let story = Story::start().await;
    story
        .world
        .break_stripe(json!({
            "kind": "lose_answer", "times": 3,
            "path_prefix": "/v2/billing/meter_event_stream",
        }))
        .await;
    let (status, _) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 202);
    story.world.assert_faults_are_used_up().await;
    assert_eq!(story.in_stripe().await, (1, 3));
    let (status, _) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 200);
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn a_refused_key_of_ours_rejects_no_usage() {
    let story = Story::start().await;
    for status in [401, 403, 404, 400] {
        story.world.break_stream(status, 9).await;
        let event_id = format!("job-{status}");
        let (answered, _) = story.emit(&story.event(&event_id, 1)).await;
        assert_eq!(answered, 202, "{status}");
        story.world.repair_stripe().await;
        let (answered, _) = story.emit(&story.event(&event_id, 1)).await;
        assert_eq!(answered, 200, "{status}");
    }
    assert_eq!(story.in_stripe().await, (4, 4));
}

#[tokio::test]
async fn past_the_send_window_a_repeat_is_quarantined_and_not_sent() {
    let story = Story::start().await;
    story.world.break_stream(503, 3).await;
    story.emit(&story.event("job-1", 3)).await;
    story.world.clock.advance_ms(23 * HOUR_MS);
    for _ in 0..2 {
        let (status, answer) = story.emit(&story.event("job-1", 3)).await;
        assert_eq!((status, &answer["status"]), (202, &json!("quarantined")));
    }
    assert_eq!(story.in_stripe().await, (0, 0));
    let (status, _) = story.emit(&story.event("job-1", 4)).await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn every_settled_status_answers_its_repeat() {
    let story = Story::start().await;
    for (to, status, kind) in [
        (UsageStatus::Rejected, 422, "rejected"),
        (UsageStatus::Voiding, 409, "voided"),
        (UsageStatus::Voided, 409, "voided"),
    ] {
        let event_id = to.as_str();
        story.emit(&story.event(event_id, 1)).await;
        story.move_to(event_id, UsageStatus::Delivered, to).await;
        let (answered, answer) = story.emit(&story.event(event_id, 1)).await;
        assert_eq!((answered, &answer["type"]), (status, &problem(kind)));
    }
    let after_the_end = story.event("too-late", 1);
    let ended = CustomerRow {
        subscription_ends_at: Some(story.world.now().plus_ms(-1)),
        ..story.customer.clone()
    };
    let ledger = &story.world.ledger;
    ledger
        .update_customer(&story.customer, ended)
        .await
        .unwrap();
    story.world.clock.advance_ms(11_000);
    for duplicate in [false, true] {
        let (status, answer) = story.emit(&after_the_end).await;
        assert_eq!((status, &answer["status"]), (202, &json!("held")));
        assert_eq!(answer["duplicate"], duplicate);
    }
}

#[tokio::test]
async fn a_suspended_customers_usage_is_taken_and_its_status_told() {
    let story = Story::start().await;
    let suspended = CustomerRow {
        status: CustomerStatus::Suspended,
        ..story.customer.clone()
    };
    let ledger = &story.world.ledger;
    ledger
        .update_customer(&story.customer, suspended)
        .await
        .unwrap();
    let (status, answer) = story.emit(&story.event("job-1", 1)).await;
    assert_eq!(status, 200);
    assert_eq!(answer["customer_status"], "suspended");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_recorded() {
    let story = Story::start().await;
    let now = story.world.now();
    for (field, value) in [
        ("quantity", json!(1.5)),
        ("quantity", json!(-1)),
        ("quantity", json!("3")),
        ("quantity", json!(1e300)),
        ("quantitiy", json!(1)),
        ("occurred_at", json!(now.plus_ms(6 * 60_000).to_string())),
        (
            "occurred_at",
            json!(now.plus_ms(-35 * 24 * HOUR_MS).unix_s()),
        ),
        ("subscription_item_id", json!("si_of_somebody_else")),
    ] {
        let mut body = story.event("job-1", 1);
        body[field] = value;
        let (status, answer) = story.emit(&body).await;
        assert_eq!(status, 400, "{body} {answer}");
        assert_eq!(answer["type"], problem("invalid-field"));
        assert_eq!(answer["field"], field);
    }
    let mut unknown = story.event("job-1", 1);
    unknown["customer_id"] = json!("cus_nobody");
    let (status, answer) = story.emit(&unknown).await;
    assert_eq!(
        (status, &answer["type"]),
        (404, &problem("customer-not-found"))
    );
    assert_eq!(story.status_in_log("job-1").await, None);
}

#[tokio::test]
async fn an_old_event_repeated_is_a_duplicate_not_a_refusal() {
    let story = Story::start().await;
    let mut body = story.event("job-1", 1);
    body["occurred_at"] = json!(story.world.now().unix_s());
    let (status, answer) = story.emit(&body).await;
    assert_eq!(status, 200, "{answer}");
    story.world.clock.advance_ms(40 * 24 * HOUR_MS);
    let (status, answer) = story.emit(&body).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)));
}

#[tokio::test]
async fn the_idempotency_key_header_can_be_the_event_id() {
    let story = Story::start().await;
    let mut body = story.event("", 2);
    body.as_object_mut().unwrap().remove("event_id");
    let header = [("idempotency-key", "key-1")];
    let (status, answer) = story.emit_with(&body, &header).await;
    assert_eq!((status, &answer["event_id"]), (200, &json!("key-1")));
    let (_, answer) = story.emit_with(&body, &header).await;
    assert_eq!(answer["duplicate"], true);
    assert_eq!(story.emit(&body).await.0, 400);
}

#[tokio::test]
async fn only_a_key_for_the_customer_may_emit() {
    let mut story = Story::start().await;
    let mine = story.customer.customer_id.clone();
    let theirs = CustomerId::parse("cus_other").unwrap();
    for (scopes, customers, status) in [
        (vec![Scope::Emit], Some(vec![mine.clone()]), 200),
        (vec![Scope::Emit], Some(vec![theirs]), 403),
        (vec![Scope::Read], None, 403),
        (vec![Scope::Admin], None, 200),
    ] {
        story.key = story.world.api_key(scopes, customers).await;
        assert_eq!(story.emit(&story.event("job-1", 1)).await.0, status);
    }
    story.key = "mk_0011223344556677_00".to_owned();
    assert_eq!(story.emit(&story.event("job-1", 1)).await.0, 401);
}

#[tokio::test]
async fn a_customer_on_a_test_clock_lives_in_its_time() {
    let world = World::start().await;
    let frozen_at = world.now().plus_ms(-10 * 24 * HOUR_MS);
    let test_clock = world
        .stripe
        .create_test_clock(frozen_at.unix_s(), "story", &stripe::RequestOptions::new())
        .await
        .unwrap();
    let customer = world.onboard(Some(&test_clock.id)).await;
    let story = Story::of(world, customer).await;
    let (status, answer) = story.emit(&story.event("job-1", 1)).await;
    assert_eq!(status, 200, "{answer}");
    let ledger = &story.world.ledger;
    let row = ledger.usage_event(&story.identifier("job-1")).await;
    let row = row.unwrap().unwrap();
    assert_eq!(row.occurred_at.unix_s(), frozen_at.unix_s());
    assert_eq!(row.recorded_at, story.world.now());
    // The present of everybody else lies ten days ahead of this customer's.
    let mut ahead = story.event("job-2", 1);
    ahead["occurred_at"] = json!(story.world.now().unix_s());
    let (status, answer) = story.emit(&ahead).await;
    assert_eq!((status, &answer["field"]), (400, &json!("occurred_at")));
}
