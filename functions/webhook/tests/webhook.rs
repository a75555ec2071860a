//! Stories of Stripe's webhooks: a simulated Stripe delivers them over HTTP,
//! signed, and the tables are read over DynamoDB's own wire protocol.

use billing::{Clock, Timestamp, UsageStatus};
use ledger::{BillingEventRow, BillingEventState, CustomerRow, CustomerStatus, StoredNotification};
use serde_json::{Value, json};
use stripe::{
    CreateSubscription, Invoice, MeterEvent, MeterEventStream, PriceAmount, PriceTier,
    RequestOptions, SecretString, webhook_signature,
};

use crate::story::{Story, event, invoice_event, record};
use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;
use crate::support::world::{DAY_MS, HOUR_MS, METER_EVENT_NAME, a_customer, send, stripe_client};

const HOUR_S: i64 = HOUR_MS / 1_000;
const DAY_S: i64 = DAY_MS / 1_000;

#[tokio::test]
async fn an_event_of_the_other_mode_is_taken_and_changes_nothing() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (row, stored) = (story.row(&customer).await, story.stored_events().await);
    let mut live = invoice_event("evt_1", "invoice.paid", &customer, 100);
    live["livemode"] = json!(true);
    let answer = story.deliver(&live).await.expect(200);
    assert_eq!(answer, json!({ "received": true }));
    assert_eq!(
        (story.row(&customer).await, story.stored_events().await),
        (row, stored)
    );
}

#[tokio::test]
async fn what_stripe_did_not_sign_is_refused_and_nothing_is_stored() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (row, stored) = (story.row(&customer).await, story.stored_events().await);
    let body = invoice_event("evt_1", "invoice.paid", &customer, 100).to_string();
    let now_unix_s = story.world.clock.now().unix_s();
    let forged = SecretString::from("whsec_forged");
    let signature = webhook_signature::sign(body.as_bytes(), &story.secret, now_unix_s);
    let altered = body.replace("100", "1");
    for answer in [
        story.deliver_signed(&body, &forged, now_unix_s).await,
        story
            .deliver_signed(&body, &story.secret, now_unix_s - 301)
            .await,
        story.deliver_with(&altered, &signature).await,
        story.deliver_with(&body, "").await,
        story.deliver_with(&body, "t=1,v1=").await,
        send(story.world.http.post(&story.url).body(body.clone())).await,
    ] {
        assert_eq!(answer.expect(400), json!({ "error": "invalid signature" }));
    }
    let huge = "x".repeat(1024 * 1024 + 1);
    let too_large = story.deliver_signed(&huge, &story.secret, now_unix_s).await;
    assert_eq!(too_large.problem(413), "body-too-large");
    assert_eq!(
        (story.row(&customer).await, story.stored_events().await),
        (row, stored)
    );
    assert_eq!(
        story.deliver_with(&body, &signature).await.expect(200),
        json!({ "received": true })
    );
}

#[tokio::test]
async fn every_outcome_of_a_webhook_has_its_figure() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    story.new_figures();
    let ours = invoice_event("evt_1", "invoice.paid", &customer, 100);
    let mut foreign = invoice_event("evt_2", "invoice.paid", &customer, 100);
    foreign["type"] = json!("payout.paid");
    for (event, figure) in [
        (&ours, "webhook_applied"),
        (&ours, "webhook_duplicate"),
        (&foreign, "webhook_foreign"),
    ] {
        story.deliver(event).await.expect(200);
        assert_eq!(story.new_figures(), [figure]);
    }
    story
        .deliver_with(&ours.to_string(), "t=1,v1=")
        .await
        .expect(400);
    assert_eq!(story.new_figures(), ["webhook_unsigned"]);
}

#[tokio::test]
async fn an_event_is_applied_once_however_often_it_comes() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let mut body = invoice_event("evt_1", "invoice.paid", &customer, 100);
    // Larger than what the API takes elsewhere.
    body["data"]["object"]["description"] = json!("x".repeat(200 * 1024));
    let before = story.row(&customer).await.version;
    for _ in 0..3 {
        story.deliver(&body).await.expect(200);
    }
    assert_eq!(story.row(&customer).await.version, before + 1);
    let stored = story.billing_event(&body).await.unwrap();
    assert_eq!(
        (stored.state, stored.customer_id),
        (BillingEventState::Done, Some(customer.customer_id))
    );
}

#[tokio::test]
async fn a_price_that_somebody_changes_in_stripe_is_the_customers() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let world = &story.world;
    let tiers = PriceAmount::Tiered {
        tiers_mode: "volume".to_owned(),
        tiers: vec![PriceTier {
            unit_amount_decimal: Some("1".to_owned()),
            flat_amount_decimal: Some("500".to_owned()),
            ..PriceTier::default()
        }],
    };
    let price_id = world.create_price_of(tiers, "usd").await;
    story.change_price(&customer, &price_id).await;
    let row = story.row(&customer).await;
    assert_eq!(
        (row.item.price_id, row.item.price.to_string()),
        (
            price_id,
            "volume tiers in usd: beyond 0.01 a unit and 5.00".to_owned()
        )
    );
    assert_eq!(
        row.item.subscription_item_id,
        customer.item.subscription_item_id
    );
}

#[tokio::test]
async fn events_that_come_at_once_follow_one_another() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let before = story.row(&customer).await.version;
    let bodies = ["evt_1", "evt_2", "evt_3"]
        .map(|id| invoice_event(id, "invoice.finalized", &customer, 100));
    let [first, second, third] = &bodies;
    let (first, second, third) = tokio::join!(
        story.deliver(first),
        story.deliver(second),
        story.deliver(third)
    );
    for answer in [first, second, third] {
        answer.expect(200);
    }
    assert_eq!(story.row(&customer).await.version, before + 3);
}

/// Stripe says "active" to the first event, whose answer is then slow. Before it
/// comes the subscription ends, and the second event finds the row as it should
/// be. The slow answer must not bring the dead back.
#[tokio::test]
async fn an_old_answer_of_stripes_overwrites_nothing() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let read = story.row(&customer).await;
    let ended = CustomerRow {
        status: CustomerStatus::Canceled,
        subscription_ends_at: Some(Timestamp::from_unix_s(story.world.clock.now().unix_s())),
        ..read.clone()
    };
    story
        .world
        .ledger
        .update_customer(&read, ended)
        .await
        .unwrap();
    let ended = story.row(&customer).await;
    let (gate, gate_url) =
        crate::held_stripe::Gate::start(story.world.stripe_url(), story.world.http.clone()).await;
    let state = webhook::State::new(
        story.world.ledger.clone(),
        stripe_client(&gate_url, 1),
        vec![story.secret.clone()],
        story.world.clock(),
    );
    let gated_url = story.world.serve(webhook::router(state)).await;

    gate.close();
    let slow = invoice_event("evt_slow", "invoice.created", &customer, 0);
    let slow = tokio::spawn(send(story.signed_request(&gated_url, &slow)));
    gate.holds().await;
    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    story.world.stripe_delete(&path).await;
    let quick = invoice_event("evt_quick", "invoice.voided", &customer, 0);
    story.deliver(&quick).await.expect(200);
    let version = ended.version + 1;
    assert_eq!(
        story.row(&customer).await,
        CustomerRow {
            version,
            ..ended.clone()
        }
    );
    gate.open();
    slow.await.unwrap().expect(200);
    let version = ended.version + 2;
    assert_eq!(story.row(&customer).await, CustomerRow { version, ..ended });
}

#[tokio::test]
async fn an_event_that_was_applied_and_perhaps_not_told_is_told_again() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let body = invoice_event("evt_1", "invoice.payment_failed", &customer, 100);
    let applied = BillingEventRow {
        stripe_event_id: "evt_1".to_owned(),
        event_type: "invoice.payment_failed".to_owned(),
        customer_id: Some(customer.customer_id.clone()),
        created_at: story.world.clock.now(),
        applied_at: story.world.clock.now(),
        state: BillingEventState::Applied,
        notifications: vec![StoredNotification {
            id: "evt_1:past_due".to_owned(),
            kind: "past_due".to_owned(),
            message: "{}".to_owned(),
        }],
        deliveries: Vec::new(),
    };
    story
        .world
        .ledger
        .apply_billing_event(&applied, None)
        .await
        .unwrap();
    let version = story.row(&customer).await.version;
    story.deliver(&body).await.expect(200);
    let stored = story.billing_event(&body).await.unwrap();
    assert_eq!(
        stored,
        BillingEventRow {
            state: BillingEventState::Done,
            ..applied
        }
    );
    assert_eq!(story.row(&customer).await.version, version);
}

#[tokio::test]
async fn a_failing_card_leads_to_past_due_then_suspended_until_all_is_paid() {
    let story = Story::start().await;
    let customer = story.onboard_with_failing_card().await;
    assert_eq!(customer.status, CustomerStatus::Active);
    story
        .use_units(&customer, story.world.clock.now(), 1_000)
        .await;
    let period_end_s = customer.period_end.unix_s();

    story.move_clock(&customer, period_end_s + 2 * HOUR_S).await;
    let row = story.row(&customer).await;
    assert_eq!(row.status, CustomerStatus::PastDue);
    assert_eq!(row.period_start, customer.period_end);

    story.move_clock(&customer, period_end_s + 20 * DAY_S).await;
    assert_eq!(story.status(&customer).await, CustomerStatus::Suspended);

    // $0 paid is nothing paid.
    story
        .deliver(&invoice_event("evt_free", "invoice.paid", &customer, 0))
        .await
        .expect(200);
    assert_eq!(story.status(&customer).await, CustomerStatus::Suspended);

    story.give_working_card(&customer).await;
    story.pay_all(&customer).await;
    assert_eq!(story.status(&customer).await, CustomerStatus::Active);
    for stored in story.world.tables.scan("BillingEventsTable").await {
        assert_eq!(stored["state"].as_s().unwrap(), "done", "{stored:?}");
    }
}

#[tokio::test]
async fn of_two_unpaid_invoices_both_must_be_paid() {
    let story = Story::start().await;
    let customer = story.onboard_with_failing_card().await;
    story
        .use_units(&customer, story.world.clock.now(), 1_000)
        .await;
    let first_end_s = customer.period_end.unix_s();
    story.move_clock(&customer, first_end_s + 2 * HOUR_S).await;
    let second = story.row(&customer).await;
    let test_clock_now = Timestamp::from_unix_s(first_end_s + 2 * HOUR_S);
    story.use_units(&customer, test_clock_now, 2_000).await;
    story
        .move_clock(&customer, second.period_end.unix_s() + 2 * HOUR_S)
        .await;
    // Once Stripe has given up it leaves invoices as drafts; the operator does not.
    let options = RequestOptions::new();
    let unpaid = story.invoices(&customer).await;
    let unpaid = unpaid.iter().filter(|invoice| invoice.amount_remaining > 0);
    let unpaid: Vec<&Invoice> = unpaid.collect();
    assert_eq!(unpaid.len(), 2);
    let path = format!("/v1/invoices/{}/finalize", unpaid[0].id);
    story.world.stripe_form(&path, "auto_advance=false").await;
    let refusal = story
        .world
        .stripe
        .pay_invoice(&unpaid[0].id, &options)
        .await;
    assert!(refusal.unwrap_err().is_card_error());
    story.world.settle().await;
    let before = story.status(&customer).await;
    assert_ne!(before, CustomerStatus::Active);

    story.give_working_card(&customer).await;
    for (index, invoice) in unpaid.iter().enumerate() {
        story
            .world
            .stripe
            .pay_invoice(&invoice.id, &RequestOptions::new())
            .await
            .unwrap();
        story.world.settle().await;
        let expected = if index == 0 {
            before
        } else {
            CustomerStatus::Active
        };
        assert_eq!(story.status(&customer).await, expected);
    }
}

#[tokio::test]
async fn what_cannot_be_dealt_with_now_is_stored_nowhere_and_comes_again() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (row, stored) = (story.row(&customer).await, story.stored_events().await);
    let body = invoice_event("evt_1", "invoice.finalized", &customer, 100);
    for path_prefix in ["/v1/subscriptions/", "/v1/invoices"] {
        let fault = json!({ "kind": "error_before", "times": 9, "path_prefix": path_prefix });
        story.world.break_stripe(&fault).await;
        assert_eq!(
            story.deliver(&body).await.problem(503),
            "stripe-unavailable"
        );
        assert!(story.world.repair_stripe().await > 0);
        assert_eq!(
            (story.row(&customer).await, story.stored_events().await),
            (row.clone(), stored)
        );
    }
    story.deliver(&body).await.expect(200);
    assert_eq!(story.stored_events().await, stored + 1);
}

#[tokio::test]
async fn a_table_that_does_not_answer_applies_nothing_twice() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let lossy = Lossy::start(&story.world.tables.url).await;
    let state = webhook::State::new(
        Tables::at(&lossy.url).ledger,
        story.world.stripe.clone(),
        vec![story.secret.clone()],
        story.world.clock(),
    );
    let url = story.world.serve(webhook::router(state)).await;
    let mut version = story.row(&customer).await.version;
    // A lost transaction is looked into at once; the rest is for Stripe to repeat.
    for (operation, status) in [
        ("GetItem", 503),
        ("TransactWriteItems", 200),
        ("UpdateItem", 503),
    ] {
        for loss in [Loss::Request, Loss::Answer] {
            let id = format!("evt_{operation}_{loss:?}");
            let body = invoice_event(&id, "invoice.payment_failed", &customer, 100);
            lossy.lose(operation, loss);
            assert_eq!(
                send(story.signed_request(&url, &body)).await.status,
                status,
                "{id}"
            );
            lossy.assert_all_lost();
            send(story.signed_request(&url, &body)).await.expect(200);
            version += 1;
            assert_eq!(story.row(&customer).await.version, version, "{id}");
            let stored = story.billing_event(&body).await.unwrap();
            assert_eq!(stored.state, BillingEventState::Done, "{id}");
        }
    }
}

#[tokio::test]
async fn a_deleted_test_clock_takes_the_subscription_along() {
    let story = Story::start().await;
    let customer = story.onboard_with_failing_card().await;
    let test_clock = customer.test_clock.as_ref().unwrap();
    story
        .world
        .stripe_delete(&format!("/v1/test_helpers/test_clocks/{test_clock}"))
        .await;
    let late = invoice_event("evt_late", "invoice.finalized", &customer, 100);
    story.deliver(&late).await.expect(200);
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
}

#[tokio::test]
async fn a_deleted_customer_has_no_subscription_any_more() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    story
        .world
        .stripe_delete(&format!("/v1/customers/{}", customer.customer_id))
        .await;
    story.world.settle().await;
    let row = story.row(&customer).await;
    assert_eq!(row.status, CustomerStatus::Canceled);
    assert!(row.subscription_ends_at.is_some());
}

#[tokio::test]
async fn what_is_not_ours_is_acknowledged_and_what_is_not_yet_is_asked_for_again() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let stored = story.stored_events().await;
    let id = customer.customer_id.as_str();
    // Another product's subscription, of the same customer and of another one.
    let other = story
        .world
        .stripe_form("/v1/customers", "email=bob@example.com")
        .await;
    for owner in [id, other["id"].as_str().unwrap()] {
        let foreign = CreateSubscription {
            customer: owner.to_owned(),
            prices: vec![customer.item.price_id.clone()],
            ..Default::default()
        };
        let options = RequestOptions::new();
        let foreign = story
            .world
            .stripe
            .create_subscription(&foreign, &options)
            .await;
        let object = json!({ "id": foreign.unwrap().id, "customer": owner });
        let updated = event("evt_foreign", "customer.subscription.updated", &object);
        story.deliver(&updated).await.expect(200);
        assert_eq!(story.billing_event(&updated).await, None);
    }
    story
        .deliver(&event("evt_other", "charge.succeeded", &json!({})))
        .await
        .expect(200);

    let delete = story
        .world
        .tables
        .client
        .delete_item()
        .table_name("CustomersTable");
    let key = aws_sdk_dynamodb::types::AttributeValue::S(id.to_owned());
    delete.key("customer_id", key).send().await.unwrap();
    let ours = invoice_event("evt_early", "invoice.created", &customer, 0);
    assert_eq!(story.deliver(&ours).await.problem(503), "unavailable");
    assert_eq!(story.stored_events().await, stored);
}

#[tokio::test]
async fn usage_that_stripe_refuses_later_is_rejected_with_stripes_code() {
    let story = Story::start().await;
    let ours = [
        record(&story, "noted", true).await,
        record(&story, "unnoted", false).await,
    ];
    let others = "0".repeat(64);
    let now_ms = story.world.clock.now().unix_ms();
    let sent = [ours[0].as_str(), ours[1].as_str(), &others, "job-7"]
        .map(|name| MeterEvent::new(name, METER_EVENT_NAME, now_ms, "cus_unknown", 5));
    let stream = MeterEventStream::new(story.world.stripe.clone());
    stream.send(&sent, &RequestOptions::new()).await.unwrap();
    let done = story.world.settle().await;
    assert_eq!(done["failed"], 0, "{done}");
    for identifier in &ours {
        let row = story
            .world
            .ledger
            .usage_event(identifier)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.status, UsageStatus::Rejected);
        assert_eq!(
            row.stripe_code.as_deref(),
            Some("meter_event_customer_not_found")
        );
    }
    let stored = story.world.tables.scan("BillingEventsTable").await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["state"].as_s().unwrap(), "done");
    let id = stored[0]["stripe_event_id"].as_s().unwrap();
    let row = story.world.ledger.billing_event(id).await.unwrap().unwrap();
    let told: Value = serde_json::from_str(&row.notifications[0].message).unwrap();
    assert_eq!(told["kind"], "usage_rejected");
    assert_eq!(
        told["data"],
        json!({
            "refused_events": 4, "rejected_rows": 2, "needs_reconciliation": false,
            "codes": ["meter_event_customer_not_found"],
        })
    );
}
