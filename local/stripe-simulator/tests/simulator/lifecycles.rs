//! How objects change, and which of it is refused.

use reqwest::Method;
use serde_json::json;

use crate::support::{DAY, HOUR, START, Stripe, Subscriber, event, give_card, id, send};

#[tokio::test]
async fn a_deactivated_meter_takes_no_events() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!("/v1/billing/meters/{}", ada.meter);
    let again = [
        ("display_name", "Again"),
        ("event_name", "documents"),
        ("default_aggregation[formula]", "sum"),
    ];
    stripe.post("/v1/billing/meters", &again).await.refused(400);
    stripe.post(&format!("{path}/deactivate"), &[]).await.ok();
    let usage = event("one", &ada.customer, "1", 0);
    let refused = stripe.post_json("/v2/billing/meter_events", &usage).await;
    assert_eq!(refused.refused(400)["code"], "archived_meter");
    stripe
        .post(&format!("{path}/deactivate"), &[])
        .await
        .refused(400);
    let active = stripe.post(&format!("{path}/reactivate"), &[]).await.ok();
    assert_eq!(active["status"], "active");
    stripe
        .post_json("/v2/billing/meter_events", &usage)
        .await
        .ok();
    let cancel = json!({
        "event_name": "documents", "type": "cancel", "cancel": { "identifier": "one" },
    });
    let path = "/v2/billing/meter_event_adjustments";
    let cancelled = stripe.post_json(path, &cancel).await.ok();
    assert_eq!(cancelled["object"], "v2.billing.meter_event_adjustment");
    stripe.settle().await;
    assert_eq!(ada.counted(&stripe).await, 0);
}

#[tokio::test]
async fn an_agreed_quantity_is_paid_in_advance_after_the_trial() {
    let stripe = Stripe::start().await;
    let start = START.to_string();
    let form = [("frozen_time", start.as_str())];
    let clock = stripe.post("/v1/test_helpers/test_clocks", &form).await;
    let clock = id(&clock.ok());
    let form = [("test_clock", clock.as_str())];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    let form = [
        ("product_data[name]", "Seats"),
        ("currency", "usd"),
        ("unit_amount", "900"),
        ("recurring[interval]", "month"),
    ];
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("items[0][quantity]", "3"),
        ("trial_period_days", "7"),
    ];
    let without_card = &form[..3];
    stripe
        .post("/v1/subscriptions", without_card)
        .await
        .refused(400);
    let subscription = stripe.post("/v1/subscriptions", &form).await.ok();
    assert_eq!(subscription["status"], "trialing");
    give_card(&stripe, &customer, "pm_card_visa").await;
    stripe.advance(&clock, START + 7 * DAY + HOUR).await;
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let active = stripe.get(&path).await;
    assert_eq!(active["status"], "active");
    let item = &active["items"]["data"][0];
    assert_eq!(item["current_period_start"], START + 7 * DAY);
    let invoices = stripe
        .get(&format!("/v1/invoices?customer={customer}"))
        .await;
    assert_eq!(invoices["data"][0]["amount_paid"], 2700);
    assert_eq!(invoices["data"][1]["amount_paid"], 0);

    let path = format!("/v1/subscription_items/{}", id(item));
    let changed = stripe.post(&path, &[("quantity", "5")]).await.ok();
    assert_eq!(changed["quantity"], 5);
    let form = [("customer", customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await;
    assert_eq!(preview.ok()["total"], 4500);
}

#[tokio::test]
async fn a_declined_first_payment_leaves_the_subscription_incomplete() {
    let stripe = Stripe::start().await;
    let customer = id(&stripe.post("/v1/customers", &[("name", "Ada")]).await.ok());
    give_card(&stripe, &customer, "pm_card_chargeCustomerFail").await;
    let form = [
        ("product_data[name]", "Seats"),
        ("currency", "usd"),
        ("unit_amount", "900"),
        ("recurring[interval]", "month"),
    ];
    let price = id(&stripe.post("/v1/prices", &form).await.ok());
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("payment_behavior", "error_if_incomplete"),
    ];
    stripe.post("/v1/subscriptions", &form).await.refused(402);
    let path = format!("/v1/subscriptions?customer={customer}&status=all");
    assert_eq!(
        stripe.get(&path).await["data"],
        json!([]),
        "nothing is left of it"
    );
    let incomplete = stripe.post("/v1/subscriptions", &form[..2]).await.ok();
    assert_eq!(incomplete["status"], "incomplete");
    give_card(&stripe, &customer, "pm_card_visa").await;
    let invoice = incomplete["latest_invoice"].as_str().unwrap();
    stripe
        .post(&format!("/v1/invoices/{invoice}/pay"), &[])
        .await
        .ok();
    assert_eq!(stripe.get(&path).await["data"][0]["status"], "active");
}

#[tokio::test]
async fn an_open_invoice_can_be_written_off_or_voided() {
    for (deed, status) in [("void", "void"), ("mark_uncollectible", "uncollectible")] {
        let stripe = Stripe::start().await;
        let ada = Subscriber::with_card(&stripe, "pm_card_chargeCustomerFail").await;
        let token = stripe.session().await;
        let usage = [event("one", &ada.customer, "10", 0)];
        stripe.stream(&token, &usage).await.ok();
        stripe
            .advance(&ada.test_clock, ada.period_end() + HOUR)
            .await;
        let path = format!("/v1/invoices/{}/{deed}", id(&ada.invoice(&stripe).await));
        assert_eq!(stripe.post(&path, &[]).await.ok()["status"], status);
        assert_eq!(ada.status(&stripe).await, "active");
        stripe.post(&path, &[]).await.refused(400);
    }
}

#[tokio::test]
async fn a_deleted_customer_says_so_and_is_billed_no_more() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!("/v1/customers/{}", ada.customer);
    assert_eq!(stripe.delete(&path).await["deleted"], true);
    assert_eq!(stripe.get(&path).await["deleted"], true);
    assert_eq!(ada.status(&stripe).await, "canceled");
    stripe.post(&path, &[("name", "Ada")]).await.refused(404);
    let form = [("customer", ada.customer.as_str())];
    let preview = stripe.post("/v1/invoices/create_preview", &form).await;
    preview.refused(400);
    let usage = event("one", &ada.customer, "1", 0);
    let refused = stripe.post_json("/v2/billing/meter_events", &usage).await;
    assert_eq!(refused.refused(400)["code"], "resource_missing");
}

#[tokio::test]
async fn a_canceled_subscription_ends_at_once() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    assert_eq!(stripe.delete(&path).await["status"], "canceled");
    send(stripe.request(Method::DELETE, &path))
        .await
        .refused(404);
    let deleted = stripe
        .get("/v1/events?type=customer.subscription.deleted")
        .await;
    assert_eq!(
        id(&deleted["data"][0]["data"]["object"]),
        ada.subscription_id()
    );
    let of_customer = format!("/v1/subscriptions?customer={}", ada.customer);
    assert_eq!(stripe.get(&of_customer).await["data"], json!([]));
    stripe
        .post(&path, &[("description", "x")])
        .await
        .refused(400);
}

#[tokio::test]
async fn a_detached_payment_method_is_nobodys_default() {
    let stripe = Stripe::start().await;
    let customer = id(&stripe.post("/v1/customers", &[("name", "Ada")]).await.ok());
    let card = give_card(&stripe, &customer, "pm_card_visa").await;
    let detach = format!("/v1/payment_methods/{card}/detach");
    assert_eq!(
        stripe.post(&detach, &[]).await.ok()["customer"],
        json!(null)
    );
    stripe.post(&detach, &[]).await.refused(400);
    let path = format!("/v1/customers/{customer}");
    let settings = stripe.get(&path).await["invoice_settings"].clone();
    assert_eq!(settings["default_payment_method"], json!(null));
    let default = "invoice_settings[default_payment_method]";
    stripe.post(&path, &[(default, &card)]).await.refused(400);
}

#[tokio::test]
async fn updates_say_what_was_before() {
    let stripe = Stripe::start().await;
    let form = [("name", "Ada"), ("metadata[a]", "1"), ("metadata[b]", "2")];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    let path = format!("/v1/customers/{customer}");
    let form = [
        ("name", "Ada L."),
        ("metadata[a]", ""),
        ("metadata[c]", "3"),
    ];
    let changed = stripe.post_as("key", &path, &form).await;
    let request = changed.header("request-id").unwrap().to_owned();
    assert_eq!(changed.ok()["metadata"], json!({ "b": "2", "c": "3" }));
    let updated = stripe.get("/v1/events?types[]=customer.updated").await;
    let event = &updated["data"][0];
    let previous = json!({ "name": "Ada", "metadata": { "a": "1", "c": null } });
    assert_eq!(event["data"]["previous_attributes"], previous);
    assert_eq!(
        event["request"],
        json!({ "id": request, "idempotency_key": "key" })
    );
    stripe.post(&path, &[("metadata", "")]).await.ok();
    assert_eq!(stripe.get(&path).await["metadata"], json!({}));
}
