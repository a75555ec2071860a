//! What Stripe's SDKs do and expect beyond the reference's plain requests. `make
//! conformance` drives the simulator with them; this is what that brought to light.

use reqwest::Method;
use serde_json::json;

use crate::support::{ACACIA, HOUR, START, Stripe, Subscriber, event, id, send, with_form};

#[tokio::test]
async fn booleans_may_have_a_capital() {
    let stripe = Stripe::start().await;
    let form = [("name", "A"), ("active", "False")];
    let product = stripe.post("/v1/products", &form).await.ok();
    assert_eq!(product["active"], false);
}

#[tokio::test]
async fn lists_in_v2_may_repeat_their_name() {
    let stripe = Stripe::start().await;
    let token = stripe.session().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let usage = [event("one", &ada.customer, "many", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe.settle().await;
    let types = ["error_report_triggered", "no_meter_found"];
    for (wanted, count) in [(&types[..], 1), (&types[1..], 0)] {
        let query: Vec<String> = wanted
            .iter()
            .map(|name| format!("types=v1.billing.meter.{name}"))
            .collect();
        let path = format!("/v2/core/events?{}", query.join("&"));
        let found = stripe.get_v2(&path).await["data"].clone();
        assert_eq!(found.as_array().map(Vec::len), Some(count), "{wanted:?}");
    }
}

#[tokio::test]
async fn another_account_is_out_of_reach() {
    let stripe = Stripe::start().await;
    let own = id(&stripe.get("/v1/account").await);
    let as_account = |account: &str| {
        let request = stripe.request(Method::GET, "/v1/customers");
        request.header("Stripe-Account", account.to_owned())
    };
    send(as_account(&own)).await.ok();
    let refused = send(as_account("acct_other")).await.refused(403);
    assert_eq!(refused["code"], "account_invalid");
    let other = stripe.request(Method::GET, "/v1/accounts/acct_other");
    send(other).await.refused(403);
}

#[tokio::test]
async fn an_ordered_rate_limit_says_when_to_come_back() {
    let stripe = Stripe::start().await;
    let fault = json!({ "kind": "error_before", "status": 429, "retry_after_s": 7 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let answer = send(stripe.request(Method::GET, "/v1/customers")).await;
    assert_eq!(answer.header("retry-after"), Some("7"));
    answer.refused(429);
}

#[tokio::test]
async fn until_acacia_objects_had_another_shape() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "8", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe
        .advance(&ada.test_clock, ada.period_end() + 2 * HOUR)
        .await;
    let invoice = id(&ada.invoice(&stripe).await);
    let path = format!("/v1/invoices/{invoice}?expand[]=subscription&expand[]=payment_intent");
    let request = stripe.request(Method::GET, &path);
    let invoice = send(request.header("Stripe-Version", ACACIA)).await.ok();
    assert_eq!(invoice["paid"], true);
    let intent = &invoice["payment_intent"];
    assert_eq!(intent["status"], "succeeded");
    assert_eq!(intent["latest_charge"], invoice["charge"]);
    assert_eq!(intent["invoice"], invoice["id"]);
    assert!(intent.get("managed_payments").is_none());
    assert!(invoice.get("parent").is_none());
    let line = &invoice["lines"]["data"][0];
    assert_eq!(line["type"], "subscription");
    assert_eq!(line["price"]["object"], "price");
    assert!(line.get("pricing").is_none());
    let subscription = &invoice["subscription"];
    assert!(subscription["current_period_end"].is_i64());
    assert!(subscription.get("billing_mode").is_none());
    let item = &subscription["items"]["data"][0];
    assert!(item.get("current_period_end").is_none());
}

#[tokio::test]
async fn a_price_without_a_meter_said_how_it_adds_up() {
    let stripe = Stripe::start().await;
    let form = [
        ("currency", "usd"),
        ("unit_amount", "5"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("product_data[name]", "Legacy"),
    ];
    let request = with_form(stripe.request(Method::POST, "/v1/prices"), &form);
    let price = send(request.header("Stripe-Version", ACACIA)).await.ok();
    assert_eq!(price["recurring"]["aggregate_usage"], "sum");
    let newer = stripe.get(&format!("/v1/prices/{}", id(&price))).await;
    assert!(newer["recurring"].get("aggregate_usage").is_none());
}

#[tokio::test]
async fn a_test_clock_has_room_for_three_customers() {
    let stripe = Stripe::start().await;
    let frozen_time = START.to_string();
    let form = [("frozen_time", frozen_time.as_str())];
    let clock = id(&stripe
        .post("/v1/test_helpers/test_clocks", &form)
        .await
        .ok());
    let form = [("test_clock", clock.as_str())];
    for _ in 0..3 {
        stripe.post("/v1/customers", &form).await.ok();
    }
    let refused = stripe.post("/v1/customers", &form).await.refused(400);
    assert_eq!(refused["param"], "test_clock");
}

#[tokio::test]
async fn metadata_is_bounded() {
    let stripe = Stripe::start().await;
    let long = "v".repeat(501);
    let form = [("metadata[k]", long.as_str())];
    let refused = stripe.post("/v1/customers", &form).await.refused(400);
    assert_eq!(refused["param"], "metadata");
    let form = [("metadata[k]", &long[1..])];
    stripe.post("/v1/customers", &form).await.ok();
}
