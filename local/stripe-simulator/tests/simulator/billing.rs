//! From a meter event to a paid invoice.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    ACACIA, DAY, HOUR, START, Stripe, Subscriber, event, give_card, id, send, with_form,
};
use crate::webhooks::{Delivered, Endpoint};

/// Only a broken simulator takes so long.
const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn usage_is_metered_invoiced_and_paid() {
    let stripe = Stripe::start().await;
    let (endpoint, url) = Endpoint::start().await;
    let secret = stripe.webhook_endpoint(&url).await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    assert_eq!(ada.subscription["status"], "active");
    assert_eq!(ada.period_end(), START + 31 * DAY);

    let token = stripe.session().await;
    let events = [
        event("one", &ada.customer, "7", 0),
        event("two", &ada.customer, "8", 60),
    ];
    stripe.stream(&token, &events).await.ok();
    assert_eq!(ada.counted(&stripe).await, 0, "accepted is not aggregated");
    assert_eq!(stripe.settle().await["aggregated"], 2);
    assert_eq!(ada.counted(&stripe).await, 15);
    let form = [("customer", ada.customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await.ok();
    assert_eq!(preview["amount_due"], 188, "187.5 cents, half up");

    stripe.advance(&ada.test_clock, ada.period_end() + 60).await;
    let draft = ada.invoice(&stripe).await;
    assert_eq!(draft["status"], "draft");
    assert_eq!(draft["automatically_finalizes_at"], ada.period_end() + HOUR);
    assert_eq!(draft["lines"]["data"][0]["quantity"], 15);

    // Late, but of the period that ended; and of the one that began.
    let late = [
        event("late", &ada.customer, "1", 31 * DAY - 1),
        event("next", &ada.customer, "100", 31 * DAY),
    ];
    stripe.stream(&token, &late).await.ok();
    stripe
        .advance(&ada.test_clock, ada.period_end() + HOUR)
        .await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(invoice["status"], "paid");
    assert_eq!(invoice["lines"]["data"][0]["quantity"], 16);
    assert_eq!(invoice["amount_paid"], 200);
    let transitions = &invoice["status_transitions"];
    assert_eq!(transitions["finalized_at"], ada.period_end() + HOUR);
    let parent = &invoice["parent"]["subscription_details"];
    assert_eq!(parent["subscription"], ada.subscription_id());
    let lines = stripe
        .get(&format!("/v1/invoices/{}/lines", id(&invoice)))
        .await;
    assert_eq!(lines["data"], invoice["lines"]["data"]);

    let types = endpoint.types();
    for expected in [
        "customer.subscription.created",
        "customer.subscription.updated",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "test_helpers.test_clock.ready",
    ] {
        assert!(types.iter().any(|found| found == expected), "{expected}");
    }
    for delivered in endpoint.delivered() {
        delivered.check(&secret);
    }
}

#[tokio::test]
async fn in_the_background_everything_happens_by_itself() {
    let stripe = Stripe::automatic().await;
    let (endpoint, url) = Endpoint::start().await;
    stripe.webhook_endpoint(&url).await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "8", 0)];
    stripe.stream(&token, &usage).await.ok();
    // Not even aggregation waits for a clock that stands still when a test clock moves.
    let advance = format!("/v1/test_helpers/test_clocks/{}/advance", ada.test_clock);
    let target = (ada.period_end() + HOUR).to_string();
    stripe
        .post(&advance, &[("frozen_time", &target)])
        .await
        .ok();
    let is_paid = |delivered: &Delivered| {
        let event = delivered.event();
        event["type"] == "invoice.paid" && event["data"]["object"]["amount_paid"] == 100
    };
    let story = async {
        while !endpoint.delivered().iter().any(is_paid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, story)
        .await
        .expect("a paid invoice");
    assert_eq!(ada.invoice(&stripe).await["status"], "paid");
    assert_eq!(ada.counted(&stripe).await, 8);
    stripe.stop().await;
}

#[tokio::test]
async fn a_failed_payment_makes_past_due_and_a_paid_one_active_again() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_chargeCustomerFail").await;
    assert_eq!(ada.subscription["status"], "active", "nothing was due yet");
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "10", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe
        .advance(&ada.test_clock, ada.period_end() + HOUR)
        .await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(invoice["status"], "open");
    assert_eq!(invoice["attempt_count"], 1);
    assert_eq!(
        invoice["next_payment_attempt"],
        ada.period_end() + HOUR + 3 * DAY
    );
    assert_eq!(ada.status(&stripe).await, "past_due");
    let failed = stripe.get("/v1/events?type=invoice.payment_failed").await;
    assert_eq!(failed["data"].as_array().unwrap().len(), 1);

    let pay = format!("/v1/invoices/{}/pay", id(&invoice));
    let declined = stripe.post(&pay, &[]).await.refused(402);
    assert_eq!(declined["type"], "card_error");
    assert_eq!(declined["code"], "card_declined");
    let failed = stripe.get("/v1/events?type=invoice.payment_failed").await;
    assert_eq!(
        failed["data"].as_array().unwrap().len(),
        2,
        "the attempt left its traces"
    );

    give_card(&stripe, &ada.customer, "pm_card_visa").await;
    assert_eq!(stripe.post(&pay, &[]).await.ok()["status"], "paid");
    assert_eq!(ada.status(&stripe).await, "active");
    let again = stripe.post(&pay, &[]).await.refused(400);
    assert_eq!(again["message"], "Invoice is already paid");
}

#[tokio::test]
async fn payments_are_tried_again_until_the_subscription_is_unpaid() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_chargeCustomerFail").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "10", 0)];
    stripe.stream(&token, &usage).await.ok();
    let finalized_at = ada.period_end() + HOUR;
    stripe
        .advance(&ada.test_clock, finalized_at + 3 * DAY)
        .await;
    assert_eq!(ada.invoice(&stripe).await["attempt_count"], 2);
    assert_eq!(ada.status(&stripe).await, "past_due");
    stripe
        .advance(&ada.test_clock, finalized_at + 15 * DAY)
        .await;
    let invoice = ada.invoice(&stripe).await;
    assert_eq!(invoice["attempt_count"], 4);
    assert!(invoice["next_payment_attempt"].is_null());
    assert_eq!(ada.status(&stripe).await, "unpaid");

    // Another payment method than the default settles it.
    let attach = "/v1/payment_methods/pm_card_visa/attach";
    let form = [("customer", ada.customer.as_str())];
    let visa = id(&stripe.post(attach, &form).await.ok());
    let pay = format!("/v1/invoices/{}/pay", id(&invoice));
    let form = [("payment_method", visa.as_str())];
    assert_eq!(stripe.post(&pay, &form).await.ok()["status"], "paid");
    assert_eq!(ada.status(&stripe).await, "active");
}

#[tokio::test]
async fn a_long_advance_passes_every_period_on_its_way() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "8", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe.advance(&ada.test_clock, START + 59 * DAY).await;
    let path = format!("/v1/invoices?customer={}", ada.customer);
    let invoices = stripe.get(&path).await["data"].as_array().unwrap().clone();
    let found: Vec<_> = invoices
        .iter()
        .map(|invoice| {
            (
                &invoice["status"],
                &invoice["total"],
                &invoice["period_end"],
            )
        })
        .collect();
    let (paid, draft) = (json!("paid"), json!("draft"));
    let (second_end, first_end) = (json!(START + 59 * DAY), json!(START + 31 * DAY));
    let start = json!(START);
    let expected = [
        (&draft, &json!(0), &second_end),
        (&paid, &json!(100), &first_end),
        (&paid, &json!(0), &start),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_draft_can_be_finalised_by_hand_and_collected_later() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "8", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe.advance(&ada.test_clock, ada.period_end()).await;
    let draft = ada.invoice(&stripe).await;
    let finalize = format!("/v1/invoices/{}/finalize", id(&draft));
    let open = stripe.post(&finalize, &[]).await.ok();
    assert_eq!(
        (&open["status"], &open["amount_due"]),
        (&json!("open"), &json!(100))
    );
    let again = stripe.post(&finalize, &[]).await.refused(400);
    assert_eq!(again["code"], "invoice_not_editable");
    stripe
        .advance(&ada.test_clock, ada.period_end() + HOUR)
        .await;
    assert_eq!(ada.invoice(&stripe).await["status"], "paid");
}

#[tokio::test]
async fn a_canceled_subscription_bills_no_more() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    stripe
        .post(&path, &[("cancel_at_period_end", "true")])
        .await
        .ok();
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "8", 0)];
    stripe.stream(&token, &usage).await.ok();
    stripe.advance(&ada.test_clock, START + 58 * DAY).await;
    assert_eq!(ada.status(&stripe).await, "canceled");
    let last = ada.invoice(&stripe).await;
    assert_eq!(
        (&last["status"], &last["total"]),
        (&json!("paid"), &json!(100))
    );
    assert_eq!(last["period_end"], ada.period_end());
}

#[tokio::test]
async fn usage_records_belong_to_versions_before_basil() {
    let stripe = Stripe::start().await;
    let post = async |path: &str, form: &[(&str, &str)]| {
        let request = stripe
            .request(reqwest::Method::POST, path)
            .header("Stripe-Version", ACACIA);
        send(with_form(request, form)).await
    };
    let price = [
        ("product_data[name]", "Documents"),
        ("currency", "usd"),
        ("unit_amount", "10"),
        ("recurring[interval]", "month"),
        ("recurring[usage_type]", "metered"),
    ];
    let refused = stripe.post("/v1/prices", &price).await.refused(400);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("backed by meters")
    );
    let price = id(&post("/v1/prices", &price).await.ok());
    let form = [("payment_method", "pm_card_visa")];
    let customer = id(&post("/v1/customers", &form).await.ok());
    let form = [("customer", customer.as_str()), ("items[0][price]", &price)];
    let subscription = post("/v1/subscriptions", &form).await.ok();
    assert_eq!(subscription["current_period_end"], START + 31 * DAY);
    let item = id(&subscription["items"]["data"][0]);
    let records = format!("/v1/subscription_items/{item}/usage_records");
    for (quantity, action) in [("5", "increment"), ("5", "increment"), ("3", "increment")] {
        let form = [("quantity", quantity), ("action", action)];
        let record = post(&records, &form).await.ok();
        assert!(id(&record).starts_with("mbur_"));
    }
    stripe.settle().await;
    let form = [("customer", customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await.ok();
    assert_eq!(preview["total"], 130);
    let form = [("quantity", "4"), ("action", "set")];
    post(&records, &form).await.ok();
    stripe.settle().await;
    let form = [("customer", customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await.ok();
    assert_eq!(
        preview["total"], 40,
        "set replaces what stood at its timestamp"
    );
    stripe
        .post(&records, &[("quantity", "1")])
        .await
        .refused(404);
}
