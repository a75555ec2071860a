//! Accounts whose metered prices have no meter.

use serde_json::json;
use stripe::{
    CreatePrice, CreateSubscription, CreateSubscriptionItem, RequestOptions, STRIPE_VERSION,
    STRIPE_VERSION_WITH_USAGE_RECORDS,
};

use crate::support::{Answer, Scripted};

#[tokio::test]
async fn what_has_no_meter_is_made_in_the_last_version_that_has_it() {
    let price = Answer::ok(&json!({
        "id": "price_1", "active": true, "currency": "usd", "product": "prod_1",
    }));
    let created = Answer::ok(&json!({ "id": "sub_1", "object": "subscription" }));
    let current = Answer::ok(&json!({
        "id": "sub_1", "customer": "cus_1", "status": "active", "created": 1, "start_date": 1,
    }));
    let summaries = Answer::ok(&json!({ "object": "list", "has_more": false, "data": [
        { "id": "sis_1", "invoice": null, "period": { "start": 1, "end": null },
          "subscription_item": "si_1", "total_usage": 7 },
    ] }));
    let stripe = Scripted::with([price, created, current, summaries]).await;
    let (client, options) = (stripe.client(), RequestOptions::new());
    let without_meter = CreatePrice {
        meter: None,
        ..CreatePrice::default()
    };
    client.create_price(&without_meter, &options).await.unwrap();
    let subscription = CreateSubscription {
        bills_usage_records: true,
        ..CreateSubscription::default()
    };
    let made = client.create_subscription(&subscription, &options).await;
    assert_eq!(made.unwrap().status, "active");
    let summaries = client.list_usage_record_summaries("si_1").await.unwrap();
    assert_eq!(summaries.data[0].total_usage, 7);

    let received = stripe.received();
    assert!(
        !received[0]
            .params()
            .iter()
            .any(|param| param.contains("meter="))
    );
    let versions: Vec<&str> = received
        .iter()
        .map(|request| request.header("stripe-version"))
        .collect();
    let (old, new) = (STRIPE_VERSION_WITH_USAGE_RECORDS, STRIPE_VERSION);
    assert_eq!(versions, [old, old, new, old]);
    assert_eq!(stripe.calls()[2], "GET /v1/subscriptions/sub_1");
    assert_eq!(
        stripe.calls()[3],
        "GET /v1/subscription_items/si_1/usage_record_summaries"
    );
}

#[tokio::test]
async fn an_item_without_a_meter_is_added_in_the_old_version_and_read_in_the_new_one() {
    // The old version shows the period on the subscription alone.
    let created = Answer::ok(&json!({ "id": "si_2", "object": "subscription_item" }));
    let current = Answer::ok(&json!({
        "id": "si_2", "created": 1, "current_period_start": 1, "current_period_end": 2,
        "price": { "id": "price_2", "active": true, "currency": "usd", "product": "prod_2" },
    }));
    let stripe = Scripted::with([created, current]).await;
    let (client, options) = (stripe.client(), RequestOptions::new());
    let create = CreateSubscriptionItem {
        subscription: "sub_1".to_owned(),
        price: "price_2".to_owned(),
        bills_usage_records: true,
        ..CreateSubscriptionItem::default()
    };
    let made = client.create_subscription_item(&create, &options).await;
    assert_eq!(made.unwrap().current_period_end, 2);

    let received = stripe.received();
    let versions: Vec<&str> = received
        .iter()
        .map(|request| request.header("stripe-version"))
        .collect();
    let (old, new) = (STRIPE_VERSION_WITH_USAGE_RECORDS, STRIPE_VERSION);
    assert_eq!(versions, [old, new]);
    assert_eq!(
        stripe.calls(),
        [
            "POST /v1/subscription_items",
            "GET /v1/subscription_items/si_2"
        ]
    );
}
