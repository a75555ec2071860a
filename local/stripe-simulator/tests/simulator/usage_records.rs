//! Usage records of the last version that had them, period by period.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    ACACIA, DAY, HOUR, START, Stripe, Subscriber, give_card, id, send, with_form,
};

async fn post(stripe: &Stripe, path: &str, form: &[(&str, &str)]) -> Value {
    let request = with_form(stripe.request(Method::POST, path), form);
    send(request.header("Stripe-Version", ACACIA)).await.ok()
}

async fn get(stripe: &Stripe, path: &str) -> Value {
    let request = stripe.request(Method::GET, path);
    send(request.header("Stripe-Version", ACACIA)).await.ok()
}

/// Subscribes a customer on a test clock to a metered price without a meter.
async fn subscribed(stripe: &Stripe) -> Subscriber {
    let form = [
        ("currency", "usd"),
        ("unit_amount", "5"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
        ("product_data[name]", "Legacy"),
    ];
    let price = id(&post(stripe, "/v1/prices", &form).await);
    let start = START.to_string();
    let form = [("frozen_time", start.as_str())];
    let test_clock = stripe.post("/v1/test_helpers/test_clocks", &form).await;
    let test_clock = id(&test_clock.ok());
    let form = [("test_clock", test_clock.as_str())];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    give_card(stripe, &customer, "pm_card_visa").await;
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    let subscription = stripe.post("/v1/subscriptions", &form).await.ok();
    Subscriber {
        test_clock,
        customer,
        meter: String::new(),
        subscription,
    }
}

#[tokio::test]
async fn a_summary_of_each_period_names_its_invoice() {
    let stripe = Stripe::start().await;
    let ada = subscribed(&stripe).await;
    let item = id(&ada.subscription["items"]["data"][0]);
    let records = format!("/v1/subscription_items/{item}/usage_records");
    let mut ends = vec![START, ada.period_end()];
    for quantity in ["10", "20"] {
        post(&stripe, &records, &[("quantity", quantity)]).await;
        let end = *ends.last().unwrap();
        stripe.advance(&ada.test_clock, end + 2 * HOUR).await;
        let path = format!("/v1/subscriptions/{}", ada.subscription_id());
        let next = &stripe.get(&path).await["items"]["data"][0]["current_period_end"];
        ends.push(next.as_i64().unwrap());
    }
    post(&stripe, &records, &[("quantity", "3")]).await;
    stripe.settle().await;

    let path = format!("/v1/subscription_items/{item}/usage_record_summaries");
    let summaries = get(&stripe, &path).await;
    let path_of_invoices = format!("/v1/invoices?subscription={}", ada.subscription_id());
    let invoices = stripe.get(&path_of_invoices).await["data"].clone();
    let told: Vec<Value> = summaries["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["total_usage"], one["period"], one["invoice"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!([3, { "start": ends[2], "end": null }, null]),
            json!([20, { "start": ends[1], "end": ends[2] }, invoices[0]["id"]]),
            json!([10, { "start": ends[0], "end": ends[1] }, invoices[1]["id"]]),
        ]
    );
    assert_eq!(invoices[0]["total"], 100);

    let page = get(&stripe, &format!("{path}?limit=2")).await;
    assert_eq!(page["has_more"], true);
    let after = id(&page["data"][1]);
    let page = get(&stripe, &format!("{path}?limit=2&starting_after={after}")).await;
    assert_eq!(page["data"], json!([summaries["data"][2]]));
    assert_eq!(page["has_more"], false);
    let path = format!("{path}?starting_after=sis_none");
    let request = stripe.request(Method::GET, &path);
    let refused = send(request.header("Stripe-Version", ACACIA)).await;
    assert_eq!(refused.refused(400)["param"], "starting_after");
}

#[tokio::test]
async fn an_added_item_counts_every_record_it_is_given() {
    let stripe = Stripe::start().await;
    let ada = subscribed(&stripe).await;
    let price = id(&ada.subscription["items"]["data"][0]["price"]);
    stripe.advance(&ada.test_clock, START + 10 * DAY).await;
    // Twice the same price is as good as another here.
    let subscription = ada.subscription_id();
    let form = [("subscription", subscription.as_str()), ("price", &price)];
    let added = stripe.post("/v1/subscription_items", &form).await.ok();
    let records = format!("/v1/subscription_items/{}/usage_records", id(&added));
    let before = (START + DAY).to_string();
    let form = [("quantity", "7"), ("timestamp", before.as_str())];
    post(&stripe, &records, &form).await;
    stripe.advance(&ada.test_clock, ada.period_end()).await;
    let line = &ada.invoice(&stripe).await["lines"]["data"][1];
    let whole = json!({ "start": START, "end": ada.period_end() });
    assert_eq!((&line["quantity"], &line["period"]), (&json!(7), &whole));
}

#[tokio::test]
async fn what_is_cancelled_at_once_ends_uninvoiced() {
    let stripe = Stripe::start().await;
    let ada = subscribed(&stripe).await;
    let item = id(&ada.subscription["items"]["data"][0]);
    stripe.advance(&ada.test_clock, START + DAY).await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    stripe.delete(&path).await;
    let path = format!("/v1/subscription_items/{item}/usage_record_summaries");
    let summary = get(&stripe, &path).await["data"][0].clone();
    assert_eq!(
        summary["period"],
        json!({ "start": START, "end": START + DAY })
    );
    assert!(summary["invoice"].is_null());
}

#[tokio::test]
async fn after_the_end_no_period_runs() {
    let stripe = Stripe::start().await;
    let ada = subscribed(&stripe).await;
    let item = id(&ada.subscription["items"]["data"][0]);
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    let form = [("cancel_at_period_end", "true")];
    stripe.post(&path, &form).await.ok();
    stripe
        .advance(&ada.test_clock, ada.period_end() + DAY)
        .await;
    let path = format!("/v1/subscription_items/{item}/usage_record_summaries");
    let summaries = get(&stripe, &path).await;
    let [last] = &summaries["data"].as_array().unwrap()[..] else {
        panic!("not one summary: {summaries}");
    };
    assert_eq!(last["period"]["end"], ada.period_end());
    assert!(last["invoice"].is_string());
}
