//! What goes over the wire.

use serde_json::json;
use stripe::{
    Aggregation, CreateCustomer, CreateEventDestination, CreateMeter, CreatePrice,
    CreateSubscription, CreateSubscriptionItem, CreateUsageRecord, CreateWebhookEndpoint,
    IdempotencyKey, InvalidRequest, ListEvents, ListMeterEventSummaries, Metadata, MeterEvent,
    MeterEventOutcome, PriceAmount, PriceTier, ProrationBehavior, RequestOptions, STRIPE_VERSION,
    STRIPE_VERSION_WITH_USAGE_RECORDS, TransformQuantity, UpdateCustomer, ValueGroupingWindow,
};

use crate::support::{Answer, KEY, Scripted};

fn customer() -> Answer {
    Answer::ok(&json!({ "id": "cus_1", "object": "customer", "created": 1, "metadata": {} }))
}

fn price() -> Answer {
    Answer::ok(&json!({
        "id": "price_1", "active": true, "currency": "usd", "product": "prod_1",
        "unit_amount_decimal": "0.025",
    }))
}

#[tokio::test]
async fn every_request_says_who_asks_and_in_which_version() {
    let stripe = Scripted::with([customer(), customer()]).await;
    let client = stripe.client();
    client.retrieve_customer("cus_1").await.unwrap();
    let options = RequestOptions::new().idempotency_key(IdempotencyKey::new("customer-acme"));
    client
        .create_customer(&CreateCustomer::default(), &options)
        .await
        .unwrap();

    let received = stripe.received();
    for request in &received {
        assert_eq!(request.header("authorization"), format!("Bearer {KEY}"));
        assert_eq!(request.header("stripe-version"), STRIPE_VERSION);
        assert!(
            request
                .header("user-agent")
                .starts_with("meterline-stripe/")
        );
    }
    assert_eq!(received[0].header("idempotency-key"), "");
    assert_eq!(received[1].header("idempotency-key"), "customer-acme");
    assert_eq!(
        received[1].header("content-type"),
        "application/x-www-form-urlencoded"
    );
}

#[tokio::test]
async fn a_post_without_a_key_gets_one_of_its_own() {
    let stripe = Scripted::with([customer(), customer()]).await;
    let options = RequestOptions::new();
    for _ in 0..2 {
        stripe
            .client()
            .create_customer(&CreateCustomer::default(), &options)
            .await
            .unwrap();
    }
    let received = stripe.received();
    let keys: Vec<&str> = received
        .iter()
        .map(|post| post.header("idempotency-key"))
        .collect();
    assert_eq!(keys[0].len(), 32);
    assert_ne!(
        keys[0], keys[1],
        "Stripe would answer the second call with the first one's answer"
    );
}

#[tokio::test]
async fn customers_are_made_and_changed_by_form() {
    let stripe = Scripted::with([customer(), customer()]).await;
    let create = CreateCustomer {
        email: Some("a+b@example.com".to_owned()),
        metadata: Metadata::from([("external_id".to_owned(), "acme & co".to_owned())]),
        payment_method: Some("pm_card_visa".to_owned()),
        test_clock: Some("clock_1".to_owned()),
        ..CreateCustomer::default()
    };
    stripe
        .client()
        .create_customer(&create, &RequestOptions::new())
        .await
        .unwrap();
    let change = UpdateCustomer {
        default_payment_method: Some("pm_1".to_owned()),
        ..UpdateCustomer::default()
    };
    stripe
        .client()
        .update_customer("cus_1", &change, &RequestOptions::new())
        .await
        .unwrap();

    assert_eq!(
        stripe.calls(),
        ["POST /v1/customers", "POST /v1/customers/cus_1"]
    );
    assert_eq!(
        stripe.received()[0].params(),
        [
            "email=a+b@example.com",
            "payment_method=pm_card_visa",
            "invoice_settings[default_payment_method]=pm_card_visa",
            "test_clock=clock_1",
            "metadata[external_id]=acme & co",
        ]
    );
    // What is not said stays as it is.
    let changed = stripe.received()[1].params();
    assert_eq!(changed, ["invoice_settings[default_payment_method]=pm_1"]);
}

#[tokio::test]
async fn a_catalog_is_made_by_form() {
    let meter = Answer::ok(&json!({
        "id": "mtr_1", "display_name": "Documents", "event_name": "documents",
        "status": "active", "default_aggregation": { "formula": "sum" },
        "customer_mapping": { "event_payload_key": "stripe_customer_id", "type": "by_id" },
        "value_settings": { "event_payload_key": "value" },
    }));
    let stripe = Scripted::with([meter, price()]).await;
    let create = CreateMeter {
        display_name: "Documents".to_owned(),
        event_name: "documents".to_owned(),
        formula: Aggregation::Sum,
    };
    let meter = stripe
        .client()
        .create_meter(&create, &RequestOptions::new())
        .await
        .unwrap();
    assert_eq!(meter.default_aggregation.formula, Aggregation::Sum);
    let create = CreatePrice {
        product: "prod_1".to_owned(),
        currency: "usd".to_owned(),
        amount: PriceAmount::PerUnit {
            unit_amount_decimal: "0.025".to_owned(),
            transform_quantity: None,
        },
        interval: "month".to_owned(),
        meter: Some(meter.id),
        lookup_key: Some("documents".to_owned()),
        ..CreatePrice::default()
    };
    let price = stripe
        .client()
        .create_price(&create, &RequestOptions::new())
        .await
        .unwrap();
    assert_eq!(price.unit_amount_decimal.as_deref(), Some("0.025"));

    assert_eq!(
        stripe.received()[0].params(),
        [
            "display_name=Documents",
            "event_name=documents",
            "default_aggregation[formula]=sum",
            "customer_mapping[event_payload_key]=stripe_customer_id",
            "customer_mapping[type]=by_id",
            "value_settings[event_payload_key]=value",
        ]
    );
    assert_eq!(
        stripe.received()[1].params(),
        [
            "product=prod_1",
            "currency=usd",
            "billing_scheme=per_unit",
            "unit_amount_decimal=0.025",
            "recurring[interval]=month",
            "recurring[usage_type]=metered",
            "recurring[meter]=mtr_1",
            "lookup_key=documents",
        ]
    );
}

#[tokio::test]
async fn packages_and_tiers_are_made_by_form() {
    let stripe = Scripted::with([price(), price()]).await;
    let packages = PriceAmount::PerUnit {
        unit_amount_decimal: "250".to_owned(),
        transform_quantity: Some(TransformQuantity {
            divide_by: 1_000,
            round: "up".to_owned(),
        }),
    };
    let first = PriceTier {
        up_to: Some(10),
        unit_amount_decimal: Some("2".to_owned()),
        ..PriceTier::default()
    };
    let last = PriceTier {
        flat_amount_decimal: Some("100".to_owned()),
        ..PriceTier::default()
    };
    let tiers = PriceAmount::Tiered {
        tiers_mode: "graduated".to_owned(),
        tiers: vec![first, last],
    };
    for amount in [packages, tiers] {
        let create = CreatePrice {
            amount,
            ..CreatePrice::default()
        };
        let client = stripe.client();
        let created = client.create_price(&create, &RequestOptions::new()).await;
        created.unwrap();
    }
    let amounts = |index: usize| {
        let params = stripe.received()[index].params();
        let is_amount = |param: &String| !param.starts_with("recurring");
        let params = params.into_iter().filter(is_amount).skip(2);
        params.collect::<Vec<_>>()
    };
    assert_eq!(
        amounts(0),
        [
            "billing_scheme=per_unit",
            "unit_amount_decimal=250",
            "transform_quantity[divide_by]=1000",
            "transform_quantity[round]=up",
        ]
    );
    assert_eq!(
        amounts(1),
        [
            "billing_scheme=tiered",
            "tiers_mode=graduated",
            "tiers[0][up_to]=10",
            "tiers[0][unit_amount_decimal]=2",
            "tiers[1][up_to]=inf",
            "tiers[1][flat_amount_decimal]=100",
        ]
    );
}

#[tokio::test]
async fn a_subscription_lists_its_prices_as_items() {
    let subscription = json!({
        "id": "sub_1", "customer": "cus_1", "status": "active", "created": 1, "start_date": 1,
    });
    let stripe = Scripted::with([Answer::ok(&subscription)]).await;
    let create = CreateSubscription {
        customer: "cus_1".to_owned(),
        prices: vec!["price_1".to_owned(), "price_2".to_owned()],
        ..CreateSubscription::default()
    };
    stripe
        .client()
        .create_subscription(&create, &RequestOptions::new())
        .await
        .unwrap();
    assert_eq!(
        stripe.received()[0].params(),
        [
            "customer=cus_1",
            "items[0][price]=price_1",
            "items[1][price]=price_2"
        ]
    );
}

#[tokio::test]
async fn an_item_is_added_to_a_subscription() {
    let item = json!({
        "id": "si_2", "object": "subscription_item", "metadata": {},
        "created": 1, "current_period_start": 1, "current_period_end": 2,
        "price": { "id": "price_2", "active": true, "currency": "usd", "product": "prod_2" },
    });
    let stripe = Scripted::with([Answer::ok(&item)]).await;
    let create = CreateSubscriptionItem {
        subscription: "sub_1".to_owned(),
        price: "price_2".to_owned(),
        proration_behavior: Some(ProrationBehavior::None),
        ..CreateSubscriptionItem::default()
    };
    let options = RequestOptions::new().idempotency_key(IdempotencyKey::new("second-item"));
    let client = stripe.client();
    let made = client.create_subscription_item(&create, &options).await;
    let made = made.unwrap();
    assert_eq!(
        (made.id.as_str(), made.price.id.as_str()),
        ("si_2", "price_2")
    );
    let received = &stripe.received()[0];
    assert_eq!(stripe.calls(), ["POST /v1/subscription_items"]);
    assert_eq!(received.header("idempotency-key"), "second-item");
    assert_eq!(received.header("stripe-version"), STRIPE_VERSION);
    assert_eq!(
        received.params(),
        [
            "subscription=sub_1",
            "price=price_2",
            "proration_behavior=none"
        ]
    );
}

#[tokio::test]
async fn a_usage_record_is_asked_for_in_the_last_version_that_has_them() {
    let record = json!({ "id": "mbur_1", "quantity": 7, "timestamp": 1_769_860_800 });
    let stripe = Scripted::with([Answer::ok(&record)]).await;
    let create = CreateUsageRecord {
        subscription_item: "si_1".to_owned(),
        quantity: 7,
        timestamp: 1_769_860_800,
    };
    stripe
        .client()
        .create_usage_record(&create, &RequestOptions::new())
        .await
        .unwrap();
    let received = &stripe.received()[0];
    assert_eq!(received.path, "/v1/subscription_items/si_1/usage_records");
    assert_eq!(
        received.header("stripe-version"),
        STRIPE_VERSION_WITH_USAGE_RECORDS
    );
    assert_eq!(
        received.params(),
        ["quantity=7", "timestamp=1769860800", "action=increment"]
    );
}

#[tokio::test]
async fn a_meter_event_that_stripe_has_already_is_no_error() {
    let has_it = |identifier: &str| {
        let message = format!("An event already exists with identifier {identifier}.");
        let error = json!({ "type": "invalid_request_error", "message": message });
        Answer::status(400, &json!({ "error": error })).header("stripe-should-retry", "false")
    };
    let stripe = Scripted::with([Answer::ok(&json!({})), has_it("id-1"), has_it("id-2")]).await;
    let client = stripe.client();
    let event = MeterEvent::new("id-1", "documents", 1_769_860_800_000, "cus_1", 7);
    let send = || async {
        client
            .create_meter_event(&event, &RequestOptions::new())
            .await
    };
    assert_eq!(send().await.unwrap(), MeterEventOutcome::Created);
    assert_eq!(send().await.unwrap(), MeterEventOutcome::AlreadyExists);
    let other = send().await.unwrap_err();
    assert_eq!(
        other.status(),
        Some(400),
        "an answer about another event settles nothing"
    );
}

#[tokio::test]
async fn v2_takes_json() {
    let destination = json!({
        "id": "ed_1", "name": "Meterline", "status": "enabled", "metadata": null,
        "enabled_events": ["v1.billing.meter.no_meter_found"],
        "webhook_endpoint": { "url": "https://example.com/", "signing_secret": "whsec_1" },
    });
    let stripe = Scripted::with([Answer::ok(&destination)]).await;
    let create = CreateEventDestination {
        name: "Meterline".to_owned(),
        url: "https://example.com/".to_owned(),
        enabled_events: vec!["v1.billing.meter.no_meter_found".to_owned()],
        metadata: Metadata::new(),
    };
    let options = RequestOptions::new();
    let made = stripe
        .client()
        .create_event_destination(&create, &options)
        .await
        .unwrap();
    let endpoint = format!("{:?}", made.webhook_endpoint.unwrap());
    assert!(!endpoint.contains("whsec_1"), "{endpoint}");
    let received = &stripe.received()[0];
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("stripe-version"), STRIPE_VERSION);
    assert_eq!(received.json()["event_payload"], "thin");
    assert_eq!(
        received.json()["webhook_endpoint"]["url"],
        "https://example.com/"
    );
}

#[tokio::test]
async fn events_are_asked_for_in_the_clients_own_version() {
    let endpoint = json!({
        "id": "we_1", "url": "https://example.com/", "status": "enabled",
        "enabled_events": ["invoice.paid"], "secret": "whsec_1",
    });
    let stripe = Scripted::with([Answer::ok(&endpoint)]).await;
    let create = CreateWebhookEndpoint {
        url: "https://example.com/".to_owned(),
        enabled_events: vec!["invoice.paid".to_owned()],
        ..CreateWebhookEndpoint::default()
    };
    let options = RequestOptions::new();
    let made = stripe
        .client()
        .create_webhook_endpoint(&create, &options)
        .await
        .unwrap();
    assert!(!format!("{made:?}").contains("whsec_1"));
    let version = format!("api_version={STRIPE_VERSION}");
    let expected = [
        "url=https://example.com/",
        "enabled_events[0]=invoice.paid",
        &version,
    ];
    assert_eq!(stripe.received()[0].params(), expected);
}

#[tokio::test]
async fn what_is_searched_for_is_in_the_query() {
    let nothing = json!({ "data": [], "has_more": false });
    let stripe = Scripted::start(move |_| Answer::ok(&nothing)).await;
    let client = stripe.client();
    client
        .search_customers_by_metadata("external_id", "it's")
        .await
        .unwrap();
    client.list_prices_by_lookup_key("documents").await.unwrap();
    let window = ListMeterEventSummaries {
        customer: "cus_1".to_owned(),
        start_time: 0,
        end_time: 3_600,
        value_grouping_window: Some(ValueGroupingWindow::Hour),
    };
    client
        .list_meter_event_summaries("mtr_1", &window)
        .await
        .unwrap();
    let filter = ListEvents {
        types: vec!["invoice.paid".to_owned()],
        created_gte: Some(5),
        delivery_success: Some(false),
        limit: Some(3),
        ..ListEvents::default()
    };
    client.list_events(&filter).await.unwrap();
    client.list_open_invoices("sub_1").await.unwrap();

    let params: Vec<Vec<String>> = stripe
        .received()
        .iter()
        .map(crate::support::Received::params)
        .collect();
    assert_eq!(
        params[0],
        [r"query=metadata['external_id']:'it\'s'", "limit=100"]
    );
    assert_eq!(
        params[1],
        [
            "lookup_keys[0]=documents",
            "active=true",
            "expand[0]=data.tiers",
            "limit=100"
        ]
    );
    assert_eq!(
        params[2],
        [
            "customer=cus_1",
            "start_time=0",
            "end_time=3600",
            "value_grouping_window=hour",
            "limit=100"
        ]
    );
    assert_eq!(
        params[3],
        [
            "types[0]=invoice.paid",
            "created[gte]=5",
            "delivery_success=false",
            "limit=3"
        ]
    );
    assert_eq!(
        params[4],
        ["subscription=sub_1", "status=open", "limit=100"]
    );
}

#[tokio::test]
async fn an_id_cannot_name_another_path() {
    let stripe = Scripted::with([customer()]).await;
    let client = stripe.client();
    client
        .retrieve_customer("cus_1/../../prices?x#")
        .await
        .unwrap();
    assert_eq!(
        stripe.calls(),
        ["GET /v1/customers/cus_1%2F..%2F..%2Fprices%3Fx%23"]
    );
    for id in ["", ".", ".."] {
        let refused = client.retrieve_customer(id).await.unwrap_err();
        assert!(
            matches!(refused, stripe::Error::InvalidRequest(InvalidRequest::Id)),
            "{id:?}"
        );
    }
    assert_eq!(stripe.calls().len(), 1);
}
