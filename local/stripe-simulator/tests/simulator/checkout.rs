//! Checkout: what a person does, what time does, and what comes of a crash in between.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{DAY, HOUR, HandClock, START, Stripe, id};

async fn customer(stripe: &Stripe) -> String {
    let form = [("email", "ada@example.com")];
    id(&stripe.post("/v1/customers", &form).await.ok())
}

async fn setup_session(stripe: &Stripe, customer: &str) -> Value {
    let form = [
        ("mode", "setup"),
        ("currency", "usd"),
        ("customer", customer),
        ("success_url", "https://example.com/done"),
    ];
    stripe.post("/v1/checkout/sessions", &form).await.ok()
}

fn completion(session: &str) -> String {
    format!("/_simulator/checkout_sessions/{session}/complete")
}

#[tokio::test]
async fn a_session_that_nobody_completes_expires_by_itself() {
    let stripe = Stripe::start().await;
    let ada = customer(&stripe).await;
    let session = setup_session(&stripe, &ada).await;
    assert_eq!(session["expires_at"], START + DAY);
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    stripe.clock.pass(DAY - HOUR);
    stripe.settle().await;
    assert_eq!(stripe.get(&path).await["status"], "open");
    stripe.clock.pass(HOUR);
    stripe.settle().await;
    let expired = stripe.get(&path).await;
    assert_eq!(
        (&expired["status"], &expired["url"]),
        (&json!("expired"), &Value::Null)
    );
    let intent = session["setup_intent"].as_str().unwrap();
    let intent = stripe.get(&format!("/v1/setup_intents/{intent}")).await;
    assert_eq!(intent["status"], "canceled");
    let path = completion(&id(&session));
    stripe.post_json(&path, &json!({})).await.refused(400);
}

#[tokio::test]
async fn a_page_says_what_it_does_not_take() {
    let stripe = Stripe::start().await;
    let ada = customer(&stripe).await;
    let path = completion(&id(&setup_session(&stripe, &ada).await));
    let nothing = json!({ "payment_method": null });
    for (entry, status, param) in [
        (nothing, 400, json!("payment_method")),
        (json!({ "colour": "red" }), 400, Value::Null),
        (
            json!({ "payment_method": "pm_x" }),
            400,
            json!("payment_method"),
        ),
        (
            json!({ "payment_method": "pm_card_chargeDeclined" }),
            402,
            Value::Null,
        ),
    ] {
        let refused = stripe.post_json(&path, &entry).await.refused(status);
        assert_eq!(refused["param"], param, "{entry}");
    }
    // A bank that wants its owner has them: they are at the page.
    let entry = json!({ "payment_method": "pm_card_authenticationRequiredOnSetup" });
    let done = stripe.post_json(&path, &entry).await.ok();
    assert_eq!(done["status"], "complete");
    stripe.post_json(&path, &json!({})).await.refused(400);
    let unknown = completion("cs_test_x");
    stripe.post_json(&unknown, &json!({})).await.refused(404);
}

#[tokio::test]
async fn a_session_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.db");
    let clock = HandClock::at(START);
    let stripe = Stripe::on_file(&file, Arc::clone(&clock)).await;
    let ada = customer(&stripe).await;
    let session = setup_session(&stripe, &ada).await;
    stripe.stop().await;
    let stripe = Stripe::on_file(&file, clock).await;
    let path = completion(&id(&session));
    let done = stripe.post_json(&path, &json!({})).await.ok();
    assert_eq!(done["customer"], json!(ada));
    let path = format!("/v1/customers/{ada}/payment_methods");
    let methods = stripe.get(&path).await;
    assert_eq!(methods["data"].as_array().unwrap().len(), 1);
}
