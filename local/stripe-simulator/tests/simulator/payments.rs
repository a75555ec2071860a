//! How an invoice is paid: its payment intent, its charges, and a customer who must authenticate.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ACACIA, DAY, HOUR, START, Stripe, Subscriber, give_card, id, send};
use crate::webhooks::Endpoint;

/// The payment intent of an invoice, by the payments that it has since basil.
async fn intent_of(stripe: &Stripe, invoice: &Value) -> Value {
    let path = format!(
        "/v1/invoices/{}?expand[]=payments.data.payment.payment_intent",
        id(invoice)
    );
    let invoice = stripe.get(&path).await;
    invoice["payments"]["data"][0]["payment"]["payment_intent"].clone()
}

async fn charges_of(stripe: &Stripe, customer: &str) -> Vec<Value> {
    let charges = stripe
        .get(&format!("/v1/charges?customer={customer}"))
        .await;
    charges["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_paid_invoice_has_an_intent_and_a_charge() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::billed(&stripe, "pm_card_visa").await;
    let invoice = ada.invoice(&stripe).await;
    let intent = intent_of(&stripe, &invoice).await;
    assert_eq!(
        (&intent["status"], &intent["amount_received"]),
        (&json!("succeeded"), &json!(100))
    );
    let path = format!("/v1/charges/{}", intent["latest_charge"].as_str().unwrap());
    let charge = stripe
        .get(&format!("{path}?expand[]=balance_transaction"))
        .await;
    assert_eq!(charge["paid"], true);
    assert_eq!(charge["payment_intent"], intent["id"]);
    assert_eq!(charge["payment_method_details"]["card"]["last4"], "4242");
    assert_eq!(charge["balance_transaction"]["net"], 100);
    let path = format!("/v1/invoice_payments?invoice={}", id(&invoice));
    let payment = stripe.get(&path).await["data"][0].clone();
    assert_eq!(
        (&payment["status"], &payment["amount_paid"]),
        (&json!("paid"), &json!(100))
    );
    assert_eq!(
        payment["status_transitions"]["paid_at"],
        ada.period_end() + HOUR
    );
    let resources = ["payment_intent", "charge", "invoice", "invoice_payment"];
    let told = stripe.told_of(&resources).await;
    let of_the_period = told.iter().rposition(|event| event == "invoice.created");
    assert_eq!(
        told[of_the_period.unwrap() + 1..],
        [
            "payment_intent.created",
            "invoice.finalized",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid",
        ]
    );
}

#[tokio::test]
async fn what_is_not_due_needs_no_payment() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let first = ada.invoice(&stripe).await;
    assert_eq!(
        (&first["status"], &first["amount_due"]),
        (&json!("paid"), &json!(0))
    );
    assert!(intent_of(&stripe, &first).await.is_null());
    assert!(charges_of(&stripe, &ada.customer).await.is_empty());
}

#[tokio::test]
async fn a_declined_charge_says_why_and_the_next_card_pays() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::billed(&stripe, "pm_card_chargeCustomerFail").await;
    let invoice = ada.invoice(&stripe).await;
    let path = format!("/v1/invoices/{}/pay", id(&invoice));
    let error = stripe.post(&path, &[]).await.refused(402);
    let [second, first] = &charges_of(&stripe, &ada.customer).await[..] else {
        panic!("the invoice was tried twice");
    };
    assert_eq!(error["charge"], second["id"]);
    assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    assert_eq!(
        (&first["status"], &first["failure_code"]),
        (&json!("failed"), &json!("card_declined"))
    );
    let intent = intent_of(&stripe, &invoice).await;
    assert_eq!(intent["last_payment_error"]["charge"], second["id"]);
    assert_eq!(
        intent["last_payment_error"]["decline_code"],
        "generic_decline"
    );
    assert!(intent["payment_method"].is_null());

    give_card(&stripe, &ada.customer, "pm_card_visa").await;
    stripe.post(&path, &[]).await.ok();
    let intent = intent_of(&stripe, &invoice).await;
    assert_eq!(intent["status"], "succeeded");
    assert!(intent["last_payment_error"].is_null());
}

#[tokio::test]
async fn a_card_that_wants_its_owner_leaves_the_invoice_open() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::billed(&stripe, "pm_card_authenticationRequired").await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(
        (&invoice["status"], &invoice["attempted"]),
        (&json!("open"), &json!(true))
    );
    assert_eq!(ada.status(&stripe).await, "past_due");
    let intent = intent_of(&stripe, &invoice).await;
    assert_eq!(intent["status"], "requires_action");
    assert_eq!(intent["next_action"]["type"], "use_stripe_sdk");
    assert!(charges_of(&stripe, &ada.customer).await.is_empty());
    let told = stripe.told_of(&["payment_intent", "invoice"]).await;
    assert_eq!(
        told[told.len() - 4..],
        [
            "payment_intent.requires_action",
            "invoice.updated",
            "invoice.payment_action_required",
            "invoice.payment_failed",
        ]
    );
    let path = format!("/v1/invoices/{}/pay", id(&invoice));
    let error = stripe.post(&path, &[]).await.refused(402);
    assert_eq!(error["code"], "invoice_payment_intent_requires_action");
    assert_eq!(error["payment_intent"]["id"], intent["id"]);

    let path = format!("/_simulator/payment_intents/{}/authenticate", id(&intent));
    let paid = stripe.post_json(&path, &json!({})).await.ok();
    assert_eq!(paid["status"], "succeeded");
    assert_eq!(ada.invoice(&stripe).await["status"], "paid");
    assert_eq!(ada.status(&stripe).await, "active");
    let again = stripe.post_json(&path, &json!({})).await.refused(400);
    assert_eq!(again["code"], "payment_intent_unexpected_state");
}

#[tokio::test]
async fn an_owner_who_does_not_authenticate_has_not_paid() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::billed(&stripe, "pm_card_authenticationRequired").await;
    let invoice = ada.invoice(&stripe).await;
    let intent = intent_of(&stripe, &invoice).await;
    let path = format!("/_simulator/payment_intents/{}/authenticate", id(&intent));
    let refused = stripe.post_json(&path, &json!({ "refused": true })).await;
    let refused = refused.ok();
    assert_eq!(refused["status"], "requires_payment_method");
    let code = "payment_intent_authentication_failure";
    assert_eq!(refused["last_payment_error"]["code"], code);
    assert_eq!(ada.invoice(&stripe).await["status"], "open");
    let told = stripe.told_of(&["payment_intent", "invoice"]).await;
    assert_eq!(
        told[told.len() - 2..],
        ["payment_intent.payment_failed", "invoice.payment_failed"]
    );
}

#[tokio::test]
async fn after_authentication_the_funds_may_be_missing() {
    let stripe = Stripe::start().await;
    let card = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds";
    let ada = Subscriber::billed(&stripe, card).await;
    let intent = intent_of(&stripe, &ada.invoice(&stripe).await).await;
    let path = format!("/_simulator/payment_intents/{}/authenticate", id(&intent));
    let failed = stripe.post_json(&path, &json!({})).await.ok();
    assert_eq!(
        failed["last_payment_error"]["decline_code"],
        "insufficient_funds"
    );
    assert_eq!(ada.status(&stripe).await, "past_due");
}

#[tokio::test]
async fn a_card_that_is_set_up_pays_while_its_owner_is_away() {
    let stripe = Stripe::start().await;
    let card = "pm_card_authenticationRequiredSetupForOffSession";
    let ada = Subscriber::billed(&stripe, card).await;
    assert_eq!(ada.invoice(&stripe).await["status"], "paid");
}

#[tokio::test]
async fn a_voided_invoice_cancels_its_intent_and_other_money_does_too() {
    for (path, form, reason) in [
        ("void", &[][..], "void_invoice"),
        ("pay", &[("paid_out_of_band", "true")][..], "automatic"),
    ] {
        let stripe = Stripe::start().await;
        let ada = Subscriber::billed(&stripe, "pm_card_chargeCustomerFail").await;
        let invoice = ada.invoice(&stripe).await;
        let path = format!("/v1/invoices/{}/{path}", id(&invoice));
        stripe.post(&path, form).await.ok();
        let intent = intent_of(&stripe, &invoice).await;
        assert_eq!(intent["status"], "canceled");
        assert_eq!(intent["cancellation_reason"], reason);
        let payments = stripe.get("/v1/invoice_payments?status=canceled").await;
        assert_eq!(payments["data"][0]["invoice"], invoice["id"]);
    }
}

#[tokio::test]
async fn an_event_of_an_older_version_shows_the_moment_too() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let form = [
        ("url", url.as_str()),
        ("enabled_events[]", "*"),
        ("api_version", ACACIA),
    ];
    stripe.post("/v1/webhook_endpoints", &form).await.ok();
    Subscriber::billed(&stripe, "pm_card_visa").await;
    let shown = |wanted: &str| {
        let events = endpoint.delivered().into_iter().map(|sent| sent.event());
        let mut found = events.filter(|event| event["type"] == wanted);
        found.next_back().unwrap()["data"]["object"].clone()
    };
    // Both went out after the invoice was paid.
    assert!(shown("invoice.created")["payment_intent"].is_null());
    let finalized = shown("invoice.finalized");
    assert!(finalized["payment_intent"].is_string());
    assert!(finalized["charge"].is_null());
    let paid = shown("invoice.paid");
    assert_eq!(paid["charge"], shown("charge.succeeded")["id"]);
    assert_eq!(shown("charge.succeeded")["invoice"], paid["id"]);
    assert!(
        !endpoint
            .types()
            .contains(&"invoice_payment.paid".to_owned())
    );
}

#[tokio::test]
async fn invoice_payments_came_with_basil() {
    let stripe = Stripe::start().await;
    let request = stripe.request(Method::GET, "/v1/invoice_payments");
    send(request.header("Stripe-Version", ACACIA))
        .await
        .refused(404);
}

#[tokio::test]
async fn a_balance_is_pending_for_two_days() {
    let stripe = Stripe::start().await;
    let form = [("email", "ada@example.com")];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    give_card(&stripe, &customer, "pm_card_visa").await;
    let form = [
        ("currency", "usd"),
        ("unit_amount", "1000"),
        ("recurring[interval]", "month"),
        ("product_data[name]", "Seat"),
    ];
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    stripe.post("/v1/subscriptions", &form).await.ok();
    let charge = id(&charges_of(&stripe, &customer).await[0]);
    let path = format!("/v1/balance_transactions?source={charge}");
    let transaction = stripe.get(&path).await["data"][0].clone();
    assert_eq!(
        (&transaction["amount"], &transaction["status"]),
        (&json!(1000), &json!("pending"))
    );
    assert!(transaction["available_on"].as_i64().unwrap() <= START + 2 * DAY);
    stripe.clock.pass(2 * DAY);
    let path = format!("/v1/balance_transactions/{}", id(&transaction));
    assert_eq!(stripe.get(&path).await["status"], "available");
}
