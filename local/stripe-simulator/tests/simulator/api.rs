//! What every request meets: keys, versions, parameters, lists, expansion.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ACACIA, Stripe, Subscriber, catalog, client, id, send};

#[tokio::test]
async fn only_the_secret_key_opens_the_api() {
    let stripe = Stripe::start().await;
    let url = format!("{}/v1/account", stripe.url);
    let without = send(client().get(&url)).await;
    assert!(without.header("request-id").unwrap().starts_with("req_"));
    let error = without.refused(401);
    assert_eq!(error["type"], "invalid_request_error");
    let wrong = send(client().get(&url).bearer_auth("sk_test_wrong_key")).await;
    let error = wrong.refused(401).to_string();
    assert!(error.contains("Invalid API Key provided"));
    assert!(
        !error.contains("wrong_key"),
        "the key stays out of the answer"
    );
    let account = stripe.get("/v1/account").await;
    assert_eq!(account["object"], "account");
}

#[tokio::test]
async fn unknown_paths_and_parameters_are_refused() {
    let stripe = Stripe::start().await;
    for (method, path) in [
        (Method::GET, "/v1/charges/ch_1/nothing"),
        (Method::GET, "/v1/products/"),
        (Method::DELETE, "/v1/account"),
        (Method::GET, "/"),
    ] {
        let refused = send(stripe.request(method, path)).await.refused(404);
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.starts_with("Unrecognized request URL"),
            "{path}: {message}"
        );
    }
    let form = [("name", "A"), ("colour", "red"), ("size[x]", "1")];
    let refused = stripe.post("/v1/products", &form).await.refused(400);
    assert_eq!(refused["code"], "parameter_unknown");
    assert_eq!(
        refused["message"],
        "Received unknown parameters: colour, size"
    );
    let products = stripe.get("/v1/products").await;
    assert_eq!(
        products["data"],
        json!([]),
        "a refusal leaves nothing behind"
    );
    let missing = send(stripe.request(Method::GET, "/v1/products/prod_none")).await;
    let missing = missing.refused(404);
    assert_eq!(missing["code"], "resource_missing");
    assert_eq!(missing["message"], "No such product: 'prod_none'");
}

#[tokio::test]
async fn v1_takes_forms_and_v2_json_with_a_version() {
    let stripe = Stripe::start().await;
    stripe
        .post_json("/v1/products", &json!({ "name": "A" }))
        .await
        .refused(400);
    let path = "/v2/billing/meter_event_session";
    let unversioned = stripe.request(Method::POST, path).json(&json!({}));
    send(unversioned).await.refused(400);
    let unknown = stripe
        .request(Method::GET, "/v1/products")
        .header("Stripe-Version", "2026-06-24.tulip");
    send(unknown).await.refused(400);
    let pinned = stripe
        .request(Method::GET, "/v1/products")
        .header("Stripe-Version", ACACIA);
    assert_eq!(send(pinned).await.header("stripe-version"), Some(ACACIA));
}

#[tokio::test]
async fn lists_are_paged_both_ways() {
    let stripe = Stripe::start().await;
    let mut ids = Vec::new();
    for index in 0..5 {
        let name = index.to_string();
        let product = stripe.post("/v1/products", &[("name", &name)]).await.ok();
        ids.insert(0, id(&product));
    }
    let page = async |query: String| -> (Vec<String>, Value) {
        let list = stripe.get(&format!("/v1/products?{query}")).await;
        let ids = list["data"].as_array().unwrap().iter().map(id).collect();
        (ids, list["has_more"].clone())
    };
    assert_eq!(
        page("limit=2".to_owned()).await,
        (ids[..2].to_vec(), json!(true))
    );
    let after = format!("limit=2&starting_after={}", ids[2]);
    assert_eq!(page(after).await, (ids[3..].to_vec(), json!(false)));
    let before = format!("limit=2&ending_before={}", ids[3]);
    assert_eq!(page(before).await, (ids[1..3].to_vec(), json!(true)));
    for wrong in ["limit=0", "limit=101", "starting_after=prod_none"] {
        let path = format!("/v1/products?{wrong}");
        send(stripe.request(Method::GET, &path)).await.refused(400);
    }
}

#[tokio::test]
async fn ids_are_expanded_on_request() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!(
        "/v1/subscriptions/{}?expand[]=customer&expand[]=latest_invoice&expand[]=items.data.price.product",
        ada.subscription_id()
    );
    let subscription = stripe.get(&path).await;
    assert_eq!(subscription["customer"]["email"], "ada@example.com");
    assert_eq!(subscription["latest_invoice"]["object"], "invoice");
    let item = &subscription["items"]["data"][0];
    assert_eq!(item["price"]["product"]["name"], "Documents");
    let wrong = format!(
        "/v1/subscriptions/{}?expand[]=nothing",
        ada.subscription_id()
    );
    send(stripe.request(Method::GET, &wrong)).await.refused(400);
}

#[tokio::test]
async fn tiers_are_shown_when_expanded() {
    let stripe = Stripe::start().await;
    let form = [
        ("product_data[name]", "Documents"),
        ("currency", "usd"),
        ("recurring[interval]", "month"),
        ("billing_scheme", "tiered"),
        ("tiers_mode", "graduated"),
        ("tiers[0][up_to]", "10"),
        ("tiers[0][unit_amount_decimal]", "1.5"),
        ("tiers[1][up_to]", "inf"),
        ("tiers[1][unit_amount]", "1"),
    ];
    let price = stripe.post("/v1/prices", &form).await.ok();
    assert!(price.get("tiers").is_none());
    let path = format!("/v1/prices/{}?expand[]=tiers", id(&price));
    let tiers = stripe.get(&path).await["tiers"].clone();
    assert_eq!(tiers[0]["unit_amount_decimal"], "1.5");
    assert_eq!(tiers[1]["up_to"], Value::Null);
}

#[tokio::test]
async fn prices_are_found_by_lookup_key_and_customers_by_metadata() {
    let stripe = Stripe::start().await;
    let (_, price) = catalog(&stripe).await;
    let found = stripe
        .get("/v1/prices?lookup_keys[]=documents&lookup_keys[]=x")
        .await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(id(&found["data"][0]), price);
    let form = [
        ("metadata[external_id]", "crm-1"),
        ("email", "ada@example.com"),
    ];
    let customer = stripe.post("/v1/customers", &form).await.ok();
    stripe
        .post("/v1/customers", &[("metadata[external_id]", "crm-2")])
        .await
        .ok();
    let query = "metadata%5B'external_id'%5D:'crm-1'";
    let found = stripe
        .get(&format!("/v1/customers/search?query={query}"))
        .await;
    assert_eq!(found["object"], "search_result");
    assert_eq!(found["data"], json!([customer]));
}

#[tokio::test]
async fn a_test_card_becomes_a_payment_method_of_its_own() {
    let stripe = Stripe::start().await;
    let customer = id(&stripe.post("/v1/customers", &[("name", "Ada")]).await.ok());
    let attach = |card: &str| format!("/v1/payment_methods/{card}/attach");
    let form = [("customer", customer.as_str())];
    let visa = stripe.post(&attach("pm_card_visa"), &form).await.ok();
    assert!(id(&visa).starts_with("pm_1"));
    assert_eq!(visa["customer"], customer.as_str());
    let failing = stripe
        .post(&attach("pm_card_chargeCustomerFail"), &form)
        .await
        .ok();
    assert_ne!(id(&failing), id(&visa));
    let declined = stripe.post(&attach("pm_card_chargeDeclined"), &form).await;
    assert_eq!(declined.refused(402)["code"], "card_declined");
    let path = format!("/v1/customers/{customer}/payment_methods");
    let held = stripe.get(&path).await;
    assert_eq!(held["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn no_number_and_no_text_is_too_much() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let subscription = format!("/v1/subscriptions/{}", ada.subscription_id());
    let advance = format!("/v1/test_helpers/test_clocks/{}/advance", ada.test_clock);
    let fixed = [
        ("customer", ada.customer.as_str()),
        ("name", "A"),
        ("currency", "usd"),
    ];
    let fields = [
        ("/v1/subscriptions", "trial_period_days"),
        ("/v1/subscriptions", "trial_end"),
        ("/v1/subscriptions", "billing_cycle_anchor"),
        ("/v1/prices", "unit_amount"),
        ("/v1/prices", "unit_amount_decimal"),
        ("/v1/prices", "recurring[interval_count]"),
        ("/v1/customers", "balance"),
        ("/v1/customers", "metadata[a]"),
        ("/v1/customers", "metadata[a][b][c]"),
        ("/v1/billing/meter_events", "timestamp"),
        ("/v1/test_helpers/test_clocks", "frozen_time"),
        (&subscription, "cancel_at"),
        (&subscription, "days_until_due"),
        (&subscription, "items[0][quantity]"),
        (&advance, "frozen_time"),
    ];
    let extremes = [
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "32503680000",
        "1e400",
        "NaN",
        "",
        "\u{0}\u{1F980}",
    ];
    for (path, field) in fields {
        for extreme in extremes {
            let with_fixed = [&[(field, extreme)], &fixed[..]].concat();
            for form in [&[(field, extreme)][..], &with_fixed] {
                let answer = stripe.post(path, form).await;
                assert!(answer.status < 500, "{path} {form:?}: {}", answer.body);
            }
        }
    }
    let settled = stripe.post("/_simulator/settle", &[]).await;
    settled.ok();
}
