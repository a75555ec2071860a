//! Stories of customers who subscribe to the prices of a catalog.

use reqwest::Method;
use serde_json::{Value, json};
use stripe::{ListCustomers, ListSubscriptions};

use crate::support::catalog::{PRICE_OF_TOKENS, PriceOf, TOKENS, TOKENS_LOOKUP_KEY};
use crate::support::world::{Answer, DAY_MS, METER_EVENT_NAME, World, a_customer, send};

struct Story {
    world: World,
    url: String,
}

impl Story {
    async fn start() -> Self {
        let world = World::start().await;
        let url = crate::service::serve(&world).await;
        Self { world, url }
    }

    async fn onboard(&self, body: &Value) -> Answer {
        let url = format!("{}/v1/customers", self.url);
        send(self.world.request(Method::POST, &url).json(body)).await
    }

    async fn customers_count(&self) -> usize {
        let all = ListCustomers::default();
        let all = self.world.stripe.list_all_customers(&all).await;
        all.unwrap().data.len()
    }

    async fn subscriptions_count(&self) -> usize {
        let all = ListSubscriptions::default();
        let all = self.world.stripe.list_all_subscriptions(&all).await;
        all.unwrap().data.len()
    }

    /// Why nobody can be onboarded, and nothing was made.
    async fn refusal(&self) -> String {
        let refused = self.onboard(&a_customer("acme")).await;
        assert_eq!(refused.problem(500), "internal");
        assert_eq!(self.customers_count().await, 0);
        refused.json()["detail"].as_str().unwrap().to_owned()
    }
}

fn customer_id(answer: &Value) -> &str {
    answer["customer_id"].as_str().unwrap()
}

#[tokio::test]
async fn a_customer_subscribes_to_the_price_of_each_meter() {
    let story = Story::start().await;
    let tokens_price = story.world.start_catalog().await;
    let first = story.onboard(&a_customer("acme")).await.expect(201);
    let names = story.world.agreed_items(customer_id(&first)).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
    let row = story.world.customer(customer_id(&first)).await;
    let tokens = row.item_of_meter(TOKENS).unwrap();
    assert_eq!(tokens.price.to_string(), "0.000004 usd a unit");
    assert_eq!(first["subscription_item_id"], row.item.subscription_item_id);
    assert_eq!(
        first["subscription_items"],
        json!([
            {
                "subscription_item_id": row.item.subscription_item_id,
                "price_id": row.item.price_id, "meter_event_name": METER_EVENT_NAME,
            },
            {
                "subscription_item_id": tokens.subscription_item_id,
                "price_id": tokens_price, "meter_event_name": TOKENS,
            },
        ])
    );
    // Who is onboarded stays as it is; who comes later gets what is new.
    let (_, tokens) = story.world.metered_price(&PRICE_OF_TOKENS).await;
    story.world.store_catalog(&[tokens]).await;
    assert_eq!(story.onboard(&a_customer("acme")).await.expect(201), first);
    let later = story.onboard(&a_customer("later")).await.expect(201);
    let names = story.world.agreed_items(customer_id(&later)).await;
    assert_eq!(names, [TOKENS]);
}

#[tokio::test]
async fn the_configured_price_is_the_first_items_wherever_the_catalog_has_it() {
    let story = Story::start().await;
    let (_, tokens) = story.world.metered_price(&PRICE_OF_TOKENS).await;
    let operations = story.world.operations().await;
    story.world.store_catalog(&[tokens, operations]).await;
    let onboarded = story.onboard(&a_customer("acme")).await.expect(201);
    let names = story.world.agreed_items(customer_id(&onboarded)).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
}

#[tokio::test]
async fn a_catalog_that_no_subscription_can_have_makes_nobody() {
    for (price, told) in [
        (
            PriceOf {
                currency: "eur",
                ..PRICE_OF_TOKENS
            },
            r#""llm_tokens_monthly" is for eur, and "agent_operations_monthly" for usd"#,
        ),
        (
            PriceOf {
                interval: "year",
                ..PRICE_OF_TOKENS
            },
            r#"is for 1 year, and "agent_operations_monthly" for 1 month"#,
        ),
        (
            PriceOf {
                event_name: "pages",
                ..PRICE_OF_TOKENS
            },
            "bills pages, and in the catalog it is the price of llm_tokens",
        ),
    ] {
        let story = Story::start().await;
        let (_, mut tokens) = story.world.metered_price(&price).await;
        tokens.event_name = TOKENS.to_owned();
        let operations = story.world.operations().await;
        story.world.store_catalog(&[operations, tokens]).await;
        let refusal = story.refusal().await;
        assert!(refusal.contains(told), "{refusal}");
        assert!(refusal.contains("its operator must run"), "{refusal}");
    }
    let story = Story::start().await;
    let mut unknown = story.world.operations().await;
    unknown.lookup_key = TOKENS_LOOKUP_KEY.to_owned();
    story.world.store_catalog(&[unknown]).await;
    let refusal = story.refusal().await;
    assert!(refusal.contains("does not exist in Stripe"), "{refusal}");
}

#[tokio::test]
async fn a_subscription_has_room_for_twenty_prices() {
    let story = Story::start().await;
    story.world.start_catalog().await;
    let mut body = a_customer("acme");
    body["additional_prices"] = json!(vec!["price_1"; 19]);
    let refused = story.onboard(&body).await.expect(400);
    assert_eq!(refused["field"], "additional_prices");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("at most 18"), "{detail}");
    assert_eq!(story.customers_count().await, 0);
}

/// Stripe's answers get lost, or Stripe fails, at each call in turn: whatever
/// was done by then, the repeat makes one customer with one subscription that
/// has each price once.
async fn a_crash_at_each_step(kind: &str, then_pass_ms: i64) {
    let story = Story::start().await;
    story.world.start_catalog().await;
    let mut crashes = 0;
    loop {
        let fault = json!({ "kind": kind, "skip": crashes, "times": 1, "path_prefix": "/v1/" });
        story.world.break_stripe(&fault).await;
        let body = a_customer(&format!("{kind} {crashes}"));
        let first = story.onboard(&body).await;
        if story.world.repair_stripe().await == 0 {
            first.expect(201);
            break;
        }
        story.world.clock.advance_ms(then_pass_ms);
        story.world.settle().await;
        let second = story.onboard(&body).await.expect(201);
        assert_eq!(story.onboard(&body).await.expect(201), second);
        let names = story.world.agreed_items(customer_id(&second)).await;
        assert_eq!(names, [METER_EVENT_NAME, TOKENS], "crash {crashes}");
        crashes += 1;
        assert_eq!(story.customers_count().await, crashes);
        assert_eq!(story.subscriptions_count().await, crashes);
    }
    // Two prices, two meters, customer, payment method, default, subscription.
    assert_eq!(crashes, 8);
}

#[tokio::test]
async fn a_lost_answer_at_any_step_doubles_nothing() {
    a_crash_at_each_step("lose_answer", 0).await;
}

#[tokio::test]
async fn a_lost_answer_at_any_step_doubles_nothing_after_stripe_forgot_the_keys() {
    a_crash_at_each_step("lose_answer", 2 * DAY_MS).await;
}

#[tokio::test]
async fn a_failure_before_any_step_is_made_up_for() {
    a_crash_at_each_step("error_before", 0).await;
}

/// The subscription is made, nobody hears of it, and the catalog changes.
async fn crash_at_the_subscription(story: &Story) {
    let fault = json!({
        "kind": "lose_answer", "method": "POST", "path_prefix": "/v1/subscriptions", "times": 1,
    });
    story.world.break_stripe(&fault).await;
    let lost = story.onboard(&a_customer("acme")).await;
    assert_eq!(lost.problem(503), "stripe-unavailable");
    assert_eq!(story.world.repair_stripe().await, 1);
}

#[tokio::test]
async fn a_catalog_that_grew_since_a_crash_adds_what_the_subscription_lacks() {
    for fault in [
        json!({}),
        json!({ "kind": "lose_answer", "path_prefix": "/v1/subscription_items" }),
        json!({ "kind": "error_before", "path_prefix": "/v1/subscription_items" }),
    ] {
        let story = Story::start().await;
        story.world.start_catalog().await;
        crash_at_the_subscription(&story).await;
        // Tokens have another price for whoever comes now, and pages are new.
        let (_, tokens) = story.world.metered_price(&PRICE_OF_TOKENS).await;
        let pages = PriceOf {
            event_name: "pages",
            lookup_key: "pages_monthly",
            ..PRICE_OF_TOKENS
        };
        let (_, pages) = story.world.metered_price(&pages).await;
        let operations = story.world.operations().await;
        story
            .world
            .store_catalog(&[operations, tokens, pages])
            .await;
        if fault["kind"].is_string() {
            story.world.break_stripe(&fault).await;
            story.onboard(&a_customer("acme")).await;
            assert_eq!(story.world.repair_stripe().await, 1, "{fault}");
        }
        let done = story.onboard(&a_customer("acme")).await.expect(201);
        let mut names = story.world.agreed_items(customer_id(&done)).await;
        assert_eq!(names.remove(0), METER_EVENT_NAME);
        names.sort_unstable();
        assert_eq!(names, [TOKENS, "pages"], "{fault}");
        assert_eq!(story.subscriptions_count().await, 1);
    }
}

#[tokio::test]
async fn a_catalog_that_shrank_since_a_crash_leaves_the_row_what_stripe_bills() {
    let story = Story::start().await;
    story.world.start_catalog().await;
    crash_at_the_subscription(&story).await;
    let (_, tokens) = story.world.metered_price(&PRICE_OF_TOKENS).await;
    story.world.store_catalog(&[tokens]).await;
    let done = story.onboard(&a_customer("acme")).await.expect(201);
    let names = story.world.agreed_items(customer_id(&done)).await;
    assert_eq!(names, [TOKENS, METER_EVENT_NAME]);
    assert_eq!(story.subscriptions_count().await, 1);
}

#[tokio::test]
async fn a_customer_who_waits_for_a_card_gets_the_catalog_of_the_day_it_comes() {
    let story = Story::start().await;
    let mut body = a_customer("acme");
    body.as_object_mut().unwrap().remove("payment_method");
    body["checkout"] = json!({ "success_url": "https://agent.example/done" });
    let waits = story.onboard(&body).await.expect(202);
    story.world.start_catalog().await;
    let session = waits["checkout_url"].as_str().unwrap();
    let session = session.rsplit('/').next().unwrap();
    let path = format!("/_simulator/checkout_sessions/{session}/complete");
    let completed = story.world.tell_simulator(&path, &json!({})).await;
    completed.expect(200);
    let done = story.onboard(&body).await.expect(201);
    let names = story.world.agreed_items(customer_id(&done)).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
}
