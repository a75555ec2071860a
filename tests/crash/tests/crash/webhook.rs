//! Webhooks that end everywhere: Stripe sends them again, or has not yet. What
//! they are about is a customer's standing, and usage that Stripe refused.

use std::collections::{BTreeMap, BTreeSet};

use ::webhook::{Configuration, State};
use axum::body::Body;
use axum::http::Request;
use crash::count::Fate;
use crash::database::{Item, number, text};
use crash::world::CHANNELS;
use crash::{Claim, Crash, Scenario, Surroundings, World};
use notify::Notifier;
use secrecy::SecretString;
use serde_json::{Value, json};
use stack::connection::Connection;
use stack::notifications::TOPIC_ARN;
use stripe::webhook_signature;
use tower::ServiceExt;

use crate::{assert_all_counted_once, sweep};

const SECRET: &str = "whsec_crash";
const REFUSED_USAGE: &str = "v1.billing.meter.error_report_triggered";

/// A delivery of Stripe's.
#[derive(Clone)]
struct Delivery {
    event_id: String,
    body: String,
    signature: String,
}

impl Delivery {
    fn new(world: &World, event: &Value) -> Self {
        let body = event.to_string();
        let secret = SecretString::from(SECRET);
        Self {
            event_id: event["id"].as_str().unwrap().to_owned(),
            signature: webhook_signature::sign(body.as_bytes(), &secret, world.now_unix_s()),
            body,
        }
    }

    async fn receive(self, surroundings: Surroundings) -> Option<()> {
        let Surroundings {
            ledger,
            stripe,
            sns_url,
            clock,
        } = surroundings;
        let configuration = configuration(&sns_url);
        let secrets = vec![SecretString::from(SECRET)];
        let state = State::configured(ledger, stripe, secrets, clock, configuration);
        let request = Request::post("/")
            .header("stripe-signature", self.signature)
            .body(Body::from(self.body))
            .unwrap();
        let routes = web::service(::webhook::router(state));
        let response = routes.oneshot(request).await.unwrap();
        response.status().is_success().then_some(())
    }
}

/// The operator is told at `sns_url`.
pub(crate) fn configuration(sns_url: &str) -> Configuration {
    let topic = Connection::embedded(sns_url).sns_client(sns_url);
    Configuration {
        notifier: Notifier::topic(topic, TOPIC_ARN.to_owned()),
        channels: CHANNELS.parse().unwrap(),
        ..Configuration::default()
    }
}

/// Every delivery, and whether it was answered with a 2xx.
#[derive(Default)]
struct Deliveries(Vec<(Delivery, bool)>);

impl Deliveries {
    fn push(&mut self, delivery: Delivery) -> (usize, Delivery) {
        self.0.push((delivery.clone(), false));
        (self.0.len() - 1, delivery)
    }

    /// What was acknowledged is done; the rest may be anything but two.
    async fn assert_kept(&self, world: &World) {
        let rows = billing_events(world).await;
        let told = told(world);
        for (delivery, is_acknowledged) in &self.0 {
            let row = rows.get(&delivery.event_id);
            let state = row.map(|row| text(row, "state"));
            let is_done = state.as_deref() == Some("done");
            assert!(
                is_done || !is_acknowledged,
                "{}: {state:?}",
                delivery.event_id
            );
            // An event that comes when all is said already is no news.
            let is_news = row.is_some_and(|row| row.contains_key("notifications"));
            let is_told = told.contains(&delivery.event_id);
            assert!(is_told || !is_news || !is_done, "{}", delivery.event_id);
        }
    }

    /// As Stripe does, for days: sends again what was not acknowledged.
    async fn send_the_rest_again(&mut self, world: &World) {
        world.fall_silent().await;
        self.assert_kept(world).await;
        for (delivery, is_acknowledged) in &mut self.0 {
            if !*is_acknowledged {
                let body = serde_json::from_str(&delivery.body).unwrap();
                let again = Delivery::new(world, &body);
                let ended =
                    crash::process::run(&world.environment, Crash::Never, move |surroundings| {
                        again.receive(surroundings)
                    });
                assert_eq!(ended.await.answer, Some(Some(())));
                *is_acknowledged = true;
            }
        }
        self.assert_kept(world).await;
    }
}

/// The events that the operator was told of. What is told again is the same.
fn told(world: &World) -> BTreeSet<String> {
    let mut messages = BTreeMap::new();
    for message in world.notifications() {
        let id = message["id"].as_str().unwrap().to_owned();
        let first = messages.entry(id).or_insert_with(|| message.clone());
        assert_eq!(*first, message);
    }
    let events = messages.values().map(|message| &message["stripe_event_id"]);
    events.map(|id| id.as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn billing_events(world: &World) -> BTreeMap<String, Item> {
    let rows = world.database.scan("BillingEventsTable").await;
    let rows = rows.into_iter();
    rows.map(|row| (text(&row, "stripe_event_id"), row))
        .collect()
}

/// Events of one customer's subscription.
struct Standing {
    customer_id: String,
    subscription_id: String,
    version: i64,
    deliveries: Deliveries,
}

impl Standing {
    async fn start(world: &World) -> Self {
        let customer_id = world.onboard("acme").await;
        let row = customer(world, &customer_id).await;
        Self {
            subscription_id: text(&row, "subscription_id"),
            version: number(&row, "version"),
            customer_id,
            deliveries: Deliveries::default(),
        }
    }

    /// Each event changed the customer once, in one transaction with its row.
    async fn assert_each_applied_once(&self, world: &World) {
        world.fall_silent().await;
        let row = customer(world, &self.customer_id).await;
        let applied = billing_events(world).await.len();
        let changes = number(&row, "version") - self.version;
        assert_eq!(changes, i64::try_from(applied).unwrap());
        assert!(applied <= self.deliveries.0.len());
        // What the table said before the last event is wrong; Stripe is right.
        if let Some((last, _)) = self.deliveries.0.last() {
            let is_applied = billing_events(world).await.contains_key(&last.event_id);
            let status = if is_applied { "active" } else { "past_due" };
            assert_eq!(text(&row, "status"), status, "{}", last.event_id);
        }
    }
}

impl Scenario for Standing {
    type Input = (usize, Delivery);
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "GetItem BillingEventsTable",
        "GetItem CustomersTable",
        "GET /v1/subscriptions/{id}",
        "GET /v1/invoices",
        "GET /v1/invoices/{id}",
        "TransactWriteItems BillingEventsTable",
        "Publish Topic",
        "UpdateItem BillingEventsTable",
    ];

    /// A customer who is thought to owe, and news that may say otherwise.
    async fn prepare(&mut self, world: &World) -> Self::Input {
        self.assert_each_applied_once(world).await;
        let update = json!({
            "TableName": "CustomersTable",
            "Key": { "customer_id": { "S": self.customer_id } },
            "UpdateExpression": "SET #status = :past_due",
            "ExpressionAttributeNames": { "#status": "status" },
            "ExpressionAttributeValues": { ":past_due": { "S": "past_due" } },
        });
        world.database.call("UpdateItem", &update).await;
        let invoice = json!({
            "id": "in_1", "object": "invoice", "customer": self.customer_id,
            "parent": { "subscription_details": { "subscription": self.subscription_id } },
        });
        let event = json!({
            "id": format!("evt_{}", self.deliveries.0.len()), "object": "event",
            "api_version": stripe::STRIPE_VERSION, "created": world.now_unix_s(),
            "livemode": false, "type": "invoice.paid", "data": { "object": invoice },
        });
        self.deliveries.push(Delivery::new(world, &event))
    }

    async fn handle(surroundings: Surroundings, (_, delivery): Self::Input) -> Option<()> {
        delivery.receive(surroundings).await
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, (): ()) {
        self.deliveries.0[*n].1 = true;
    }
}

pub(crate) async fn customer(world: &World, customer_id: &str) -> Item {
    let key = json!({ "customer_id": { "S": customer_id } });
    let get = json!({ "TableName": "CustomersTable", "Key": key, "ConsistentRead": true });
    let mut got = world.database.call("GetItem", &get).await;
    serde_json::from_value(got["Item"].take()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_customer_that_ends_anywhere_applies_once() {
    let world = World::start().await;
    let mut standing = Standing::start(&world).await;
    sweep("webhook, a customer", &world, &mut standing, 1).await;
    assert!(told(&world).len() > standing.deliveries.0.len() / 2);
    standing.assert_each_applied_once(&world).await;
    standing.deliveries.send_the_rest_again(&world).await;
    let applied = billing_events(&world).await.len();
    assert_eq!(applied, standing.deliveries.0.len());
    let row = customer(&world, &standing.customer_id).await;
    let changes = number(&row, "version") - standing.version;
    assert_eq!(changes, i64::try_from(applied).unwrap());
}

/// Reports of usage that Stripe took and refused: its customer is gone there.
struct Refused {
    customer_id: String,
    claims: Vec<Claim>,
    deliveries: Deliveries,
}

impl Refused {
    async fn start(world: &World) -> Self {
        let known = world.onboard("acme").await;
        let mut gone = customer(world, &known).await;
        let customer_id = "cus_gone".to_owned();
        gone.insert("customer_id".to_owned(), json!({ "S": customer_id }));
        let put = json!({ "TableName": "CustomersTable", "Item": gone });
        world.database.call("PutItem", &put).await;
        Self {
            customer_id,
            claims: Vec::new(),
            deliveries: Deliveries::default(),
        }
    }
}

impl Scenario for Refused {
    type Input = (usize, Delivery);
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "GetItem BillingEventsTable",
        "GET /v2/core/events/{id}",
        "BatchGetItem UsageEventsTable",
        "UpdateItem UsageEventsTable",
        "TransactWriteItems BillingEventsTable",
        "Publish Topic",
        "UpdateItem BillingEventsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let mut claim = world.an_event(&self.customer_id);
        claim.fate = Fate::Refused;
        assert_eq!(world.emit(&mut claim).await, "delivered");
        self.claims.push(claim);
        let settled = world.simulator.post("settle", &json!({})).await;
        assert_eq!(settled["reported"], 1, "{settled}");
        let deliveries = world.simulator.get("deliveries?limit=10000").await;
        let deliveries = deliveries["data"].as_array().unwrap().iter();
        let mut reports = deliveries.filter(|delivery| delivery["type"] == REFUSED_USAGE);
        let event = json!({
            "id": reports.next_back().unwrap()["event"], "object": "v2.core.event",
            "type": REFUSED_USAGE, "created": "2026-02-01T00:00:00Z", "livemode": false,
        });
        self.deliveries.push(Delivery::new(world, &event))
    }

    async fn handle(surroundings: Surroundings, (_, delivery): Self::Input) -> Option<()> {
        delivery.receive(surroundings).await
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, (): ()) {
        self.deliveries.0[*n].1 = true;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_refused_usage_that_ends_anywhere_rejects_it() {
    let world = World::start().await;
    let mut refused = Refused::start(&world).await;
    sweep("webhook, refused usage", &world, &mut refused, 1).await;
    refused.deliveries.send_the_rest_again(&world).await;
    assert_all_counted_once(&world, &refused.claims).await;
}
