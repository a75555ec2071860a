//! Stories of `POST /v1/customers`, against a real DynamoDB wire protocol and a
//! simulated Stripe.

use axum::Router;
use billing::Clock;
use ledger::{CustomerStatus, Ledger, NewApiKey, Scope};
use onboarding::State;
use reqwest::Method;
use serde_json::{Value, json};
use stripe::{
    Customer, ExposeSecret, ListCustomers, ListSubscriptions, PriceAmount, PriceTier, Subscription,
    TransformQuantity,
};

use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;
use crate::support::world::{Answer, DAY_MS, LOOKUP_KEY, World, a_customer, send};

struct Story {
    world: World,
    url: String,
}

impl Story {
    async fn start() -> Self {
        Self::in_world(World::start().await).await
    }

    /// The function gives up at Stripe's first failure, as if it had crashed there.
    async fn in_world(world: World) -> Self {
        let stripe = world.impatient_stripe();
        let url = world.serve(routes(&world, &world.ledger, stripe)).await;
        Self { world, url }
    }

    /// The function asks Stripe again, as in production.
    async fn in_world_with_patience(world: World) -> Self {
        let url = world
            .serve(routes(&world, &world.ledger, world.stripe.clone()))
            .await;
        Self { world, url }
    }

    async fn onboard(&self, body: &Value) -> Answer {
        let request = self
            .world
            .request(Method::POST, &format!("{}/v1/customers", self.url));
        send(request.json(body)).await
    }

    async fn onboard_as(&self, idempotency_key: &str, body: &Value) -> Answer {
        let request = self
            .world
            .request(Method::POST, &format!("{}/v1/customers", self.url));
        send(
            request
                .header("idempotency-key", idempotency_key)
                .json(body),
        )
        .await
    }

    async fn customers(&self) -> Vec<Customer> {
        let all = self
            .world
            .stripe
            .list_all_customers(&ListCustomers::default())
            .await;
        all.unwrap().data
    }

    async fn subscriptions(&self) -> Vec<Subscription> {
        let all = self
            .world
            .stripe
            .list_all_subscriptions(&ListSubscriptions::default())
            .await;
        all.unwrap().data
    }
}

fn routes(world: &World, ledger: &Ledger, stripe: stripe::Client) -> Router {
    onboarding::router(State::new(
        ledger.clone(),
        stripe,
        LOOKUP_KEY.to_owned(),
        world.clock(),
    ))
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

#[tokio::test]
async fn a_customer_is_onboarded_once_and_found_again() {
    let story = Story::start().await;
    let first = story.onboard(&a_customer("acme")).await.expect(201);
    assert_eq!(first["status"], "active");
    let row = story
        .world
        .customer(first["customer_id"].as_str().unwrap())
        .await;
    assert_eq!(first["subscription_id"], row.subscription_id);
    assert_eq!(first["subscription_item_id"], row.item.subscription_item_id);
    assert_eq!((row.status, row.version), (CustomerStatus::Active, 1));
    assert_eq!(row.external_id.as_deref(), Some("acme"));
    assert_eq!(row.item.price.to_string(), "0.02 usd a unit");
    assert!(row.period_start <= story.world.clock.now().plus_ms(1_000));

    assert_eq!(story.onboard(&a_customer("acme")).await.expect(201), first);
    let customers = story.customers().await;
    assert_eq!(customers.len(), 1);
    assert!(
        customers[0]
            .invoice_settings
            .default_payment_method
            .is_some()
    );
    assert_eq!(story.subscriptions().await.len(), 1);
}

#[tokio::test]
async fn one_external_id_is_one_customer() {
    let story = Story::start().await;
    story.onboard(&a_customer("acme")).await.expect(201);
    let other_email = with(a_customer("acme"), "email", json!("bob@example.com"));
    assert_eq!(story.onboard(&other_email).await.problem(409), "conflict");
    let other_card = with(
        a_customer("acme"),
        "payment_method",
        json!("pm_card_mastercard"),
    );
    assert_eq!(story.onboard(&other_card).await.problem(409), "conflict");
    assert_eq!(story.customers().await.len(), 1);
    story.onboard(&a_customer("other")).await.expect(201);
    assert_eq!(story.customers().await.len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_names_an_onboarding_too_and_no_name_names_none() {
    let story = Story::start().await;
    let unnamed = with(a_customer(""), "external_id", Value::Null);
    let first = story.onboard_as("key-1", &unnamed).await.expect(201);
    assert_eq!(story.onboard_as("key-1", &unnamed).await.expect(201), first);
    let another = story.onboard(&unnamed).await.expect(201);
    assert_ne!(another["customer_id"], first["customer_id"]);
    assert_ne!(story.onboard(&unnamed).await.expect(201), another);
}

#[tokio::test]
async fn calls_at_once_are_one_onboarding() {
    let story = Story::in_world_with_patience(World::start().await).await;
    let body = a_customer("acme");
    let (first, second, third) = tokio::join!(
        story.onboard(&body),
        story.onboard(&body),
        story.onboard(&body)
    );
    let first = first.expect(201);
    assert_eq!(second.expect(201), first);
    assert_eq!(third.expect(201), first);
    assert_eq!(
        (
            story.customers().await.len(),
            story.subscriptions().await.len()
        ),
        (1, 1)
    );
}

/// Stripe's answers get lost, or Stripe fails, at each call in turn: whatever
/// was done by then, the repeat makes one customer with one subscription.
async fn a_crash_at_each_step(kind: &str, then_pass_ms: i64) {
    let story = Story::start().await;
    let mut crashes = 0;
    loop {
        let (customers, subscriptions) = (
            story.customers().await.len(),
            story.subscriptions().await.len(),
        );
        let fault = json!({ "kind": kind, "skip": crashes, "times": 1, "path_prefix": "/v1/" });
        story.world.break_stripe(&fault).await;
        let body = a_customer(&format!("{kind} {crashes}"));
        let first = story.onboard(&body).await;
        if story.world.repair_stripe().await == 0 {
            first.expect(201);
            break;
        }
        // A failure of Stripe's own may be made up for within the call.
        if kind == "lose_answer" || first.status != 201 {
            assert_eq!(first.problem(503), "stripe-unavailable", "crash {crashes}");
        }
        story.world.clock.advance_ms(then_pass_ms);
        story.world.settle().await;
        let second = story.onboard(&body).await.expect(201);
        assert_eq!(story.onboard(&body).await.expect(201), second);
        assert_eq!(
            story.customers().await.len(),
            customers + 1,
            "crash {crashes}"
        );
        assert_eq!(
            story.subscriptions().await.len(),
            subscriptions + 1,
            "crash {crashes}"
        );
        crashes += 1;
    }
    // Price, meter, customer, payment method, default, subscription.
    assert_eq!(crashes, 6);
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

#[tokio::test]
async fn a_table_that_does_not_answer_doubles_nothing() {
    let world = World::start().await;
    let lossy = Lossy::start(&world.tables.url).await;
    let ledger = Tables::at(&lossy.url).ledger;
    let url = world
        .serve(routes(&world, &ledger, world.stripe.clone()))
        .await;
    let story = Story { world, url };
    let mut onboarded = 0;
    // The note of the start, and that of the end.
    for operation in ["PutItem", "UpdateItem"] {
        for loss in [Loss::Request, Loss::Answer] {
            let body = a_customer(&format!("{operation} {loss:?}"));
            lossy.lose(operation, loss);
            assert_eq!(story.onboard(&body).await.problem(503), "unavailable");
            lossy.assert_all_lost();
            let second = story.onboard(&body).await.expect(201);
            assert_eq!(story.onboard(&body).await.expect(201), second);
            onboarded += 1;
            assert_eq!(story.customers().await.len(), onboarded);
            assert_eq!(story.subscriptions().await.len(), onboarded);
        }
    }
}

#[tokio::test]
async fn a_crash_before_the_rows_are_stored_leads_to_the_same_customer() {
    let story = Story::start().await;
    let first = story.onboard(&a_customer("acme")).await.expect(201);
    for row in story.world.tables.scan("CustomersTable").await {
        let key = row["customer_id"].clone();
        let tables = &story.world.tables.client;
        if key.as_s().unwrap().starts_with("onboarding#") {
            let update = tables
                .update_item()
                .table_name("CustomersTable")
                .key("customer_id", key);
            update
                .update_expression("REMOVE onboarded_customer_id")
                .send()
                .await
                .unwrap();
        } else {
            let delete = tables.delete_item().table_name("CustomersTable");
            delete.key("customer_id", key).send().await.unwrap();
        }
    }
    // Meanwhile new customers get another price; this one keeps its own.
    story.world.create_price("3").await;
    assert_eq!(story.onboard(&a_customer("acme")).await.expect(201), first);
    let row = story
        .world
        .customer(first["customer_id"].as_str().unwrap())
        .await;
    assert_eq!(row.item.price.to_string(), "0.02 usd a unit");
    assert_eq!(story.subscriptions().await.len(), 1);
}

#[tokio::test]
async fn after_a_declined_card_another_one_does() {
    let story = Story::start().await;
    let declined = with(
        a_customer("acme"),
        "payment_method",
        json!("pm_card_chargeDeclined"),
    );
    let refusal = story.onboard(&declined).await;
    assert_eq!(refusal.problem(402), "card-declined");
    assert_eq!(refusal.json()["code"], "card_declined");
    story.onboard(&a_customer("acme")).await.expect(201);
    assert_eq!(story.onboard(&declined).await.problem(409), "conflict");
    assert_eq!(
        (
            story.customers().await.len(),
            story.subscriptions().await.len()
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn what_stripe_does_not_know_is_named() {
    let story = Story::start().await;
    let unknown_card = with(a_customer("acme"), "payment_method", json!("pm_unknown"));
    let refusal = story.onboard(&unknown_card).await;
    assert_eq!(refusal.problem(400), "invalid-field");
    assert_eq!(refusal.json()["field"], "payment_method");
    let unknown_clock = with(a_customer("timeless"), "test_clock", json!("clock_unknown"));
    let refusal = story.onboard(&unknown_clock).await;
    assert_eq!(refusal.problem(400), "invalid-field");
    assert_eq!(refusal.json()["field"], "test_clock");
    let misspelt = with(a_customer("acme"), "externalId", json!("acme"));
    assert_eq!(
        story.onboard(&misspelt).await.problem(400),
        "invalid-request"
    );
}

#[tokio::test]
async fn a_customer_can_live_on_a_test_clock_and_is_found_there() {
    let story = Story::start().await;
    let test_clock = story.world.test_clock().await;
    let body = with(a_customer("timely"), "test_clock", json!(test_clock));
    // The customer is made, and nobody hears of it.
    let fault = json!({ "kind": "lose_answer", "method": "POST", "path_prefix": "/v1/customers" });
    story.world.break_stripe(&fault).await;
    assert_eq!(
        story.onboard(&body).await.problem(503),
        "stripe-unavailable"
    );
    story.world.repair_stripe().await;
    story.world.clock.advance_ms(2 * DAY_MS);
    story.world.settle().await;
    let answer = story.onboard(&body).await.expect(201);
    let row = story
        .world
        .customer(answer["customer_id"].as_str().unwrap())
        .await;
    assert_eq!(row.test_clock.as_ref(), Some(&test_clock));
    let on_clock = ListCustomers {
        test_clock: Some(test_clock),
        ..Default::default()
    };
    assert_eq!(
        story
            .world
            .stripe
            .list_all_customers(&on_clock)
            .await
            .unwrap()
            .data
            .len(),
        1
    );
}

#[tokio::test]
async fn an_account_that_is_not_set_up_gets_no_half_made_customers() {
    let story = Story::in_world(World::start_without_price().await).await;
    let refusal = story.onboard(&a_customer("acme")).await;
    assert_eq!(refusal.problem(500), "internal");
    assert!(refusal.text.contains("meterline setup"), "{}", refusal.text);
    assert!(story.customers().await.is_empty());
    story.world.create_price("2").await;
    story.onboard(&a_customer("acme")).await.expect(201);
}

#[tokio::test]
async fn a_meter_that_would_not_sum_what_is_sent_gets_no_customers() {
    for meter in [
        "default_aggregation[formula]=count",
        "default_aggregation[formula]=sum&value_settings[event_payload_key]=tokens",
        "default_aggregation[formula]=sum&customer_mapping[event_payload_key]=who",
    ] {
        let story = Story::in_world(World::start_without_price().await).await;
        let form = format!("display_name=Another&event_name=another&{meter}");
        story.world.stripe_form("/v1/billing/meters", &form).await;
        story.world.create_price("2").await;
        let refusal = story.onboard(&a_customer("acme")).await;
        assert_eq!(refusal.problem(500), "internal", "{meter}");
        assert!(story.customers().await.is_empty());
    }
}

#[tokio::test]
async fn packages_and_tiers_are_kept_with_their_customers() {
    let story = Story::start().await;
    let packages = PriceAmount::PerUnit {
        unit_amount_decimal: "300".to_owned(),
        transform_quantity: Some(TransformQuantity {
            divide_by: 1_000,
            round: "up".to_owned(),
        }),
    };
    let tiers = PriceAmount::Tiered {
        tiers_mode: "volume".to_owned(),
        tiers: vec![
            PriceTier {
                up_to: Some(10),
                unit_amount_decimal: Some("2.5".to_owned()),
                flat_amount_decimal: Some("100".to_owned()),
            },
            PriceTier {
                unit_amount_decimal: Some("0.000000000001".to_owned()),
                ..PriceTier::default()
            },
        ],
    };
    let amounts = [
        (packages, "usd", "3.00 usd for 1000 units, begun ones too"),
        (
            tiers,
            "kwd",
            "volume tiers in kwd: up to 10 0.0025 a unit and 0.100, beyond 0.000000000000001 a unit",
        ),
    ];
    for (amount, currency, told) in amounts {
        let price_id = story.world.create_price_of(amount, currency).await;
        let onboarded = story.onboard(&a_customer(currency)).await.expect(201);
        let customer_id = onboarded["customer_id"].as_str().unwrap();
        let row = story.world.customer(customer_id).await;
        assert_eq!(
            (row.item.price_id, row.item.price.to_string()),
            (price_id, told.to_owned())
        );
    }
}

#[tokio::test]
async fn a_key_works_soon_after_it_is_made_although_it_was_refused_before() {
    let story = Story::start().await;
    let world = &story.world;
    let made = NewApiKey::generate(vec![Scope::Admin], world.clock.now()).unwrap();
    let url = format!("{}/v1/customers", story.url);
    let onboard = || {
        let request = world.http.post(&url).json(&a_customer("acme"));
        send(request.bearer_auth(made.key.expose_secret()))
    };
    assert_eq!(onboard().await.problem(401), "unauthorized");
    world.ledger.put_api_key(&made.row).await.unwrap();
    world.clock.advance_ms(2_000);
    onboard().await.expect(201);
}

#[tokio::test]
async fn only_an_operator_onboards() {
    let story = Story::start().await;
    let url = format!("{}/v1/customers", story.url);
    let anonymous = story.world.http.post(&url).json(&a_customer("acme"));
    assert_eq!(send(anonymous).await.problem(401), "unauthorized");
    let reader = story.world.api_key(Scope::Read, None).await;
    let by_reader = story
        .world
        .http
        .post(&url)
        .bearer_auth(reader)
        .json(&a_customer("acme"));
    assert_eq!(send(by_reader).await.problem(403), "forbidden");
    assert!(story.customers().await.is_empty());
}
