//! Alerts of spending limits, and expiry, by processes that end everywhere: each
//! threshold is told of, under one id, and each unit is given back once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::rollup::{Handler, LimitLooks, Rollup};
use ::webhook::Configuration;
use crash::holds::holds;
use crash::{Claim, Scenario, Surroundings, World};
use limits::{Duties, LimitWatcher};
use notify::Ways;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::webhook::configuration;
use crate::{assert_all_counted_once, sweep};

const TABLE: &str = "UsageEventsTable";
const TIMEOUT: Duration = Duration::from_secs(55);

fn ways(sns_url: &str) -> Ways {
    let Configuration {
        notifier, channels, ..
    } = configuration(sns_url);
    Ways { notifier, channels }
}

/// A customer whose limit is set anew for each trial.
struct Watched {
    customer_id: String,
    /// What the operator has to be told of: `revision:percent:kind`.
    due: BTreeSet<String>,
}

impl Watched {
    async fn start(world: &World) -> Self {
        Self {
            customer_id: world.onboard("acme").await,
            due: BTreeSet::new(),
        }
    }

    /// Sets a limit, and answers its revision.
    async fn set(&self, world: &World, units: i64) -> u64 {
        let path = format!("/v1/customers/{}/spending-limit", self.customer_id);
        let limit = json!({ "units": units, "enforcement": "soft", "thresholds_percent": [100] });
        let (status, answer) = world.put(&path, &limit).await;
        assert_eq!(status, 200, "{answer}");
        let customer_id = billing::CustomerId::parse(&self.customer_id).unwrap();
        let row = world.system.ledger().customer(&customer_id).await;
        row.unwrap().unwrap().spending_limit.unwrap().revision
    }

    /// What a process left is done by the next one.
    async fn catch_up(&self, world: &World) {
        world.fall_silent().await;
        world.roll_up().await;
        world.pass_a_minute();
        world.system.redeliver().await.unwrap();
    }

    /// Everything that was due was told, each under one id, and nothing else was.
    async fn assert_told(&self, world: &World) {
        self.catch_up(world).await;
        let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut notifications = 0;
        for news in world.notifications() {
            let id = news["id"].as_str().unwrap().to_owned();
            if id.starts_with("limit:") {
                notifications += 1;
                told.entry(id).or_default().insert(news.to_string());
            }
        }
        for (id, messages) in &told {
            assert_eq!(messages.len(), 1, "{id} says two things: {messages:?}");
        }
        let short = |id: &String| id.split(':').skip(3).collect::<Vec<_>>().join(":");
        let ids: BTreeSet<String> = told.keys().map(short).collect();
        assert_eq!(ids, self.due);
        for id in told.keys() {
            let event = world.system.ledger().billing_event(id).await;
            let event = event.unwrap().unwrap();
            assert_eq!(event.deliveries.len(), 2, "{event:?}");
            let stored = &event.notifications[0].message;
            let stored: Value = serde_json::from_str(stored).unwrap();
            assert!(told[id].contains(&stored.to_string()), "{stored}");
        }
        println!(
            "{} alerts were told by {notifications} notifications",
            ids.len()
        );
    }
}

/// The rollup, which sees a threshold crossed with each of its batches.
struct Counting {
    watched: Watched,
    claims: Vec<Claim>,
    read: Option<String>,
    used: i64,
    /// The revision whose threshold was crossed last.
    crossed: Option<u64>,
}

impl Scenario for Counting {
    type Input = Value;
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "GetItem UsageTotalsTable",
        "TransactWriteItems UsageTotalsTable",
        "GetItem CustomersTable",
        "Query UsageTotalsTable",
        "PutItem UsageTotalsTable",
        "PutItem BillingEventsTable",
        "Publish Topic",
    ];

    async fn prepare(&mut self, world: &World) -> Value {
        self.watched.catch_up(world).await;
        let mut claim = world.an_event(&self.watched.customer_id);
        self.used += claim.quantity;
        // Above what was used before, and reached with this event.
        let revision = self.watched.set(world, self.used).await;
        if let Some(before) = self.crossed.replace(revision) {
            let resolved = format!("{before}:100:limit_threshold_resolved");
            self.watched.due.insert(resolved);
        }
        let reached = format!("{revision}:100:limit_threshold_reached");
        self.watched.due.insert(reached);
        world.emit(&mut claim).await;
        self.claims.push(claim);
        let read = self.read.as_deref();
        let (shard_id, records) = world.database.stream_records(TABLE, read).await;
        let last = records.last().unwrap()["dynamodb"]["SequenceNumber"].as_str();
        self.read = last.map(str::to_owned);
        json!({ "Records": records, "shardId": shard_id, "state": {} })
    }

    async fn handle(surroundings: Surroundings, event: Value) -> Option<()> {
        let Surroundings {
            ledger,
            sns_url,
            clock,
            ..
        } = surroundings;
        let watcher = LimitWatcher::new(ledger.clone(), ways(&sns_url), clock.clone());
        let looks = LimitLooks::new(ledger.clone(), watcher, clock);
        let handler = Handler::new(Rollup::new(ledger), false).with_limits(looks);
        let event = serde_json::from_value(event).unwrap();
        handler.handle(event).await.ok().map(drop)
    }

    fn acknowledge(&mut self, _: &Value, (): ()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_that_ends_anywhere_leaves_no_threshold_untold() {
    let world = World::start().await;
    let mut counting = Counting {
        watched: Watched::start(&world).await,
        claims: Vec::new(),
        read: None,
        used: 0,
        crossed: None,
    };
    sweep("rollup with limits", &world, &mut counting, 1).await;
    counting.watched.assert_told(&world).await;
    assert_all_counted_once(&world, &counting.claims).await;
}

/// The minute run, which finds a limit that was set anew, and a reservation whose
/// time is over.
struct Minute {
    watched: Watched,
    reservations: u32,
    /// The revision whose threshold is crossed now.
    crossed: Option<u64>,
}

impl Scenario for Minute {
    type Input = ();
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "Query UsageTotalsTable",
        "GetItem CustomersTable",
        "PutItem UsageTotalsTable",
        "PutItem BillingEventsTable",
        "Publish Topic",
        "GetItem UsageTotalsTable",
        "TransactWriteItems UsageTotalsTable",
    ];

    async fn prepare(&mut self, world: &World) {
        self.watched.catch_up(world).await;
        // What is used is more than one limit, and less than the other.
        if let Some(before) = self.crossed.take() {
            self.watched.set(world, 1_000_000).await;
            let resolved = format!("{before}:100:limit_threshold_resolved");
            self.watched.due.insert(resolved);
        } else {
            let revision = self.watched.set(world, 1).await;
            self.crossed = Some(revision);
            let reached = format!("{revision}:100:limit_threshold_reached");
            self.watched.due.insert(reached);
        }
        self.reservations += 1;
        let reservation = json!({
            "reservation_id": format!("run-{}", self.reservations), "expires_in_s": 1,
            "customer_id": self.watched.customer_id, "quantity": 3,
            "action_type": "document_processed",
        });
        let (status, answer) = world.post("/v1/usage/reservations", &reservation).await;
        assert_eq!(status, 201, "{answer}");
        world.pass_a_minute();
    }

    async fn handle(surroundings: Surroundings, (): ()) -> Option<()> {
        let Surroundings {
            ledger,
            stripe,
            sns_url,
            clock,
        } = surroundings;
        let duties = Duties::new(ledger, stripe, ways(&sns_url), clock);
        let report = duties.run(Instant::now() + TIMEOUT).await.ok()?;
        (report.failed == 0 && report.untold == 0).then_some(())
    }

    fn acknowledge(&mut self, (): &(), (): ()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_run_that_ends_anywhere_leaves_no_limit_and_no_reservation_behind() {
    let world = World::start().await;
    let watched = Watched::start(&world).await;
    let mut claim = world.an_event(&watched.customer_id);
    claim.quantity = 5;
    world.emit(&mut claim).await;
    world.roll_up().await;
    let mut minute = Minute {
        watched,
        reservations: 0,
        crossed: None,
    };
    sweep("minute run of limits", &world, &mut minute, 1).await;
    minute.watched.assert_told(&world).await;
    let all = holds(&world.database).await;
    let holds: Vec<_> = all.into_values().collect();
    assert!(
        holds.iter().all(|it| it.agree() && it.held == 0),
        "{holds:?}"
    );
    println!(
        "{} reservations have expired: {holds:?}",
        minute.reservations
    );
}
