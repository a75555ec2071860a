//! A delivery of notifications that ends everywhere: a later minute finds what it
//! left, and whoever is told twice is told so by the id.

use std::collections::BTreeMap;
use std::time::Duration;

use ::courier::settings::Reach;
use ::courier::{Courier, Parts, Report};
use crash::database::text;
use crash::{Aftermath, Scenario, Surroundings, World};
use ledger::{BillingEventRow, BillingEventState, Delivery, StoredNotification};
use secrecy::SecretString;
use serde_json::json;
use stack::connection::Connection;
use tokio::time::Instant;
use web::RotatedSecret;

use crate::sweep_with;
use crate::webhook::billing_events;

/// The function's timeout.
const TIMEOUT: Duration = Duration::from_secs(55);
/// A claim, and what is tried again after it.
const CLAIM_MINUTES: u32 = 4;
const CHANNELS: &str = "email,webhook";

/// Payments that two ways tell of.
struct Receipts {
    customer_id: String,
    told: u32,
}

impl Receipts {
    /// How often each of the ids was told, by mail and to the receiver.
    fn tellings(world: &World) -> BTreeMap<String, [u32; 2]> {
        let mut tellings: BTreeMap<String, [u32; 2]> = BTreeMap::new();
        for mail in world.emails() {
            let id = &mail["Content"]["Simple"]["Headers"][0]["Value"];
            tellings.entry(id.as_str().unwrap().to_owned()).or_default()[0] += 1;
        }
        for message in world.hooks() {
            let id = message["id"].as_str().unwrap();
            tellings.entry(id.to_owned()).or_default()[1] += 1;
        }
        tellings
    }

    /// What is noted as sent was told, and nothing is given up.
    async fn assert_kept(&self, world: &World) {
        world.fall_silent().await;
        let tellings = Self::tellings(world);
        let rows = billing_events(world).await;
        let receipts = rows.iter().filter(|(id, _)| id.starts_with("evt_told"));
        for (event_id, row) in receipts {
            let deliveries = row["deliveries"]["L"].as_array().unwrap();
            let id = format!("{event_id}:receipt");
            for (place, delivery) in deliveries.iter().enumerate() {
                let state = delivery["M"]["state"]["S"].as_str().unwrap();
                assert!(state == "sent" || state == "pending", "{event_id}: {state}");
                let times = tellings.get(&id).map_or(0, |times| times[place]);
                assert!(
                    state == "pending" || times > 0,
                    "{id} is noted and not told"
                );
            }
        }
    }
}

impl Scenario for Receipts {
    type Input = ();
    type Answer = Report;

    const CALLS: &'static [&'static str] = &[
        "Query BillingEventsTable",
        "UpdateItem BillingEventsTable",
        "GetItem CustomersTable",
        "GET /v1/customers/{id}",
        "SendEmail",
        "POST /operator/hooks",
    ];

    async fn prepare(&mut self, world: &World) {
        self.assert_kept(world).await;
        self.told += 1;
        let stripe_event_id = format!("evt_told_{}", self.told);
        let now = world.now();
        let id = format!("{stripe_event_id}:receipt");
        let data = json!({ "number": null, "currency": "usd", "amount_paid": "1.00" });
        let notifications = vec![StoredNotification {
            message: json!({ "id": id, "kind": "receipt", "data": data }).to_string(),
            kind: "receipt".to_owned(),
            id,
        }];
        let channels: notify::Channels = CHANNELS.parse().unwrap();
        let event = BillingEventRow {
            stripe_event_id,
            event_type: "invoice.paid".to_owned(),
            customer_id: Some(billing::CustomerId::parse(&self.customer_id).unwrap()),
            created_at: now,
            applied_at: now,
            state: BillingEventState::Done,
            deliveries: Delivery::of_all(&notifications, channels.as_slice(), now),
            notifications,
        };
        let ledger = world.system.ledger();
        ledger.apply_billing_event(&event, None).await.unwrap();
    }

    /// The claim of the process that ended must be over.
    fn time_passes(&mut self, world: &World) {
        for _ in 0..CLAIM_MINUTES {
            world.pass_a_minute();
        }
    }

    async fn handle(surroundings: Surroundings, (): ()) -> Option<Report> {
        let url = surroundings.sns_url;
        let settings = json!({
            "email": { "from": "billing@example.com" },
            "webhook": { "url": format!("{url}/operator/hooks") },
        });
        let fixed = |text: String| RotatedSecret::new(SecretString::from(text), None);
        let courier = Courier::new(Parts {
            ledger: surroundings.ledger,
            stripe: surroundings.stripe,
            ses: Connection::embedded(&url).ses_client(&url),
            channels: CHANNELS.parse().unwrap(),
            settings: fixed(settings.to_string()),
            signing: Some(fixed("A".repeat(44))),
            reach: Reach::Anywhere,
            clock: surroundings.clock,
        });
        let run = courier.unwrap();
        run.run(Instant::now() + TIMEOUT).await.ok()
    }

    fn acknowledge(&mut self, (): &(), report: Report) {
        assert_eq!((report.dead, report.dropped), (0, 0), "{report:?}");
    }
}

async fn story(aftermath: Aftermath) {
    let world = World::start().await;
    let mut receipts = Receipts {
        customer_id: world.onboard("acme").await,
        told: 0,
    };
    sweep_with("notifications", &world, &mut receipts, aftermath, 1).await;
    receipts.assert_kept(&world).await;
    // Minutes later, whatever ended where, everybody is told everything.
    world.fall_silent().await;
    receipts.time_passes(&world);
    let again = |surroundings| Receipts::handle(surroundings, ());
    let ended = crash::process::run(&world.environment, crash::Crash::Never, again).await;
    assert!(ended.answer.flatten().is_some());
    receipts.assert_kept(&world).await;
    let rows = billing_events(&world).await;
    let told = rows
        .values()
        .filter(|row| text(row, "stripe_event_id").starts_with("evt_told"));
    for row in told {
        assert!(text(row, "progress").starts_with("settled#"), "{row:?}");
    }
    let tellings = Receipts::tellings(&world);
    assert_eq!(tellings.len(), usize::try_from(receipts.told).unwrap());
    let twice: u32 = tellings.values().flatten().map(|times| times - 1).sum();
    println!(
        "{} receipts, each told by both ways, {twice} tellings more than once",
        receipts.told
    );
}

// Three tests, so that they run at once: a trial takes many calls.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_anywhere_leaves_the_rest_to_a_later_minute() {
    story(Aftermath::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_anywhere_is_finished_by_the_next() {
    story(Aftermath::Retry).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_anywhere_is_finished_by_two_at_once() {
    story(Aftermath::TwoAtOnce).await;
}
