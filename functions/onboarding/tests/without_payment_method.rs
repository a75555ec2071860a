//! Stories of people who have to enter a payment method first, against a real
//! DynamoDB wire protocol and a simulated Stripe, whose pages a test fills in.

use billing::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use stripe::ListCustomers;

use crate::support::world::{Answer, DAY_MS, HOUR_MS, World, send};

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

    /// Somebody enters a card on the page that Stripe shows.
    async fn fill_in(&self, checkout_url: &str, card: &str) -> Answer {
        let session = checkout_url.rsplit('/').next().unwrap();
        let path = format!("/_simulator/checkout_sessions/{session}/complete");
        self.world
            .tell_simulator(&path, &json!({ "payment_method": card }))
            .await
    }

    async fn customers_count(&self) -> usize {
        let all = ListCustomers::default();
        let all = self.world.stripe.list_all_customers(&all).await;
        all.unwrap().data.len()
    }
}

fn by_checkout(external_id: &str) -> Value {
    json!({
        "email": "ada@example.com", "external_id": external_id,
        "checkout": { "success_url": "https://agent.example/done" },
    })
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

#[tokio::test]
async fn a_page_is_shown_until_a_card_is_entered_and_then_the_same_call_ends_it() {
    let story = Story::start().await;
    let waits = story.onboard(&by_checkout("acme")).await.expect(202);
    assert_eq!(waits["status"], "awaiting_payment_method");
    let url = text(&waits, "checkout_url");
    assert!(url.starts_with("https://checkout.stripe.com/"), "{url}");
    // Asked again, it is the same page, for the same customer.
    assert_eq!(story.onboard(&by_checkout("acme")).await.expect(202), waits);

    let declined = story.fill_in(url, "pm_card_chargeDeclined").await;
    assert_eq!(declined.status, 402);
    assert_eq!(story.onboard(&by_checkout("acme")).await.expect(202), waits);

    story.fill_in(url, "pm_card_visa").await.expect(200);
    let done = story.onboard(&by_checkout("acme")).await.expect(201);
    assert_eq!(done["status"], "active");
    assert_eq!(done["customer_id"], waits["customer_id"]);
    assert_eq!(story.onboard(&by_checkout("acme")).await.expect(201), done);
    assert_eq!(story.customers_count().await, 1);
    let customer_id = text(&done, "customer_id");
    let customer = story.world.stripe.retrieve_customer(customer_id).await;
    let settings = customer.unwrap().invoice_settings;
    assert!(settings.default_payment_method.is_some());
    let row = story.world.customer(customer_id).await;
    assert_eq!(row.external_id.as_deref(), Some("acme"));
}

#[tokio::test]
async fn a_page_that_expired_is_followed_by_another() {
    let story = Story::start().await;
    let first = story.onboard(&by_checkout("acme")).await.expect(202);
    story.world.clock.advance_ms(DAY_MS + HOUR_MS);
    story.world.settle().await;
    // A day later Stripe has forgotten the keys: the customer is searched for.
    let second = story.onboard(&by_checkout("acme")).await.expect(202);
    assert_eq!(second["customer_id"], first["customer_id"]);
    assert_ne!(second["checkout_url"], first["checkout_url"]);
    let gone = story
        .fill_in(text(&first, "checkout_url"), "pm_card_visa")
        .await;
    assert_eq!(gone.status, 400);
    let url = text(&second, "checkout_url");
    story.fill_in(url, "pm_card_visa").await.expect(200);
    story.onboard(&by_checkout("acme")).await.expect(201);
    assert_eq!(story.customers_count().await, 1);
}

#[tokio::test]
async fn two_calls_at_once_open_one_page() {
    let story = Story::start().await;
    let body = by_checkout("acme");
    let (one, other) = tokio::join!(story.onboard(&body), story.onboard(&body));
    let answers = [one, other];
    // Stripe may refuse the second use of a key while the first is under way.
    let shown: Vec<Value> = answers
        .iter()
        .filter(|answer| answer.status == 202)
        .map(Answer::json)
        .collect();
    assert!(!shown.is_empty(), "{answers:?}");
    let again = story.onboard(&body).await.expect(202);
    assert!(shown.iter().all(|answer| *answer == again), "{answers:?}");
    assert_eq!(story.customers_count().await, 1);
}

/// To Stripe, of a run that ends with a page and of the one that ends with a
/// customer.
const CALLS: u32 = 15;

#[tokio::test]
async fn a_crash_at_any_call_to_stripe_is_gone_on_from() {
    // The calls of a first and of a last run; each is lost in turn, before
    // Stripe acts and after.
    for (kind, status) in [
        ("error_before", 503),
        ("error_before", 500),
        ("lose_answer", 500),
    ] {
        for skip in 0..CALLS {
            let story = Story::start().await;
            let fault =
                json!({ "kind": kind, "status": status, "path_prefix": "/v1", "skip": skip });
            story.world.break_stripe(&fault).await;
            let mut answer = story.onboard(&by_checkout("acme")).await;
            if answer.status != 202 {
                answer = story.onboard(&by_checkout("acme")).await;
            }
            let waits = answer.expect(202);
            story
                .fill_in(text(&waits, "checkout_url"), "pm_card_visa")
                .await
                .expect(200);
            let mut answer = story.onboard(&by_checkout("acme")).await;
            if answer.status != 201 {
                answer = story.onboard(&by_checkout("acme")).await;
            }
            let done = answer.expect(201);
            assert_eq!(story.world.repair_stripe().await, 1, "{kind} {skip}");
            assert_eq!(done["customer_id"], waits["customer_id"], "{kind} {skip}");
            assert_eq!(story.customers_count().await, 1, "{kind} {skip}");
            let subscriptions = story
                .world
                .stripe
                .list_all_subscriptions(&stripe::ListSubscriptions::default())
                .await;
            assert_eq!(subscriptions.unwrap().data.len(), 1, "{kind} {skip}");
        }
    }
}

#[tokio::test]
async fn a_form_of_the_operators_own_gets_a_client_secret() {
    let story = Story::start().await;
    let body = json!({
        "email": "ada@example.com", "external_id": "acme", "setup_intent": true,
    });
    let answer = story.onboard(&body).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let waits = answer.expect(202);
    let secret = text(&waits, "client_secret");
    assert_eq!(story.onboard(&body).await.expect(202), waits);
    // What the browser does with the secret, by the API.
    let intent = secret.split("_secret_").next().unwrap();
    let path = format!("/v1/setup_intents/{intent}/confirm");
    let form = "payment_method=pm_card_visa";
    story.world.stripe_form(&path, form).await;
    let done = story.onboard(&body).await.expect(201);
    assert_eq!(done["customer_id"], waits["customer_id"]);
}

#[tokio::test]
async fn the_way_may_change_while_somebody_waits() {
    let story = Story::start().await;
    let waits = story.onboard(&by_checkout("acme")).await.expect(202);
    let form = json!({ "email": "ada@example.com", "external_id": "acme", "setup_intent": true });
    let by_form = story.onboard(&form).await.expect(202);
    assert!(by_form["client_secret"].is_string());
    let card = json!({
        "email": "ada@example.com", "external_id": "acme", "payment_method": "pm_card_visa",
    });
    let done = story.onboard(&card).await.expect(201);
    assert_eq!(done["customer_id"], waits["customer_id"]);
}

#[tokio::test]
async fn what_cannot_be_finished_or_shown_is_refused_by_name() {
    let story = Story::start().await;
    let cases = [
        (json!({ "email": "a@b.example" }), "payment_method"),
        (
            json!({ "email": "a@b.example", "setup_intent": true }),
            "external_id",
        ),
        (
            json!({ "email": "a@b.example", "external_id": "x", "setup_intent": true,
                "payment_method": "pm_card_visa" }),
            "payment_method",
        ),
        (
            json!({ "email": "a@b.example", "external_id": "x",
                "checkout": { "success_url": "agent.example" } }),
            "checkout.success_url",
        ),
        (
            json!({ "email": "a@b.example", "external_id": "x",
                "checkout": { "success_url": "https://a.example", "cancel_url": "/back" } }),
            "checkout.cancel_url",
        ),
    ];
    for (body, field) in cases {
        let refused = story.onboard(&body).await.expect(400);
        assert_eq!(refused["field"], field, "{body}");
    }
    assert_eq!(story.customers_count().await, 0);
}

#[tokio::test]
async fn a_customer_who_was_deleted_meanwhile_is_not_brought_back() {
    let story = Story::start().await;
    let waits = story.onboard(&by_checkout("acme")).await.expect(202);
    let path = format!("/v1/customers/{}", text(&waits, "customer_id"));
    story.world.stripe_delete(&path).await;
    let refused = story.onboard(&by_checkout("acme")).await;
    assert_eq!(refused.problem(409), "conflict");

    let card = json!({
        "email": "bob@example.com", "external_id": "bob", "payment_method": "pm_card_visa",
    });
    let done = story.onboard(&card).await.expect(201);
    let path = format!("/v1/customers/{}", text(&done, "customer_id"));
    story.world.stripe_delete(&path).await;
    assert_eq!(story.onboard(&card).await.problem(409), "conflict");
}

#[tokio::test]
async fn a_trial_prices_beside_and_taxes_reach_stripe() {
    let story = Story::start().await;
    let base = story
        .world
        .stripe_form(
            "/v1/prices",
            "currency=usd&unit_amount=900&recurring[interval]=month&product_data[name]=Base",
        )
        .await;
    let anchor = story.world.clock.now().plus_ms(10 * DAY_MS);
    let body = json!({
        "email": "ada@example.com", "external_id": "acme", "payment_method": "pm_card_visa",
        "metadata": { "team": "north" }, "additional_prices": [base["id"]],
        "billing_cycle_anchor": anchor.unix_s(), "proration_behavior": "none",
        "automatic_tax": true, "address": { "country": "AT", "postal_code": "1010" },
        "tax_exempt": "reverse", "tax_ids": [{ "type": "eu_vat", "value": "ATU12345678" }],
    });
    let done = story.onboard(&body).await.expect(201);
    assert_eq!(story.onboard(&body).await.expect(201), done);
    let path = format!("/v1/subscriptions/{}", text(&done, "subscription_id"));
    let subscription = story.world.stripe_get(&path).await;
    assert_eq!(subscription["billing_cycle_anchor"], anchor.unix_s());
    assert_eq!(subscription["automatic_tax"]["enabled"], true);
    assert_eq!(subscription["metadata"]["team"], "north");
    let items = subscription["items"]["data"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["id"], done["subscription_item_id"]);
    assert_eq!(items[1]["price"]["id"], base["id"]);
    let path = format!("/v1/customers/{}", text(&done, "customer_id"));
    let customer = story.world.stripe_get(&path).await;
    assert_eq!(customer["address"]["country"], "AT");
    assert_eq!(customer["tax_exempt"], "reverse");
    let tax_ids = story.world.stripe_get(&format!("{path}/tax_ids")).await;
    assert_eq!(tax_ids["data"][0]["value"], "ATU12345678");

    let other_terms = {
        let mut body = body.clone();
        body["trial_period_days"] = json!(7);
        body
    };
    assert_eq!(story.onboard(&other_terms).await.problem(409), "conflict");
}

#[tokio::test]
async fn a_trial_begins_when_the_card_is_there() {
    let story = Story::start().await;
    let mut body = by_checkout("acme");
    body["trial_period_days"] = json!(14);
    let waits = story.onboard(&body).await.expect(202);
    story.world.clock.advance_ms(12 * HOUR_MS);
    story
        .fill_in(text(&waits, "checkout_url"), "pm_card_visa")
        .await
        .expect(200);
    let done = story.onboard(&body).await.expect(201);
    assert_eq!(done["status"], "active");
    let row = story.world.customer(text(&done, "customer_id")).await;
    assert_eq!(row.period_end.ms_since(row.period_start), 14 * DAY_MS);
}

#[tokio::test]
async fn checkout_brings_the_address_that_taxes_need() {
    let story = Story::start().await;
    let mut body = by_checkout("acme");
    body["automatic_tax"] = json!(true);
    let waits = story.onboard(&body).await.expect(202);
    story
        .fill_in(text(&waits, "checkout_url"), "pm_card_visa")
        .await
        .expect(200);
    let done = story.onboard(&body).await.expect(201);
    let path = format!("/v1/subscriptions/{}", text(&done, "subscription_id"));
    let subscription = story.world.stripe_get(&path).await;
    assert_eq!(subscription["automatic_tax"]["enabled"], true);

    // One that is given needs not be entered, and stays.
    let mut body = by_checkout("other");
    body["automatic_tax"] = json!(true);
    body["address"] = json!({ "country": "AT" });
    let waits = story.onboard(&body).await.expect(202);
    story
        .fill_in(text(&waits, "checkout_url"), "pm_card_visa")
        .await
        .expect(200);
    let done = story.onboard(&body).await.expect(201);
    let path = format!("/v1/customers/{}", text(&done, "customer_id"));
    let customer = story.world.stripe_get(&path).await;
    assert_eq!(customer["address"]["country"], "AT");
}

#[tokio::test]
async fn terms_that_stripe_or_meterline_does_not_take_are_refused_by_name() {
    let story = Story::start().await;
    let now_s = story.world.clock.now().unix_s();
    let metered = story.world.create_price("3").await;
    let cases = [
        ("trial_period_days", json!(0), "trial_period_days"),
        ("trial_period_days", json!(731), "trial_period_days"),
        (
            "billing_cycle_anchor",
            json!(now_s - 60),
            "billing_cycle_anchor",
        ),
        (
            "billing_cycle_anchor",
            json!(now_s + 90 * 86_400),
            "billing_cycle_anchor",
        ),
        ("proration_behavior", json!("none"), "proration_behavior"),
        ("additional_prices", json!(["price_x"]), "additional_prices"),
        ("additional_prices", json!(["seat"]), "additional_prices"),
        ("additional_prices", json!([metered]), "additional_prices"),
        (
            "metadata",
            json!({ "meterline_onboarding": "x" }),
            "metadata",
        ),
        ("metadata", json!({ "a[b]": "x" }), "metadata"),
        ("automatic_tax", json!(true), "address"),
        ("address", json!({ "country": "Austria" }), "address"),
        (
            "tax_ids",
            json!([{ "type": "eu_vat", "value": "none" }]),
            "tax_ids",
        ),
    ];
    for (number, (name, value, field)) in cases.into_iter().enumerate() {
        let mut body = json!({
            "email": "ada@example.com", "external_id": format!("case {number}"),
            "payment_method": "pm_card_visa",
        });
        body[name] = value;
        let refused = story.onboard(&body).await.expect(400);
        assert_eq!(refused["field"], field, "{body}");
    }
}
