//! What onboarding somebody without a card, and parting from somebody, says to
//! Stripe and hears from it.

use serde_json::{Value, json};
use stripe::{
    Address, CancelSubscription, CheckoutMode, CreateBillingPortalSession, CreateCheckoutSession,
    CreateCustomer, CreateSetupIntent, CreateSubscription, ExposeSecret, Metadata,
    ProrationBehavior, RequestOptions, UpdateSubscription,
};

use crate::support::{Answer, Scripted};

fn metadata() -> Metadata {
    Metadata::from([("meterline".to_owned(), "1".to_owned())])
}

fn session(status: &str, url: &Value) -> Value {
    json!({
        "id": "cs_1", "object": "checkout.session", "mode": "setup", "status": status, "url": url,
        "expires_at": 20, "created": 10, "customer": "cus_1", "subscription": null,
        "setup_intent": { "id": "seti_1", "object": "setup_intent" }, "metadata": null,
        "payment_status": "no_payment_required",
    })
}

fn setup_intent(status: &str) -> Value {
    json!({
        "id": "seti_1", "object": "setup_intent", "status": status, "customer": "cus_1",
        "payment_method": { "id": "pm_1", "object": "payment_method" },
        "client_secret": "seti_1_secret_2", "metadata": { "meterline": "1" },
    })
}

fn subscription() -> Answer {
    Answer::ok(&json!({
        "id": "sub_1", "customer": "cus_1", "status": "active", "created": 1, "start_date": 1,
    }))
}

#[tokio::test]
async fn a_checkout_session_for_a_card_marks_what_it_makes() {
    let open = session("open", &json!("https://checkout.stripe.com/c/pay/cs_1"));
    let stripe = Scripted::with([Answer::ok(&open)]).await;
    let create = CreateCheckoutSession {
        customer: "cus_1".to_owned(),
        success_url: "https://example.com/done?id={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: Some("https://example.com/back".to_owned()),
        metadata: metadata(),
        ..CreateCheckoutSession::default()
    };
    let options = RequestOptions::new();
    let client = stripe.client();
    let made = client.create_checkout_session(&create, &options).await;
    let made = made.unwrap();
    assert!(made.is_open() && !made.is_complete());
    assert_eq!(made.setup_intent.as_deref(), Some("seti_1"));
    assert_eq!(
        made.url.as_deref(),
        Some("https://checkout.stripe.com/c/pay/cs_1")
    );
    assert_eq!(
        stripe.received()[0].params(),
        [
            "mode=setup",
            "currency=usd",
            "setup_intent_data[metadata][meterline]=1",
            "customer=cus_1",
            "success_url=https://example.com/done?id={CHECKOUT_SESSION_ID}",
            "cancel_url=https://example.com/back",
            "metadata[meterline]=1",
        ]
    );
}

#[tokio::test]
async fn a_checkout_session_can_subscribe() {
    let stripe = Scripted::with([Answer::ok(&session("open", &Value::Null))]).await;
    let create = CreateCheckoutSession {
        mode: CheckoutMode::Subscription {
            line_items: vec![
                ("price_1".to_owned(), None),
                ("price_2".to_owned(), Some(3)),
            ],
            trial_period_days: Some(14),
            billing_cycle_anchor: None,
            automatic_tax: true,
        },
        customer: "cus_1".to_owned(),
        success_url: "https://example.com".to_owned(),
        expires_at: Some(1_800),
        keeps_address: true,
        ..CreateCheckoutSession::default()
    };
    let options = RequestOptions::new();
    let client = stripe.client();
    client
        .create_checkout_session(&create, &options)
        .await
        .unwrap();
    assert_eq!(
        stripe.received()[0].params(),
        [
            "mode=subscription",
            "line_items[0][price]=price_1",
            "line_items[1][price]=price_2",
            "line_items[1][quantity]=3",
            "automatic_tax[enabled]=true",
            "subscription_data[trial_period_days]=14",
            "customer=cus_1",
            "success_url=https://example.com",
            "expires_at=1800",
            "customer_update[address]=auto",
            "billing_address_collection=required",
        ]
    );
}

#[tokio::test]
async fn sessions_are_read_listed_and_expired() {
    let done = session("complete", &Value::Null);
    let stripe = Scripted::with([
        Answer::ok(&done),
        Answer::ok(&json!({ "data": [done], "has_more": false })),
        Answer::ok(&session("expired", &Value::Null)),
    ])
    .await;
    let client = stripe.client();
    let read = client.retrieve_checkout_session("cs_1").await.unwrap();
    assert!(read.is_complete() && read.metadata.is_empty());
    let listed = client.list_checkout_sessions("cus_1").await.unwrap();
    assert_eq!(listed.data, [read]);
    let options = RequestOptions::new();
    let ended = client.expire_checkout_session("cs_1", &options).await;
    assert!(!ended.unwrap().is_open());
    assert_eq!(
        stripe.calls(),
        [
            "GET /v1/checkout/sessions/cs_1",
            "GET /v1/checkout/sessions",
            "POST /v1/checkout/sessions/cs_1/expire",
        ]
    );
    assert_eq!(stripe.received()[1].query, "customer=cus_1&limit=100");
}

#[tokio::test]
async fn a_setup_intent_keeps_its_secret_and_says_when_the_card_is_ready() {
    let stripe = Scripted::with([
        Answer::ok(&setup_intent("requires_confirmation")),
        Answer::ok(&setup_intent("succeeded")),
        Answer::ok(&json!({ "data": [setup_intent("canceled")], "has_more": false })),
    ])
    .await;
    let client = stripe.client();
    let create = CreateSetupIntent {
        customer: "cus_1".to_owned(),
        metadata: metadata(),
    };
    let waits = client
        .create_setup_intent(&create, &RequestOptions::new())
        .await
        .unwrap();
    assert!(waits.is_open());
    assert_eq!(waits.ready_payment_method(), None);
    assert!(!format!("{waits:?}").contains("secret_2"));
    let secret = waits.client_secret.unwrap();
    assert_eq!(secret.expose_secret(), "seti_1_secret_2");
    let done = client.retrieve_setup_intent("seti_1").await.unwrap();
    assert!(!done.is_open());
    assert_eq!(done.ready_payment_method(), Some("pm_1"));
    let listed = client.list_setup_intents("cus_1").await.unwrap();
    assert_eq!(listed.data[0].ready_payment_method(), None);
    assert_eq!(
        stripe.received()[0].params(),
        [
            "customer=cus_1",
            "usage=off_session",
            "automatic_payment_methods[enabled]=true",
            "metadata[meterline]=1",
        ]
    );
}

#[tokio::test]
async fn the_way_into_the_portal_is_a_secret() {
    let stripe = Scripted::with([Answer::ok(&json!({
        "id": "bps_1", "object": "billing_portal.session", "customer": "cus_1", "created": 10,
        "return_url": "https://example.com", "url": "https://billing.stripe.com/p/session/live_x",
    }))])
    .await;
    let create = CreateBillingPortalSession {
        customer: "cus_1".to_owned(),
        return_url: Some("https://example.com".to_owned()),
    };
    let client = stripe.client();
    let options = RequestOptions::new();
    let session = client.create_billing_portal_session(&create, &options);
    let session = session.await.unwrap();
    assert!(!format!("{session:?}").contains("live_x"));
    assert!(session.url.expose_secret().ends_with("live_x"));
    assert_eq!(stripe.calls(), ["POST /v1/billing_portal/sessions"]);
    assert_eq!(
        stripe.received()[0].params(),
        ["customer=cus_1", "return_url=https://example.com"]
    );
}

#[tokio::test]
async fn a_customer_comes_with_an_address_and_tax_ids() {
    let customer = json!({ "id": "cus_1", "object": "customer", "created": 1 });
    let stripe = Scripted::with([Answer::ok(&customer)]).await;
    let create = CreateCustomer {
        address: Some(Address {
            country: Some("AT".to_owned()),
            postal_code: Some("1010".to_owned()),
            ..Address::default()
        }),
        tax_exempt: Some("reverse".to_owned()),
        tax_ids: vec![("eu_vat".to_owned(), "ATU12345678".to_owned())],
        ..CreateCustomer::default()
    };
    let client = stripe.client();
    let options = RequestOptions::new();
    client.create_customer(&create, &options).await.unwrap();
    assert_eq!(
        stripe.received()[0].params(),
        [
            "address[country]=AT",
            "address[postal_code]=1010",
            "tax_exempt=reverse",
            "tax_id_data[0][type]=eu_vat",
            "tax_id_data[0][value]=ATU12345678",
        ]
    );
}

#[tokio::test]
async fn a_subscription_begins_with_a_trial_changes_its_price_and_ends() {
    let stripe = Scripted::with([
        subscription(),
        subscription(),
        subscription(),
        subscription(),
    ])
    .await;
    let client = stripe.client();
    let options = RequestOptions::new();
    let create = CreateSubscription {
        customer: "cus_1".to_owned(),
        prices: vec!["price_1".to_owned()],
        trial_period_days: Some(14),
        billing_cycle_anchor: Some(1_000),
        proration_behavior: Some(ProrationBehavior::None),
        automatic_tax: true,
        ..CreateSubscription::default()
    };
    client.create_subscription(&create, &options).await.unwrap();
    let other_price = UpdateSubscription {
        item_price: Some(("si_1".to_owned(), "price_2".to_owned())),
        proration_behavior: Some(ProrationBehavior::None),
        metadata: metadata(),
        ..UpdateSubscription::default()
    };
    let ends = UpdateSubscription {
        cancel_at_period_end: Some(true),
        ..UpdateSubscription::default()
    };
    for changes in [&other_price, &ends] {
        let changed = client.update_subscription("sub_1", changes, &options).await;
        changed.unwrap();
    }
    let now = CancelSubscription { invoice_now: true };
    let ended = client.cancel_subscription("sub_1", &now, &options).await;
    ended.unwrap();

    let received = stripe.received();
    let said: Vec<Vec<String>> = received.iter().map(|one| one.params()).collect();
    assert_eq!(
        said,
        [
            vec![
                "customer=cus_1",
                "items[0][price]=price_1",
                "trial_period_days=14",
                "billing_cycle_anchor=1000",
                "proration_behavior=none",
                "automatic_tax[enabled]=true",
            ],
            vec![
                "items[0][id]=si_1",
                "items[0][price]=price_2",
                "proration_behavior=none",
                "metadata[meterline]=1",
            ],
            vec!["cancel_at_period_end=true"],
            vec!["invoice_now=true"],
        ]
    );
    assert_eq!(stripe.calls()[3], "DELETE /v1/subscriptions/sub_1");
    // A repeat of it ends nothing twice, so it has no key.
    assert_eq!(received[3].header("idempotency-key"), "");
}
