//! Stories of customers whom Stripe has already.

use std::fmt::Write;
use std::pin::pin;

use reqwest::Method;
use serde_json::{Value, json};
use stripe::{ListCustomers, ListSubscriptions};

use crate::support::catalog::{PRICE_OF_TOKENS, PriceOf, TOKENS};
use crate::support::gate::Gate;
use crate::support::world::{
    Answer, DAY_MS, LOOKUP_KEY, METER_EVENT_NAME, World, a_customer, send, stripe_client,
};

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
        self.onboard_at(&self.url, body).await
    }

    async fn onboard_at(&self, url: &str, body: &Value) -> Answer {
        let url = format!("{url}/v1/customers");
        send(self.world.request(Method::POST, &url).json(body)).await
    }

    /// Somebody whom the operator made in Stripe by other means.
    async fn customer_of_stripe(&self, form: &str) -> String {
        let customer = self.world.stripe_form("/v1/customers", form).await;
        customer["id"].as_str().unwrap().to_owned()
    }

    /// Their subscription, made by other means, too.
    async fn subscription_of_stripe(&self, customer_id: &str, prices: &[&str]) -> String {
        let mut form = format!("customer={customer_id}");
        for (index, price) in prices.iter().enumerate() {
            write!(form, "&items[{index}][price]={price}").unwrap();
        }
        let made = self.world.stripe_form("/v1/subscriptions", &form).await;
        made["id"].as_str().unwrap().to_owned()
    }

    async fn price_of_operations(&self) -> String {
        let prices = self.world.stripe.list_prices_by_lookup_key(LOOKUP_KEY);
        prices.await.unwrap().data[0].id.clone()
    }

    async fn subscriptions_count(&self) -> usize {
        let all = ListSubscriptions::default();
        let all = self.world.stripe.list_all_subscriptions(&all).await;
        all.unwrap().data.len()
    }
}

const WITH_CARD: &str = "email=ada@example.com&payment_method=pm_card_visa\
    &invoice_settings[default_payment_method]=pm_card_visa&metadata[crm]=7";

fn adopting(customer_id: &str) -> Value {
    json!({ "stripe_customer_id": customer_id })
}

/// The same under a name of the caller's.
fn adopting_as(customer_id: &str, external_id: &str) -> Value {
    json!({ "stripe_customer_id": customer_id, "external_id": external_id })
}

#[tokio::test]
async fn a_customer_of_stripes_is_adopted_once() {
    let story = Story::start().await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    let done = story.onboard(&adopting(&customer_id)).await.expect(201);
    assert_eq!(done["customer_id"], customer_id.as_str());
    assert_eq!(done["status"], "active");
    let again = story.onboard(&adopting(&customer_id)).await.expect(201);
    assert_eq!(again, done);
    assert_eq!(story.subscriptions_count().await, 1);
    let customer = story.world.stripe.retrieve_customer(&customer_id).await;
    let metadata = customer.unwrap().metadata;
    assert_eq!(metadata["crm"], "7", "what was there stays");
    assert!(metadata.contains_key("meterline_onboarding"));

    // Under another name it is somebody's already.
    let named = adopting_as(&customer_id, "acme");
    assert_eq!(story.onboard(&named).await.problem(409), "conflict");
}

/// The first call is held back at each of its requests to Stripe in turn; meanwhile the
/// second, under another name, comes to its end.
#[tokio::test]
async fn two_names_for_one_customer_at_once_make_one_subscription() {
    let mut is_held = true;
    let mut passes = 0;
    while is_held {
        let story = Story::start().await;
        let customer_id = story.customer_of_stripe(WITH_CARD).await;
        let [first, second] = ["a", "b"].map(|name| adopting_as(&customer_id, name));
        let gate = Gate::start(&story.world.stripe_url(), passes).await;
        let held_back = stripe_client(&gate.url, 1);
        let url = crate::service::serve_with(&story.world, held_back).await;
        let mut first_call = pin!(story.onboard_at(&url, &first));
        let done = tokio::select! {
            done = &mut first_call => Some(done),
            () = gate.reached() => None,
        };
        is_held = done.is_none();
        let meanwhile = story.onboard(&second).await;
        gate.open();
        let done = match done {
            Some(done) => done,
            None => first_call.await,
        };
        // Whoever lost is told so, and is told again.
        let (won, lost, loser) = match is_held {
            true => (meanwhile, done, &first),
            false => (done, meanwhile, &second),
        };
        won.expect(201);
        assert_eq!(lost.problem(409), "conflict", "{passes}");
        assert_eq!(story.onboard(loser).await.problem(409), "conflict");
        assert_eq!(story.subscriptions_count().await, 1, "{passes}");
        let row = story.world.customer(&customer_id).await;
        let winner = if is_held { "b" } else { "a" };
        assert_eq!(row.external_id.as_deref(), Some(winner), "{passes}");
        passes += 1;
    }
    // Price, meter, customer, its mark, setups, both lists and the creation.
    assert!(passes > 6, "{passes}");
}

/// The same, and Stripe answers one creation with an error that it forgets: its idempotency
/// key stays free, so that the next one would be taken beside it.
#[tokio::test]
async fn two_names_at_once_and_an_error_of_stripes_make_one_subscription() {
    let mut is_held = true;
    let mut passes = 0;
    while is_held {
        let story = Story::start().await;
        let customer_id = story.customer_of_stripe(WITH_CARD).await;
        let fault = json!({ "kind": "error_before", "status": 503, "times": 1,
            "method": "POST", "path_prefix": "/v1/subscriptions" });
        story.world.break_stripe(&fault).await;
        let [first, second] = ["a", "b"].map(|name| adopting_as(&customer_id, name));
        let gate = Gate::start(&story.world.stripe_url(), passes).await;
        let held_back = stripe_client(&gate.url, 1);
        let url = crate::service::serve_with(&story.world, held_back).await;
        let mut first_call = pin!(story.onboard_at(&url, &first));
        is_held = tokio::select! {
            _ = &mut first_call => false,
            () = gate.reached() => true,
        };
        story.onboard(&second).await;
        gate.open();
        if is_held {
            first_call.await;
        }
        let ends = [
            story.onboard(&first).await.status,
            story.onboard(&second).await.status,
        ];
        assert!(ends.contains(&201), "{passes}: {ends:?}");
        assert_eq!(story.subscriptions_count().await, 1, "{passes}");
        passes += 1;
    }
    assert!(passes > 6, "{passes}");
}

/// The same, where the subscription is there and lacks meters of the catalog.
#[tokio::test]
async fn two_names_at_once_add_no_item_twice() {
    let mut is_held = true;
    let mut passes = 0;
    while is_held {
        let story = Story::start().await;
        let operations = story.price_of_operations().await;
        let customer_id = story.customer_of_stripe(WITH_CARD).await;
        story
            .subscription_of_stripe(&customer_id, &[&operations])
            .await;
        story.world.start_catalog().await;
        let gate = Gate::start(&story.world.stripe_url(), passes).await;
        let held_back = stripe_client(&gate.url, 1);
        let url = crate::service::serve_with(&story.world, held_back).await;
        let [first, second] = ["a", "b"].map(|name| adopting_as(&customer_id, name));
        let mut first_call = pin!(story.onboard_at(&url, &first));
        is_held = tokio::select! {
            _ = &mut first_call => false,
            () = gate.reached() => true,
        };
        story.onboard(&second).await;
        gate.open();
        if is_held {
            first_call.await;
        }
        let names = story.world.agreed_items(&customer_id).await;
        assert_eq!(names, [METER_EVENT_NAME, TOKENS], "{passes}");
        assert_eq!(story.subscriptions_count().await, 1, "{passes}");
        passes += 1;
    }
    assert!(passes > 6, "{passes}");
}

#[tokio::test]
async fn a_subscription_to_the_price_is_adopted_with_its_customer() {
    let story = Story::start().await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    let price = story.price_of_operations().await;
    let form = format!("customer={customer_id}&items[0][price]={price}&metadata[crm]=8");
    let subscription = story.world.stripe_form("/v1/subscriptions", &form).await;
    let done = story.onboard(&adopting(&customer_id)).await.expect(201);
    assert_eq!(done["subscription_id"], subscription["id"]);
    assert_eq!(story.subscriptions_count().await, 1);
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    let marked = story.world.stripe_get(&path).await;
    assert_eq!(marked["metadata"]["crm"], "8");
    assert!(marked["metadata"]["meterline_onboarding"].is_string());
}

#[tokio::test]
async fn an_adopted_customer_needs_something_to_pay_by() {
    let story = Story::start().await;
    let customer_id = story.customer_of_stripe("email=ada@example.com").await;
    let refused = story.onboard(&adopting(&customer_id)).await.expect(400);
    assert_eq!(refused["field"], "payment_method");
    let mut by_checkout = adopting(&customer_id);
    by_checkout["checkout"] = json!({ "success_url": "https://agent.example/done" });
    let waits = story.onboard(&by_checkout).await.expect(202);
    let session = waits["checkout_url"].as_str().unwrap();
    let session = session.rsplit('/').next().unwrap();
    let path = format!("/_simulator/checkout_sessions/{session}/complete");
    story
        .world
        .tell_simulator(&path, &json!({}))
        .await
        .expect(200);
    // How it was asked for does not matter any more.
    let done = story.onboard(&adopting(&customer_id)).await.expect(201);
    assert_eq!(done["customer_id"], customer_id.as_str());

    let other = story.customer_of_stripe("email=bob@example.com").await;
    let mut with_card = adopting(&other);
    with_card["payment_method"] = json!("pm_card_visa");
    story.onboard(&with_card).await.expect(201);
}

#[tokio::test]
async fn a_customer_on_a_test_clock_stays_on_it() {
    let story = Story::start().await;
    let clock = story.world.test_clock().await;
    let form = format!("{WITH_CARD}&test_clock={clock}");
    let customer_id = story.customer_of_stripe(&form).await;
    story.onboard(&adopting(&customer_id)).await.expect(201);
    let row = story.world.customer(&customer_id).await;
    assert_eq!(row.test_clock, Some(clock));
}

#[tokio::test]
async fn a_crash_at_any_call_to_stripe_is_gone_on_from() {
    for kind in ["error_before", "lose_answer"] {
        for skip in 0..8 {
            let story = Story::start().await;
            let customer_id = story.customer_of_stripe(WITH_CARD).await;
            let fault = json!({ "kind": kind, "path_prefix": "/v1", "skip": skip });
            story.world.break_stripe(&fault).await;
            let mut answer = story.onboard(&adopting(&customer_id)).await;
            if answer.status != 201 {
                answer = story.onboard(&adopting(&customer_id)).await;
            }
            answer.expect(201);
            assert_eq!(story.world.repair_stripe().await, 1, "{kind} {skip}");
            assert_eq!(story.subscriptions_count().await, 1, "{kind} {skip}");
        }
    }
}

#[tokio::test]
async fn whom_stripe_does_not_have_is_refused() {
    let story = Story::start().await;
    let unknown = story.onboard(&adopting("cus_x")).await.expect(400);
    assert_eq!(unknown["field"], "stripe_customer_id");
    let gone = story.customer_of_stripe(WITH_CARD).await;
    story
        .world
        .stripe_delete(&format!("/v1/customers/{gone}"))
        .await;
    let refused = story.onboard(&adopting(&gone)).await;
    assert_eq!(refused.problem(409), "conflict");
    // What Stripe has of the customer already is not Meterline's to say.
    let mut with_email = adopting("cus_1");
    with_email["email"] = json!("ada@example.com");
    let refused = story.onboard(&with_email).await.expect(400);
    assert_eq!(refused["field"], "email");
    let refused = story.onboard(&adopting("ada")).await.expect(400);
    assert_eq!(refused["field"], "stripe_customer_id");
    // One whom Meterline made is adopted by nobody else.
    let ours = story.onboard(&a_customer("acme")).await.expect(201);
    let customer_id = ours["customer_id"].as_str().unwrap();
    let refused = story.onboard(&adopting(customer_id)).await;
    assert_eq!(refused.problem(409), "conflict");
    let all = ListCustomers::default();
    let all = story.world.stripe.list_all_customers(&all).await.unwrap();
    assert_eq!(all.data.len(), 1);
}

/// Each call to Stripe is lost, or fails, in turn; the repeat finds what is done.
#[tokio::test]
async fn a_subscription_that_lacks_meters_of_the_catalog_gets_them_once() {
    for kind in ["error_before", "lose_answer"] {
        let mut crashes = 0;
        loop {
            let story = Story::start().await;
            let operations = story.price_of_operations().await;
            let customer_id = story.customer_of_stripe(WITH_CARD).await;
            let subscription_id = story
                .subscription_of_stripe(&customer_id, &[&operations])
                .await;
            story.world.start_catalog().await;
            let fault = json!({ "kind": kind, "path_prefix": "/v1", "skip": crashes });
            story.world.break_stripe(&fault).await;
            let mut answer = story.onboard(&adopting(&customer_id)).await;
            let has_crashed = story.world.repair_stripe().await == 1;
            if answer.status != 201 {
                answer = story.onboard(&adopting(&customer_id)).await;
            }
            let done = answer.expect(201);
            assert_eq!(done["subscription_id"], subscription_id.as_str());
            let names = story.world.agreed_items(&customer_id).await;
            assert_eq!(names, [METER_EVENT_NAME, TOKENS], "{kind} {crashes}");
            assert_eq!(story.subscriptions_count().await, 1);
            if !has_crashed {
                break;
            }
            crashes += 1;
        }
        // Prices, meters, customer and its mark, setups, subscriptions twice and
        // the mark, the item, and the subscription anew.
        assert_eq!(crashes, 11, "{kind}");
    }
}

#[tokio::test]
async fn a_lost_item_is_found_again_when_stripe_has_forgotten_its_key() {
    let story = Story::start().await;
    let operations = story.price_of_operations().await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    story
        .subscription_of_stripe(&customer_id, &[&operations])
        .await;
    story.world.start_catalog().await;
    let fault = json!({ "kind": "lose_answer", "path_prefix": "/v1/subscription_items" });
    story.world.break_stripe(&fault).await;
    let lost = story.onboard(&adopting(&customer_id)).await;
    assert_eq!(lost.problem(503), "stripe-unavailable");
    assert_eq!(story.world.repair_stripe().await, 1);
    story.world.clock.advance_ms(2 * DAY_MS);
    story.onboard(&adopting(&customer_id)).await.expect(201);
    let names = story.world.agreed_items(&customer_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
}

#[tokio::test]
async fn whatever_bills_a_meter_of_the_catalog_already_is_adopted_at_its_price() {
    let story = Story::start().await;
    // An old price of the tokens, and nothing for operations.
    let (old_tokens, _) = story.world.metered_price(&PRICE_OF_TOKENS).await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    let subscription_id = story
        .subscription_of_stripe(&customer_id, &[&old_tokens])
        .await;
    story.world.start_catalog().await;
    let done = story.onboard(&adopting(&customer_id)).await.expect(201);
    assert_eq!(done["subscription_id"], subscription_id.as_str());
    let names = story.world.agreed_items(&customer_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
    let row = story.world.customer(&customer_id).await;
    assert_eq!(row.item_of_meter(TOKENS).unwrap().price_id, old_tokens);
}

#[tokio::test]
async fn two_subscriptions_to_the_catalogs_meters_are_for_the_operator_to_join() {
    let story = Story::start().await;
    let operations = story.price_of_operations().await;
    let tokens = story.world.start_catalog().await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    story
        .subscription_of_stripe(&customer_id, &[&operations])
        .await;
    let other = story.subscription_of_stripe(&customer_id, &[&tokens]).await;
    let refused = story.onboard(&adopting(&customer_id)).await;
    assert_eq!(refused.problem(409), "conflict");
    let path = format!("/v1/subscriptions/{other}");
    story.world.stripe_delete(&path).await;
    story.onboard(&adopting(&customer_id)).await.expect(201);
    let names = story.world.agreed_items(&customer_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
}

#[tokio::test]
async fn a_subscription_in_another_currency_than_the_catalogs_is_not_adopted() {
    let story = Story::start().await;
    let in_euros = PriceOf {
        currency: "eur",
        ..PRICE_OF_TOKENS
    };
    let (in_euros, _) = story.world.metered_price(&in_euros).await;
    let customer_id = story.customer_of_stripe(WITH_CARD).await;
    story
        .subscription_of_stripe(&customer_id, &[&in_euros])
        .await;
    story.world.start_catalog().await;
    let refused = story.onboard(&adopting(&customer_id)).await;
    assert_eq!(refused.problem(409), "conflict");
    let told = refused.json()["detail"].to_string();
    assert!(told.contains("customer is in eur, and the price"), "{told}");
}
