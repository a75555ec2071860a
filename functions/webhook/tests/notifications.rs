//! Stories of what the operator is told, and of customers who do not pay.

use billing::{Clock, Timestamp};
use ledger::{BillingEventState, Channel, CustomerRow, CustomerStatus, DeliveryState};
use metering::{CustomerDirectory, DunningPolicy};
use serde_json::{Value, json};
use stripe::Invoice;
use webhook::{Configuration, State};

use crate::held_stripe::Gate;
use crate::story::{Story, event, invoice_event};
use crate::support::world::{DAY_MS, HOUR_MS, a_customer, send, stripe_client};

const HOUR_S: i64 = HOUR_MS / 1_000;
const DAY_S: i64 = DAY_MS / 1_000;

impl Story {
    /// Whether the customer may act, as `access` and emissions see it.
    async fn status_now(&self, customer: &CustomerRow) -> CustomerStatus {
        let (ledger, stripe) = (self.world.ledger.clone(), self.world.stripe.clone());
        let directory = CustomerDirectory::new(ledger, stripe, self.world.clock());
        let known = directory.current_customer(&customer.customer_id).await;
        known.unwrap().unwrap().status()
    }

    /// Somebody whose card fails at the end of the first period, two hours ago.
    async fn customer_who_owes(&self) -> CustomerRow {
        let customer = self.onboard_with_failing_card().await;
        let now = self.world.clock.now();
        self.use_units(&customer, now, 1_000).await;
        let period_end_s = customer.period_end.unix_s();
        self.move_clock(&customer, period_end_s + 2 * HOUR_S).await;
        customer
    }

    async fn open_invoice(&self, customer: &CustomerRow) -> Invoice {
        let invoices = self.invoices(customer).await.into_iter();
        let mut open = invoices.filter(|invoice| invoice.status.as_deref() == Some("open"));
        open.next().unwrap()
    }
}

fn count(kinds: &[String], kind: &str) -> usize {
    kinds.iter().filter(|told| *told == kind).count()
}

#[tokio::test]
async fn a_payment_is_told_of_with_its_invoice() {
    let story = Story::start().await;
    let mut body = a_customer("acme");
    body["test_clock"] = json!(story.world.test_clock().await);
    let customer = story.onboard(&body).await;
    // The first invoice is of $0: nothing was received.
    assert_eq!(story.topic.kinds(), [""; 0]);
    story
        .use_units(&customer, story.world.clock.now(), 1_005)
        .await;
    let after_draft_s = customer.period_end.unix_s() + 2 * HOUR_S;
    story.move_clock(&customer, after_draft_s).await;
    assert_eq!(story.topic.kinds(), ["receipt"]);
    let receipt = &story.topic.messages()[0];
    let paid = story.invoices(&customer).await;
    let paid = paid.iter().find(|invoice| invoice.amount_paid > 0).unwrap();
    assert_eq!(receipt["version"], 1);
    assert_eq!(
        receipt["customer"],
        json!({ "customer_id": customer.customer_id, "external_id": "acme" })
    );
    let data = &receipt["data"];
    assert_eq!(
        (&data["invoice_id"], &data["amount_paid"], &data["currency"]),
        (&json!(paid.id), &json!("20.10"), &json!("usd"))
    );
    let event_id = receipt["stripe_event_id"].as_str().unwrap();
    let id = format!("{event_id}:receipt");
    assert_eq!(receipt["id"], id);
    let request = story.topic.last_request();
    assert_eq!(request["Subject"], "Meterline: receipt");
    // And, by the ways that are on besides, it is still to go out.
    let stored = story.world.ledger.billing_event(event_id).await;
    let deliveries = stored.unwrap().unwrap().deliveries;
    let ways: Vec<_> = deliveries.iter().map(|it| (it.channel, it.state)).collect();
    let pending = DeliveryState::Pending;
    assert_eq!(
        ways,
        [(Channel::Email, pending), (Channel::Webhook, pending)]
    );
    assert!(deliveries.iter().all(|it| it.notification_id == id));
    let attributes: Vec<&String> = (1..=2)
        .map(|n| &request[&format!("MessageAttributes.entry.{n}.Value.StringValue")])
        .collect();
    assert!(attributes.contains(&&id), "{request:?}");
}

#[tokio::test]
async fn a_refused_card_is_told_of_and_so_is_the_one_that_pays_after_it() {
    let story = Story::start().await;
    let customer = story.customer_who_owes().await;
    let mut kinds = story.topic.kinds();
    kinds.sort();
    assert_eq!(kinds, ["past_due", "payment_failed"]);
    let failed = &story.topic.of_kind("payment_failed")[0]["data"];
    assert_eq!(failed["amount_remaining"], "20.00");
    assert_eq!(failed["failed_attempts"], 1);
    let invoice = story.open_invoice(&customer).await;
    let finalized_s = invoice.status_transitions.finalized_at.unwrap();
    let at = |unix_s| Timestamp::from_unix_s(unix_s).to_string();
    assert_eq!(failed["grace_ends_at"], at(finalized_s + 14 * DAY_S));
    let next_s = invoice.next_payment_attempt.unwrap();
    assert_eq!(failed["next_attempt_at"], at(next_s));

    story.give_working_card(&customer).await;
    story.pay_all(&customer).await;
    let kinds = story.topic.kinds();
    assert_eq!(count(&kinds, "receipt"), 1);
    assert_eq!(count(&kinds, "reactivated"), 1);
    assert_eq!(story.status(&customer).await, CustomerStatus::Active);
    assert_eq!(story.row(&customer).await.grace_ends_at, None);
}

#[tokio::test]
async fn the_grace_ends_without_any_event_and_a_part_of_the_debt_paid_begins_no_other() {
    let policy = DunningPolicy::new(2, 100).unwrap();
    let story = Story::start_with(policy).await;
    let customer = story.customer_who_owes().await;
    let finalized = story.open_invoice(&customer).await.status_transitions;
    let grace_end_s = finalized.finalized_at.unwrap() + 2 * DAY_S;
    let row = story.row(&customer).await;
    assert_eq!(row.status, CustomerStatus::PastDue);
    assert_eq!(row.grace_ends_at, Some(Timestamp::from_unix_s(grace_end_s)));
    story.move_clock(&customer, grace_end_s - 1).await;
    assert_eq!(story.status_now(&customer).await, CustomerStatus::PastDue);
    story.move_clock(&customer, grace_end_s).await;
    // Stripe's next attempt is a day off: nothing was sent.
    assert_eq!(story.row(&customer).await, row);
    assert_eq!(story.status_now(&customer).await, CustomerStatus::Suspended);
    assert_eq!(count(&story.topic.kinds(), "suspended"), 0);

    // $0 that is paid is the first news since, and brings nobody back.
    let free = invoice_event("evt_free", "invoice.paid", &customer, 0);
    story.deliver(&free).await.expect(200);
    assert_eq!(story.status(&customer).await, CustomerStatus::Suspended);
    let suspended = &story.topic.of_kind("suspended")[0]["data"];
    assert_eq!(
        suspended,
        &json!({ "status_before": "past_due", "status": "suspended" })
    );
    story.give_working_card(&customer).await;
    story.pay_all(&customer).await;
    assert_eq!(story.status_now(&customer).await, CustomerStatus::Active);
}

#[tokio::test]
async fn so_many_failed_attempts_suspend_before_the_grace_is_over() {
    let policy = DunningPolicy::new(90, 2).unwrap();
    let story = Story::start_with(policy).await;
    let customer = story.customer_who_owes().await;
    assert_eq!(story.status(&customer).await, CustomerStatus::PastDue);
    let next_s = story.open_invoice(&customer).await.next_payment_attempt;
    story.move_clock(&customer, next_s.unwrap() + 60).await;
    assert_eq!(story.status(&customer).await, CustomerStatus::Suspended);
    assert_eq!(count(&story.topic.kinds(), "suspended"), 1);
}

/// What a customer's events leave behind does not depend on their order, nor on
/// how often each comes.
#[tokio::test]
async fn events_in_any_order_and_any_number_leave_the_same() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let story = Story::start().await;
    let customer = story.onboard_with_failing_card().await;
    story.disable_endpoint().await;
    story
        .use_units(&customer, story.world.clock.now(), 1_000)
        .await;
    let period_end_s = customer.period_end.unix_s();
    story.move_clock(&customer, period_end_s + 20 * DAY_S).await;
    story.give_working_card(&customer).await;
    story.pay_all(&customer).await;

    let events = story.events_of_stripe().await;
    let mut bodies: Vec<Value> = events
        .iter()
        .map(|sent| event(&sent.id, &sent.event_type, &sent.data.object))
        .collect();
    assert!(bodies.len() >= 10, "{}", bodies.len());
    bodies.extend_from_within(..);
    random.shuffle(&mut bodies);
    for body in &bodies {
        story.deliver(body).await.expect(200);
    }
    let row = story.row(&customer).await;
    assert_eq!(row.status, CustomerStatus::Active);
    assert_eq!(row.period_start, customer.period_end);
    // Whatever came first, Stripe had the money by then.
    assert_eq!(story.topic.kinds(), ["receipt"]);
    for sent in &events {
        let stored = story.world.ledger.billing_event(&sent.id).await.unwrap();
        assert_eq!(stored.unwrap().state, BillingEventState::Done);
    }
}

#[tokio::test]
async fn an_invoice_of_an_older_version_says_whose_it_is_elsewhere() {
    let story = Story::start().await;
    let customer = story.customer_who_owes().await;
    let invoice = story.open_invoice(&customer).await;
    let before_basil = json!({
        "id": invoice.id, "object": "invoice", "customer": customer.customer_id,
        "subscription": customer.subscription_id, "paid": false,
    });
    let mut body = event("evt_old", "invoice.payment_failed", &before_basil);
    body["api_version"] = json!("2019-05-16");
    story.deliver(&body).await.expect(200);
    let told = story.topic.of_kind("payment_failed");
    assert_eq!(told.last().unwrap()["id"], "evt_old:payment_failed");
    assert_eq!(told.last().unwrap()["data"]["invoice_id"], invoice.id);
}

#[tokio::test]
async fn a_payment_that_the_customer_must_confirm_is_told_of_while_it_is_open() {
    let story = Story::start().await;
    let customer = story.customer_who_owes().await;
    let invoice = json!({
        "id": story.open_invoice(&customer).await.id, "object": "invoice",
        "customer": customer.customer_id,
        "parent": { "subscription_details": { "subscription": customer.subscription_id } },
    });
    let required = |id| event(id, "invoice.payment_action_required", &invoice);
    story.deliver(&required("evt_1")).await.expect(200);
    let told = story.topic.of_kind("payment_action_required");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["data"]["invoice_id"], invoice["id"]);

    story.give_working_card(&customer).await;
    story.pay_all(&customer).await;
    story.deliver(&required("evt_late")).await.expect(200);
    assert_eq!(story.topic.of_kind("payment_action_required"), told);
}

#[tokio::test]
async fn a_notification_that_does_not_get_out_goes_out_with_the_repeat() {
    let story = Story::start().await;
    let customer = story.customer_who_owes().await;
    let invoice = json!({
        "id": story.open_invoice(&customer).await.id, "object": "invoice",
        "customer": customer.customer_id,
        "parent": { "subscription_details": { "subscription": customer.subscription_id } },
    });
    let before = story.topic.messages().len();
    let body = event("evt_refused", "invoice.payment_failed", &invoice);
    story.topic.refuse_next();
    assert_eq!(story.deliver(&body).await.problem(503), "unavailable");
    let stored = story.billing_event(&body).await.unwrap();
    assert_eq!(stored.state, BillingEventState::Applied);
    assert_eq!(story.topic.messages().len(), before);
    story.deliver(&body).await.expect(200);
    assert_eq!(story.topic.messages().len(), before + 1);

    // Taken, and the answer lost: it comes twice, and its id says so.
    let body = event("evt_lost", "invoice.payment_failed", &invoice);
    story.topic.lose_next_answer();
    assert_eq!(story.deliver(&body).await.problem(503), "unavailable");
    story.deliver(&body).await.expect(200);
    let told = story.topic.messages();
    assert_eq!(told.len(), before + 3);
    assert_eq!(told[before + 1], told[before + 2]);
    // Done is done.
    story.deliver(&body).await.expect(200);
    assert_eq!(story.topic.messages().len(), before + 3);
}

#[tokio::test]
async fn a_deleted_customer_is_told_of_and_over() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let path = format!("/v1/customers/{}", customer.customer_id);
    story.world.stripe_delete(&path).await;
    story.world.settle().await;
    let mut kinds = story.topic.kinds();
    kinds.sort();
    assert_eq!(kinds, ["canceled", "customer_deleted"]);
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
}

#[tokio::test]
async fn a_dispute_is_told_of_and_decides_nothing() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (http, stripe_url) = (story.world.http.clone(), story.world.stripe_url());
    let (gate, gate_url) = Gate::start(stripe_url, http).await;
    let dispute = |customer: &str| {
        json!({
            "id": "dp_1", "object": "dispute", "amount": 2_010, "currency": "usd",
            "reason": "fraudulent", "status": "needs_response",
            "charge": { "id": "ch_1", "object": "charge", "customer": customer },
            "evidence_details": { "due_by": 1_769_860_800 },
        })
    };
    let configuration = Configuration {
        notifier: story.topic.notifier(),
        ..Configuration::default()
    };
    let state = State::configured(
        story.world.ledger.clone(),
        stripe_client(&gate_url, 1),
        vec![story.secret.clone()],
        story.world.clock(),
        configuration,
    );
    let url = story.world.serve(webhook::router(state)).await;
    let object = json!({ "id": "dp_1", "object": "dispute", "charge": "ch_1" });
    let created = |id| event(id, "charge.dispute.created", &object);

    gate.answer("/v1/disputes/dp_1", &dispute("cus_of_another_product"));
    let foreign = created("evt_foreign");
    send(story.signed_request(&url, &foreign)).await.expect(200);
    assert_eq!(story.billing_event(&foreign).await, None);
    assert_eq!(story.topic.kinds(), [""; 0]);

    gate.answer("/v1/disputes/dp_1", &dispute(customer.customer_id.as_str()));
    for _ in 0..2 {
        let ours = created("evt_ours");
        send(story.signed_request(&url, &ours)).await.expect(200);
    }
    assert_eq!(story.topic.kinds(), ["dispute"]);
    let told = &story.topic.messages()[0];
    assert_eq!(told["customer"]["external_id"], "acme");
    assert_eq!(
        told["data"],
        json!({
            "dispute_id": "dp_1", "charge_id": "ch_1", "amount": "20.10", "currency": "usd",
            "reason": "fraudulent", "status": "needs_response",
            "evidence_due_by": "2026-01-31T12:00:00Z",
        })
    );
    assert_eq!(story.row(&customer).await, customer);
}

#[tokio::test]
async fn the_end_of_a_trial_is_told_of_while_it_is_one() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let (http, stripe_url) = (story.world.http.clone(), story.world.stripe_url());
    let (gate, gate_url) = Gate::start(stripe_url, http).await;
    let configuration = Configuration {
        notifier: story.topic.notifier(),
        ..Configuration::default()
    };
    let state = State::configured(
        story.world.ledger.clone(),
        stripe_client(&gate_url, 1),
        vec![story.secret.clone()],
        story.world.clock(),
        configuration,
    );
    let url = story.world.serve(webhook::router(state)).await;
    let object = json!({
        "id": customer.subscription_id, "object": "subscription",
        "customer": customer.customer_id,
    });
    let will_end = |id| event(id, "customer.subscription.trial_will_end", &object);
    send(story.signed_request(&url, &will_end("evt_late")))
        .await
        .expect(200);
    assert_eq!(story.topic.kinds(), [""; 0]);

    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    let mut trialing = story.stripe_get(&path).await;
    trialing["status"] = json!("trialing");
    trialing["trial_end"] = json!(1_769_860_800);
    gate.answer(&path, &trialing);
    send(story.signed_request(&url, &will_end("evt_1")))
        .await
        .expect(200);
    let told = story.topic.of_kind("trial_will_end");
    assert_eq!(
        told[0]["data"],
        json!({ "trial_ends_at": "2026-01-31T12:00:00Z" })
    );
    assert_eq!(story.status(&customer).await, CustomerStatus::Active);
}
