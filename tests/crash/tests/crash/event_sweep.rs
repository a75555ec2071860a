//! The sweep of Stripe's events, ended everywhere: the next one goes on, and no
//! event that Stripe did not deliver is applied twice, or never.

use std::time::Duration;

use ::webhook::State;
use crash::database::{number, text};
use crash::process::run;
use crash::{Aftermath, Crash, Scenario, Surroundings, World};
use serde_json::json;
use tokio::time::Instant;

use crate::sweep_with;
use crate::webhook::{billing_events, configuration, customer};

/// A subscription that changes while Stripe delivers nothing.
struct Unheard {
    customer_id: String,
    subscription_id: String,
    version: i64,
    /// Events that were made, all of one type.
    made: usize,
}

impl Unheard {
    /// What happened before is swept.
    async fn start(world: &World) -> Self {
        let customer_id = world.onboard("acme").await;
        world.pass_hours(2);
        sweep_once(world).await;
        let row = customer(world, &customer_id).await;
        Self {
            subscription_id: text(&row, "subscription_id"),
            version: number(&row, "version"),
            customer_id,
            made: 0,
        }
    }

    /// Rows of the events that were made here, and whether each is done.
    async fn rows(&self, world: &World) -> Vec<bool> {
        let rows = billing_events(world).await.into_values();
        let updates = rows.filter(|row| {
            row.get("event_type") == Some(&json!({ "S": "customer.subscription.updated" }))
        });
        updates.map(|row| text(&row, "state") == "done").collect()
    }

    async fn assert_each_applied_once(&self, world: &World) {
        world.fall_silent().await;
        let row = customer(world, &self.customer_id).await;
        let applied = self.rows(world).await.len();
        let changes = number(&row, "version") - self.version;
        assert_eq!(changes, i64::try_from(applied).unwrap());
        assert!(applied <= self.made);
    }
}

impl Scenario for Unheard {
    type Input = ();
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "GetItem BillingEventsTable",
        "GET /v2/core/events",
        "GET /v1/events",
        "GetItem CustomersTable",
        "GET /v1/subscriptions/{id}",
        "GET /v1/invoices",
        "TransactWriteItems BillingEventsTable",
        "Publish Topic",
        "UpdateItem BillingEventsTable",
        "PutItem BillingEventsTable",
    ];

    /// A customer who is thought to owe, and an event that says otherwise, two
    /// hours old.
    async fn prepare(&mut self, world: &World) {
        self.assert_each_applied_once(world).await;
        let update = json!({
            "TableName": "CustomersTable",
            "Key": { "customer_id": { "S": self.customer_id } },
            "UpdateExpression": "SET #status = :past_due",
            "ExpressionAttributeNames": { "#status": "status" },
            "ExpressionAttributeValues": { ":past_due": { "S": "past_due" } },
        });
        world.database.call("UpdateItem", &update).await;
        self.made += 1;
        let path = format!("/v1/subscriptions/{}", self.subscription_id);
        let change = self.made.to_string();
        world
            .post_to_stripe(&path, &[("metadata[change]", &change)])
            .await;
        world.pass_hours(2);
    }

    async fn handle(surroundings: Surroundings, (): ()) -> Option<()> {
        let configuration = configuration(&surroundings.sns_url);
        let Surroundings {
            ledger,
            stripe,
            clock,
            ..
        } = surroundings;
        let state = State::configured(ledger, stripe, Vec::new(), clock, configuration);
        let deadline = Instant::now() + Duration::from_secs(600);
        state.sweep(deadline).await.ok().map(|_| ())
    }

    fn acknowledge(&mut self, (): &(), (): ()) {}
}

async fn sweep_once(world: &World) {
    let swept = run(&world.environment, Crash::Never, |surroundings| {
        Unheard::handle(surroundings, ())
    });
    assert_eq!(swept.await.answer, Some(Some(())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_ends_anywhere_is_finished_by_the_next() {
    let world = World::start().await;
    let mut unheard = Unheard::start(&world).await;
    // The schedule goes on: there is always a next one.
    for aftermath in [Aftermath::Retry, Aftermath::TwoAtOnce] {
        sweep_with("webhook, a sweep", &world, &mut unheard, aftermath, 1).await;
    }
    world.pass_hours(2);
    sweep_once(&world).await;
    unheard.assert_each_applied_once(&world).await;
    let rows = unheard.rows(&world).await;
    assert_eq!(rows.len(), unheard.made);
    assert!(rows.iter().all(|is_done| *is_done));
}
