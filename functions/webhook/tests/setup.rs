//! Stories of people who enter a payment method: Stripe tells, and the
//! onboarding that waited is finished without anybody asking for it.

use ledger::CustomerStatus;
use reqwest::Method;
use serde_json::{Value, json};
use stripe::ListSubscriptions;

use crate::story::Story;
use crate::support::catalog::TOKENS;
use crate::support::world::{Answer, METER_EVENT_NAME, send};

fn by_checkout() -> Value {
    json!({
        "email": "ada@example.com", "external_id": "acme", "trial_period_days": 14,
        "metadata": { "team": "north" },
        "checkout": { "success_url": "https://agent.example/done" },
    })
}

async fn onboard(story: &Story, body: &Value) -> Answer {
    let url = format!("{}/v1/customers", story.onboarding_url);
    send(story.world.request(Method::POST, &url).json(body)).await
}

async fn fill_in(story: &Story, waits: &Value) {
    let session = waits["checkout_url"].as_str().unwrap();
    let session = session.rsplit('/').next().unwrap();
    let path = format!("/_simulator/checkout_sessions/{session}/complete");
    let filled = story.world.tell_simulator(&path, &json!({})).await;
    filled.expect(200);
}

async fn subscriptions_count(story: &Story) -> usize {
    let all = ListSubscriptions::default();
    let all = story.world.stripe.list_all_subscriptions(&all).await;
    all.unwrap().data.len()
}

#[tokio::test]
async fn whoever_completes_checkout_is_a_customer_by_stripes_word() {
    let story = Story::start().await;
    let waits = onboard(&story, &by_checkout()).await.expect(202);
    let customer_id = waits["customer_id"].as_str().unwrap();
    fill_in(&story, &waits).await;
    story.world.settle().await;
    let row = story.world.customer(customer_id).await;
    assert_eq!(row.status, CustomerStatus::Active);
    assert_eq!(row.external_id.as_deref(), Some("acme"));
    let subscription = story
        .world
        .stripe
        .retrieve_subscription(&row.subscription_id);
    let subscription = subscription.await.unwrap();
    assert_eq!(subscription.status, "trialing", "the terms were kept");
    assert_eq!(subscription.metadata["team"], "north");

    // The caller who comes back finds it done.
    let done = onboard(&story, &by_checkout()).await.expect(201);
    assert_eq!(done["subscription_id"], row.subscription_id.as_str());
    assert_eq!(subscriptions_count(&story).await, 1);
}

#[tokio::test]
async fn whoever_waited_subscribes_to_the_catalog_of_the_day() {
    let story = Story::start().await;
    let waits = onboard(&story, &by_checkout()).await.expect(202);
    let customer_id = waits["customer_id"].as_str().unwrap();
    story.world.start_catalog().await;
    fill_in(&story, &waits).await;
    story.world.settle().await;
    let names = story.world.agreed_items(customer_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
    let done = onboard(&story, &by_checkout()).await.expect(201);
    assert_eq!(done["subscription_items"][1]["meter_event_name"], TOKENS);
    assert_eq!(subscriptions_count(&story).await, 1);
}

#[tokio::test]
async fn an_event_that_comes_late_finds_all_done() {
    let story = Story::start().await;
    let waits = onboard(&story, &by_checkout()).await.expect(202);
    fill_in(&story, &waits).await;
    let done = onboard(&story, &by_checkout()).await.expect(201);
    story.world.settle().await;
    assert_eq!(onboard(&story, &by_checkout()).await.expect(201), done);
    assert_eq!(subscriptions_count(&story).await, 1);
}

#[tokio::test]
async fn stripe_is_asked_to_tell_again_where_it_fails_meanwhile() {
    let story = Story::start().await;
    let waits = onboard(&story, &by_checkout()).await.expect(202);
    fill_in(&story, &waits).await;
    // The attempts under one key: Stripe forgets such an error, so no other key is tried.
    let fault = json!({
        "kind": "error_before", "status": 503, "method": "POST",
        "path_prefix": "/v1/subscriptions", "times": 3,
    });
    story.world.break_stripe(&fault).await;
    story.world.settle().await;
    assert_eq!(story.world.repair_stripe().await, 3);
    assert_eq!(subscriptions_count(&story).await, 0);
    story.world.clock.advance_ms(crate::support::world::DAY_MS);
    story.world.settle().await;
    let row = story
        .world
        .customer(waits["customer_id"].as_str().unwrap())
        .await;
    assert_eq!(row.status, CustomerStatus::Active);
    assert_eq!(subscriptions_count(&story).await, 1);
}

#[tokio::test]
async fn a_setup_of_nobody_here_is_acknowledged() {
    let story = Story::start().await;
    let customer = story
        .world
        .stripe_form("/v1/customers", "email=bob@example.com")
        .await;
    let customer_id = customer["id"].as_str().unwrap();
    let form = format!("customer={customer_id}&payment_method=pm_card_visa&confirm=true");
    story.world.stripe_form("/v1/setup_intents", &form).await;
    story
        .world
        .stripe_form(
            "/v1/setup_intents",
            "payment_method=pm_card_visa&confirm=true",
        )
        .await;
    let settled = story.world.settle().await;
    assert_eq!(settled["failed"], 0, "{settled}");
    assert_eq!(subscriptions_count(&story).await, 0);
}
