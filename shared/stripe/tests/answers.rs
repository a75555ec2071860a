//! Objects and lists as Stripe answers them, with fields that nobody asked for.

use serde_json::{Value, json};
use stripe::{ListEvents, Metadata};

use crate::support::{Answer, Received, Scripted};

fn price(product: &Value) -> Value {
    json!({
        "id": "price_1", "object": "price", "active": true, "billing_scheme": "per_unit",
        "currency": "usd", "lookup_key": "documents", "metadata": {}, "product": product,
        "recurring": {
            "interval": "month", "interval_count": 1, "meter": "mtr_1", "usage_type": "metered",
        },
        "unit_amount": null, "unit_amount_decimal": "0.025",
    })
}

fn subscription(customer: &Value, latest_invoice: &Value) -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": customer, "status": "active",
        "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null, "created": 10,
        "currency": "usd", "ended_at": null, "latest_invoice": latest_invoice,
        "livemode": false, "metadata": { "meterline": "1" }, "start_date": 10,
        "test_clock": null, "a_field_of_tomorrow": { "x": [1] },
        "items": { "object": "list", "has_more": false, "url": "/v1/subscription_items", "data": [{
            "id": "si_1", "object": "subscription_item", "metadata": {},
            "price": price(&json!({ "id": "prod_1", "object": "product" })),
            "created": 5, "current_period_start": 10, "current_period_end": 20,
        }] },
    })
}

#[tokio::test]
async fn a_subscription_reads_the_same_expanded_or_not() {
    let plain = subscription(&json!("cus_1"), &json!("in_1"));
    let customer = json!({ "id": "cus_1", "object": "customer", "email": null });
    let expanded = subscription(&customer, &json!({ "id": "in_1", "object": "invoice" }));
    let stripe = Scripted::with([Answer::ok(&plain), Answer::ok(&expanded)]).await;
    let client = stripe.client();
    let subscription = client.retrieve_subscription("sub_1").await.unwrap();
    assert_eq!(
        subscription,
        client.retrieve_subscription("sub_1").await.unwrap()
    );

    assert_eq!(subscription.customer, "cus_1");
    assert_eq!(subscription.latest_invoice.as_deref(), Some("in_1"));
    assert_eq!(
        subscription.metadata,
        Metadata::from([("meterline".to_owned(), "1".to_owned())])
    );
    assert!(!subscription.has_ended());
    let item = subscription.items.iter().next().unwrap();
    assert_eq!(
        (item.current_period_start, item.current_period_end),
        (10, 20)
    );
    assert_eq!(item.price.product, "prod_1");
    assert_eq!(item.price.unit_amount_decimal.as_deref(), Some("0.025"));
    let recurring = item.price.recurring.as_ref().unwrap();
    assert_eq!(recurring.meter.as_deref(), Some("mtr_1"));
}

#[tokio::test]
async fn an_invoice_names_its_subscription_and_what_each_line_bills() {
    let invoice = json!({
        "id": "in_1", "object": "invoice", "number": "A-0001", "customer": "cus_1",
        "status": "paid", "billing_reason": "subscription_cycle", "currency": "usd",
        "amount_due": 250, "amount_paid": 250, "amount_remaining": 0, "total": 250,
        "attempt_count": 1, "created": 20, "hosted_invoice_url": "https://invoice.stripe.com/i",
        "invoice_pdf": null, "livemode": false, "metadata": null, "next_payment_attempt": null,
        "period_start": 10, "period_end": 20,
        "parent": { "type": "subscription_details", "quote_details": null,
            "subscription_details": { "metadata": { "k": "v" }, "subscription": "sub_1" } },
        "status_transitions": { "finalized_at": 21, "marked_uncollectible_at": null,
            "paid_at": 22, "voided_at": null },
        "lines": { "data": [{
            "id": "il_1", "object": "line_item", "amount": 250, "currency": "usd",
            "description": "Documents", "quantity": 10_000, "period": { "start": 10, "end": 20 },
            "parent": { "type": "subscription_item_details", "invoice_item_details": null,
                "subscription_item_details": {
                    "subscription": "sub_1", "subscription_item": "si_1" } },
            "pricing": { "type": "price_details", "unit_amount_decimal": "0.025",
                "price_details": { "price": "price_1", "product": "prod_1" } },
        }], "has_more": true },
    });
    let stripe = Scripted::with([Answer::ok(&invoice)]).await;
    let invoice = stripe.client().retrieve_invoice("in_1").await.unwrap();
    assert_eq!(invoice.subscription.as_deref(), Some("sub_1"));
    assert_eq!(invoice.subscription_metadata["k"], "v");
    assert_eq!(invoice.status_transitions.finalized_at, Some(21));
    assert!(invoice.lines.has_more);
    let line = &invoice.lines.data[0];
    assert_eq!((line.amount, line.quantity), (250, Some(10_000)));
    assert_eq!(line.subscription_item.as_deref(), Some("si_1"));
    assert_eq!(line.price.as_deref(), Some("price_1"));
    assert_eq!((line.period.start, line.period.end), (10, 20));
}

#[tokio::test]
async fn an_invoice_of_no_subscription_is_readable() {
    let invoice = json!({
        "id": "in_2", "customer": "cus_1", "status": "draft", "currency": "usd", "amount_due": 0,
        "amount_paid": 0, "amount_remaining": 0, "total": 0, "created": 1, "period_start": 1,
        "period_end": 1, "parent": null, "lines": { "data": [{
            "id": "il_2", "amount": 0, "currency": "usd", "period": { "start": 1, "end": 1 },
            "parent": { "subscription_item_details": null }, "pricing": null,
        }], "has_more": false },
    });
    let stripe = Scripted::with([Answer::ok(&invoice)]).await;
    let invoice = stripe
        .client()
        .create_invoice_preview("cus_1", "sub_1")
        .await
        .unwrap();
    assert_eq!(invoice.subscription, None);
    assert_eq!(invoice.lines.data[0].price, None);
}

fn event(id: &str) -> Value {
    json!({
        "id": id, "object": "event", "type": "invoice.paid", "created": 1, "livemode": false,
        "data": { "object": { "id": "in_1", "object": "invoice" } },
    })
}

/// Two events a page, of five, starting after the one that is named.
fn page(received: &Received) -> Answer {
    let ids = ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"];
    let params = received.params();
    let after = params
        .iter()
        .find_map(|param| param.strip_prefix("starting_after="));
    let start = after.map_or(0, |after| {
        1 + ids.iter().take_while(|id| **id != after).count()
    });
    let rest = &ids[start..];
    let data: Vec<Value> = rest.iter().take(2).map(|id| event(id)).collect();
    Answer::ok(&json!({ "object": "list", "data": data, "has_more": rest.len() > 2 }))
}

#[tokio::test]
async fn a_list_is_followed_to_its_end() {
    let stripe = Scripted::start(page).await;
    let filter = ListEvents {
        types: vec!["invoice.paid".to_owned()],
        ..ListEvents::default()
    };
    let events = stripe.client().list_all_events(&filter).await.unwrap();
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]);
    assert!(!events.has_more);
    let received = stripe.received();
    assert_eq!(received.len(), 3);
    for request in received {
        assert!(
            request
                .params()
                .contains(&"types[0]=invoice.paid".to_owned())
        );
    }
}

#[tokio::test]
async fn a_page_is_one_page() {
    let stripe = Scripted::start(page).await;
    let filter = ListEvents {
        starting_after: Some("evt_1".to_owned()),
        ..ListEvents::default()
    };
    let events = stripe.client().list_events(&filter).await.unwrap();
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["evt_2", "evt_3"]);
    assert!(events.has_more);
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn a_list_that_never_ends_is_left() {
    let same = json!({ "data": [event("evt_1")], "has_more": true });
    let stripe = Scripted::start(move |_| Answer::ok(&same)).await;
    stripe
        .client()
        .list_all_events(&ListEvents::default())
        .await
        .unwrap();
    assert_eq!(stripe.calls().len(), 2);
}

#[tokio::test]
async fn pages_of_v2_are_followed_on_the_same_host_only() {
    let destination =
        |id: &str| json!({ "id": id, "name": "n", "status": "enabled", "enabled_events": ["a"] });
    let first = json!({
        "data": [destination("ed_1")],
        "next_page_url": "/v2/core/event_destinations?limit=1&page=two",
    });
    let second = json!({
        "data": [destination("ed_2")],
        "next_page_url": "https://elsewhere.example/v2/core/event_destinations?page=three",
    });
    let third = json!({ "data": [destination("ed_3")], "next_page_url": null });
    let stripe = Scripted::with([first, second, third].map(|page| Answer::ok(&page))).await;
    let destinations = stripe.client().list_event_destinations().await.unwrap();
    let ids: Vec<&str> = destinations.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["ed_1", "ed_2", "ed_3"]);
    let received = stripe.received();
    let queries: Vec<&str> = received.iter().map(|page| page.query.as_str()).collect();
    assert_eq!(queries[1..], ["limit=1&page=two", "page=three"]);
}

#[tokio::test]
async fn a_thin_event_is_read_with_its_data() {
    let event = json!({
        "id": "evt_test_1", "object": "v2.core.event", "livemode": false,
        "type": "v1.billing.meter.error_report_triggered", "created": "2026-01-31T12:00:00Z",
        "data": {
            "developer_message_summary": "There is 1 invalid event",
            "validation_start": "2026-01-31T12:00:00Z", "validation_end": "2026-01-31T12:00:10Z",
            "reason": { "error_count": 1, "error_types": [{
                "code": "meter_event_invalid_value", "error_count": 1,
                "sample_errors": [{ "error_message": "no", "request": { "identifier": "id-1" } }],
            }] },
        },
    });
    let stripe = Scripted::with([Answer::ok(&event)]).await;
    let event = stripe
        .client()
        .retrieve_v2_event("evt_test_1")
        .await
        .unwrap();
    let report = stripe::MeterErrorReport::of(&event).unwrap().unwrap();
    let sample = &report.error_types[0].sample_errors[0];
    assert_eq!(sample.identifier.as_deref(), Some("id-1"));
    assert_eq!(stripe.calls(), ["GET /v2/core/events/evt_test_1"]);
}
