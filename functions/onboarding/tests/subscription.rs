//! Stories of customers who change, who leave, and who look for themselves.

use billing::CustomerId;
use ledger::{CustomerStatus, Scope};
use reqwest::Method;
use serde_json::{Value, json};
use stripe::{CreatePrice, PriceAmount, RequestOptions};

use crate::support::catalog::{PRICE_OF_TOKENS, PriceOf, TOKENS, TOKENS_LOOKUP_KEY};
use crate::support::world::{Answer, LOOKUP_KEY, METER_EVENT_NAME, World, a_customer, send};

struct Story {
    world: World,
    url: String,
    customer_id: String,
    subscription_id: String,
}

impl Story {
    async fn start() -> Self {
        Self::in_world(World::start().await).await
    }

    async fn start_with_catalog() -> Self {
        let world = World::start().await;
        world.start_catalog().await;
        Self::in_world(world).await
    }

    async fn in_world(world: World) -> Self {
        let url = crate::service::serve(&world).await;
        let customers = format!("{url}/v1/customers");
        let request = world.request(Method::POST, &customers);
        let done = send(request.json(&a_customer("acme"))).await.expect(201);
        Self {
            customer_id: done["customer_id"].as_str().unwrap().to_owned(),
            subscription_id: done["subscription_id"].as_str().unwrap().to_owned(),
            url: customers,
            world,
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let url = format!("{}/{}/{path}", self.url, self.customer_id);
        send(self.world.request(method, &url).json(body)).await
    }

    async fn change(&self, changes: &Value) -> Answer {
        self.call(Method::POST, "subscription", changes).await
    }

    async fn cancel(&self, query: &str) -> Answer {
        let path = format!("subscription{query}");
        self.call(Method::DELETE, &path, &json!({})).await
    }

    async fn of_stripe(&self) -> Value {
        let path = format!("/v1/subscriptions/{}", self.subscription_id);
        self.world.stripe_get(&path).await
    }

    async fn invoices_count(&self) -> usize {
        let path = format!("/v1/invoices?subscription={}", self.subscription_id);
        let invoices = self.world.stripe_get(&path).await;
        invoices["data"].as_array().unwrap().len()
    }

    /// A price of another name, to the same meter or to another one.
    async fn price(&self, lookup_key: &str, meter: Option<String>) -> String {
        let known = self
            .world
            .stripe
            .list_prices_by_lookup_key(LOOKUP_KEY)
            .await
            .unwrap();
        let known = &known.data[0];
        let same_meter = known.recurring.as_ref().unwrap().meter.clone();
        let price = CreatePrice {
            product: known.product.clone(),
            currency: "usd".to_owned(),
            amount: PriceAmount::PerUnit {
                unit_amount_decimal: "9".to_owned(),
                transform_quantity: None,
            },
            interval: "month".to_owned(),
            meter: meter.or(same_meter),
            lookup_key: Some(lookup_key.to_owned()),
            ..Default::default()
        };
        let options = RequestOptions::new();
        let made = self.world.stripe.create_price(&price, &options).await;
        made.unwrap().id
    }
}

#[tokio::test]
async fn a_subscription_ends_with_its_period_or_stays_after_all() {
    let story = Story::start().await;
    let before = story.world.customer(&story.customer_id).await;
    let ends = json!({ "cancel_at_period_end": true });
    let answer = story.change(&ends).await.expect(200);
    assert_eq!(answer["status"], "active");
    assert_eq!(answer["ends_at"], answer["current_period_end"]);
    let row = story.world.customer(&story.customer_id).await;
    assert_eq!(row.subscription_ends_at, Some(row.period_end));
    assert_eq!(row.version, before.version + 1);
    // Said again, nothing changes.
    assert_eq!(story.change(&ends).await.expect(200), answer);
    assert_eq!(story.world.customer(&story.customer_id).await, row);

    let stays = json!({ "cancel_at_period_end": false });
    let answer = story.change(&stays).await.expect(200);
    assert_eq!(answer["ends_at"], Value::Null);
    assert_eq!(story.of_stripe().await["cancel_at_period_end"], false);
}

#[tokio::test]
async fn a_subscription_ends_at_once_and_bills_what_was_used() {
    let story = Story::start().await;
    let invoices_before = story.invoices_count().await;
    let answer = story.cancel("").await.expect(200);
    assert_eq!(answer["status"], "canceled");
    assert!(answer["ends_at"].is_string());
    let row = story.world.customer(&story.customer_id).await;
    assert_eq!(row.status, CustomerStatus::Canceled);
    assert_eq!(story.of_stripe().await["status"], "canceled");
    assert_eq!(story.invoices_count().await, invoices_before + 1);
    // Whoever lost the answer asks again.
    assert_eq!(story.cancel("").await.expect(200), answer);
    assert_eq!(story.invoices_count().await, invoices_before + 1);
    let stays = json!({ "cancel_at_period_end": false });
    assert_eq!(story.change(&stays).await.problem(409), "conflict");
}

#[tokio::test]
async fn a_lost_answer_of_stripes_ends_a_subscription_all_the_same() {
    let story = Story::start().await;
    let fault = json!({ "kind": "lose_answer", "method": "DELETE", "path_prefix": "/v1" });
    story.world.break_stripe(&fault).await;
    let lost = story.cancel("?invoice_now=false").await;
    assert_eq!(lost.problem(503), "stripe-unavailable");
    assert_eq!(story.world.repair_stripe().await, 1);
    let answer = story.cancel("?invoice_now=false").await.expect(200);
    assert_eq!(answer["status"], "canceled");
}

#[tokio::test]
async fn a_price_is_changed_to_another_of_the_same_meter() {
    let story = Story::start().await;
    let dearer = story.price("dearer", None).await;
    let change = json!({ "price_lookup_key": "dearer", "proration_behavior": "always_invoice" });
    let answer = story.change(&change).await.expect(200);
    assert_eq!(answer["price_id"], dearer.as_str());
    let row = story.world.customer(&story.customer_id).await;
    assert_eq!(row.item.price.to_string(), "0.09 usd a unit");
    assert_eq!(
        answer["subscription_item_id"],
        row.item.subscription_item_id
    );
    let item = &story.of_stripe().await["items"]["data"][0];
    assert_eq!(item["price"]["id"], dearer.as_str());
    assert_eq!(story.change(&change).await.expect(200), answer);
}

#[tokio::test]
async fn a_change_of_price_forgives_no_usage() {
    let story = Story::start_with_catalog().await;
    let before = story.world.customer(&story.customer_id).await;
    let dearer = story.price("dearer", None).await;
    let unprorated = async |lookup_key: &str| {
        let change = json!({ "price_lookup_key": lookup_key, "proration_behavior": "none" });
        story.change(&change).await
    };
    let refused = unprorated("dearer").await.expect(400);
    assert_eq!(refused["field"], "proration_behavior");
    assert_eq!(story.world.customer(&story.customer_id).await, before);
    let item = &story.of_stripe().await["items"]["data"][0];
    assert_eq!(item["price"]["id"], before.item.price_id.as_str());

    // Where nothing changes, nothing is forgiven.
    unprorated(LOOKUP_KEY).await.expect(200);
    let change = json!({ "price_lookup_key": "dearer" });
    story.change(&change).await.expect(200);
    let answer = unprorated("dearer").await.expect(200);
    assert_eq!(answer["price_id"], dearer.as_str());
}

#[tokio::test]
async fn the_price_of_each_meter_can_be_changed() {
    let story = Story::start_with_catalog().await;
    let before = story.world.customer(&story.customer_id).await;
    let tokens = before.item_of_meter(TOKENS).unwrap().clone();
    let dearer = PriceOf {
        lookup_key: "dear_tokens",
        unit_amount_decimal: "0.0008",
        ..PRICE_OF_TOKENS
    };
    let (dearer, _) = story.world.metered_price(&dearer).await;
    let change = json!({ "price_lookup_key": "dear_tokens", "cancel_at_period_end": true });
    let answer = story.change(&change).await.expect(200);
    assert_eq!(answer["price_id"], dearer.as_str());
    assert_eq!(answer["subscription_item_id"], tokens.subscription_item_id);
    assert_eq!(answer["subscription_items"][1]["price_id"], dearer.as_str());
    assert_eq!(answer["ends_at"], answer["current_period_end"]);
    let names = story.world.agreed_items(&story.customer_id).await;
    assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
    let row = story.world.customer(&story.customer_id).await;
    let changed = row.item_of_meter(TOKENS).unwrap();
    assert_eq!(changed.price.to_string(), "0.000008 usd a unit");
    assert_eq!(row.item, before.item);
    assert_eq!(story.change(&change).await.expect(200), answer);
}

#[tokio::test]
async fn a_meter_that_came_into_the_catalog_later_gets_an_item_once() {
    for kind in ["error_before", "lose_answer"] {
        let story = Story::start().await;
        // An item that is added forgives nothing.
        let change = json!({ "price_lookup_key": TOKENS_LOOKUP_KEY,
            "proration_behavior": "none" });
        let (_, tokens) = story.world.metered_price(&PRICE_OF_TOKENS).await;
        // No usage would go there yet.
        let refused = story.change(&change).await.expect(400);
        assert_eq!(refused["field"], "price_lookup_key");
        let operations = story.world.operations().await;
        story.world.store_catalog(&[operations, tokens]).await;
        let fault = json!({ "kind": kind, "path_prefix": "/v1/subscription_items" });
        story.world.break_stripe(&fault).await;
        let lost = story.change(&change).await;
        assert_eq!(lost.problem(503), "stripe-unavailable", "{kind}");
        assert_eq!(story.world.repair_stripe().await, 1);
        let answer = story.change(&change).await.expect(200);
        let names = story.world.agreed_items(&story.customer_id).await;
        assert_eq!(names, [METER_EVENT_NAME, TOKENS]);
        let row = story.world.customer(&story.customer_id).await;
        let added = row.item_of_meter(TOKENS).unwrap();
        assert_eq!(answer["subscription_item_id"], added.subscription_item_id);
        assert_eq!(answer["price_id"], added.price_id);
        assert_eq!(story.change(&change).await.expect(200), answer);
    }
}

#[tokio::test]
async fn a_meter_that_took_the_event_name_of_another_is_another_meter() {
    let story = Story::start().await;
    let row = story.world.customer(&story.customer_id).await;
    let meters = "/v1/billing/meters";
    let deactivate = format!("{meters}/{}/deactivate", row.item.meter_id);
    story.world.stripe_form(&deactivate, "").await;
    let form =
        format!("display_name=New&event_name={METER_EVENT_NAME}&default_aggregation[formula]=sum");
    let meter = story.world.stripe_form(meters, &form).await;
    let meter = meter["id"].as_str().unwrap().to_owned();
    story.price("renewed", Some(meter)).await;
    let change = json!({ "price_lookup_key": "renewed" });
    let refused = story.change(&change).await.expect(400);
    assert_eq!(refused["field"], "price_lookup_key");
    assert_eq!(story.world.customer(&story.customer_id).await, row);
}

#[tokio::test]
async fn what_would_lose_usage_or_says_nothing_is_refused() {
    let story = Story::start().await;
    let meter = story
        .world
        .stripe_form(
            "/v1/billing/meters",
            "display_name=Other&event_name=other&default_aggregation[formula]=sum",
        )
        .await;
    let meter = meter["id"].as_str().unwrap().to_owned();
    story.price("elsewhere", Some(meter)).await;
    let in_euros = PriceOf {
        event_name: METER_EVENT_NAME,
        lookup_key: "in_euros",
        currency: "eur",
        ..PRICE_OF_TOKENS
    };
    story.world.metered_price(&in_euros).await;
    for (changes, field) in [
        (
            json!({ "price_lookup_key": "elsewhere" }),
            "price_lookup_key",
        ),
        (json!({ "price_lookup_key": "nowhere" }), "price_lookup_key"),
        (
            json!({ "price_lookup_key": "in_euros" }),
            "price_lookup_key",
        ),
        (json!({ "price_lookup_key": "" }), "price_lookup_key"),
        (json!({}), "price_lookup_key"),
        (
            json!({ "cancel_at_period_end": true, "proration_behavior": "none" }),
            "proration_behavior",
        ),
    ] {
        let refused = story.change(&changes).await.expect(400);
        assert_eq!(refused["field"], field, "{changes}");
    }
    let refused = story.cancel("?invoice_now=perhaps").await.expect(400);
    assert_eq!(refused["field"], "invoice_now");
    let misspelt = story.change(&json!({ "cancel": true })).await;
    assert_eq!(misspelt.problem(400), "invalid-request");
    assert_eq!(story.of_stripe().await["cancel_at_period_end"], false);
}

#[tokio::test]
async fn a_customer_gets_a_way_into_the_portal() {
    let story = Story::start().await;
    let path = "billing-portal-sessions";
    let body = json!({ "return_url": "https://agent.example/account" });
    let opened = story.call(Method::POST, path, &body).await;
    assert_eq!(opened.headers["cache-control"], "no-store");
    let url = opened.expect(201)["url"].clone();
    assert!(
        url.as_str()
            .unwrap()
            .starts_with("https://billing.stripe.com/")
    );
    let another = story.call(Method::POST, path, &json!({})).await.expect(201);
    assert_ne!(another["url"], url);
    let body = json!({ "return_url": "account" });
    let refused = story.call(Method::POST, path, &body).await.expect(400);
    assert_eq!(refused["field"], "return_url");

    let customer = format!("/v1/customers/{}", story.customer_id);
    story.world.stripe_delete(&customer).await;
    let gone = story.call(Method::POST, path, &json!({})).await;
    assert_eq!(gone.problem(409), "conflict");
}

#[tokio::test]
async fn only_an_operator_may_and_only_for_a_customer_of_ours() {
    let story = Story::start().await;
    let own = CustomerId::parse(&story.customer_id).unwrap();
    let reader = story.world.api_key(Scope::Read, Some(vec![own])).await;
    for (method, path) in [
        (Method::POST, "subscription"),
        (Method::DELETE, "subscription"),
        (Method::POST, "billing-portal-sessions"),
    ] {
        let known = format!("{}/{}/{path}", story.url, story.customer_id);
        let request = story.world.http.request(method.clone(), &known);
        let request = request.bearer_auth(&reader).json(&json!({}));
        assert_eq!(send(request).await.problem(403), "forbidden");
        let unknown = format!("{}/cus_x/{path}", story.url);
        let changes = match path {
            "subscription" => json!({ "cancel_at_period_end": true }),
            _ => json!({}),
        };
        let request = story.world.request(method, &unknown).json(&changes);
        assert_eq!(send(request).await.problem(404), "customer-not-found");
    }
}
