//! Events that Stripe cannot send here are fetched, each one once, and the
//! webhook takes them as if they had been sent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::event_pump::Pumped;
use stack::options::StripeElsewhere;
use stack::{Options, System};

use crate::support::{Caller, HandClock, http, settle};

fn fetching(folder: &Path) -> Options {
    Options {
        poll_events_every: Some(Duration::from_secs(1)),
        ..Options::manual(folder)
    }
}

/// What Stripe answers to a request of somebody who has its key.
async fn ask_stripe(system: &System, method: &str, path: &str) -> Value {
    let url = format!("{}{path}", system.stripe_url());
    let request = http().request(method.parse().unwrap(), url);
    let request = request.bearer_auth(system.stripe_secret_key().expose_secret());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{method} {path}: {answer:?}");
    answer.json().await.unwrap()
}

/// How many events of `customer_id` the webhook has noted, by its table.
async fn noted(system: &System, customer_id: &str) -> usize {
    let events = ask_stripe(system, "GET", "/v1/events?limit=100").await;
    let mut noted = 0;
    for event in events["data"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap();
        let row = system.ledger().billing_event(id).await.unwrap();
        if event["data"]["object"]["customer"] == customer_id {
            noted += usize::from(row.is_some());
        } else {
            assert!(row.is_none(), "{event}");
        }
    }
    noted
}

#[tokio::test]
async fn an_event_comes_once_and_stripe_knows_of_no_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(fetching(folder.path())).await.unwrap();
    let customer_id = Caller::of(&system).onboard("first").await;
    assert_eq!(noted(&system, &customer_id).await, 0);

    let pumped = system.pump_events().await.unwrap();
    assert_ne!(pumped.taken, 0);
    assert_eq!(pumped.waiting, 0);
    assert_eq!(noted(&system, &customer_id).await, pumped.taken);
    assert_eq!(system.pump_events().await.unwrap(), Pumped::default());
    let endpoints = ask_stripe(&system, "GET", "/v1/webhook_endpoints").await;
    assert_eq!(endpoints["data"], json!([]));
    system.stop().await.unwrap();
}

/// More than a page of the list, and not one of them twice.
#[tokio::test]
async fn many_events_come_in_one_look() {
    const UPDATES: usize = 110;
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(fetching(folder.path())).await.unwrap();
    let customer_id = Caller::of(&system).onboard("first").await;
    let onboarded = system.pump_events().await.unwrap().taken;
    let subscriptions = ask_stripe(&system, "GET", "/v1/subscriptions").await;
    let subscription_id = subscriptions["data"][0]["id"].as_str().unwrap();
    let url = format!("{}/v1/subscriptions/{subscription_id}", system.stripe_url());
    let key = system.stripe_secret_key().expose_secret();
    let http = http();
    for update in 0..UPDATES {
        let request = http.post(&url).bearer_auth(key);
        let request = request.body(format!("metadata[update]={update}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        assert!(request.send().await.unwrap().status().is_success());
    }
    let pumped = system.pump_events().await.unwrap();
    assert_eq!((pumped.taken, pumped.waiting), (UPDATES, 0));
    let newest = noted(&system, &customer_id).await;
    assert_eq!(newest, 100.min(UPDATES + onboarded));
    system.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_is_not_taken_comes_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at_unix_s(1_790_000_000));
    let mut options = fetching(folder.path());
    options.clock = clock.clone();
    let system = System::start(options).await.unwrap();
    let secret = system.webhook_secret();
    Caller::of(&system).onboard("first").await;

    system.set_webhook_secret("whsec_another".into()).unwrap();
    let refused = system.pump_events().await.unwrap();
    assert_eq!(refused.taken, 0);
    assert_ne!(refused.waiting, 0);
    system.set_webhook_secret(secret).unwrap();
    // Not at once: as Stripe, it lets the webhook get well.
    assert_eq!(system.pump_events().await.unwrap(), refused);
    clock.advance_s(1);
    let taken = Pumped {
        taken: refused.waiting,
        waiting: 0,
    };
    assert_eq!(system.pump_events().await.unwrap(), taken);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_is_never_taken_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at_unix_s(1_790_000_000));
    let mut options = fetching(folder.path());
    options.clock = clock.clone();
    let system = System::start(options).await.unwrap();
    Caller::of(&system).onboard("first").await;
    system.set_webhook_secret("whsec_another".into()).unwrap();
    assert_ne!(system.pump_events().await.unwrap().waiting, 0);
    clock.advance_s(3_600);
    assert_eq!(system.pump_events().await.unwrap(), Pumped::default());
    system.stop().await.unwrap();
}

#[tokio::test]
async fn what_happened_while_nobody_looked_is_fetched_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |unix_s| {
        let mut options = fetching(folder.path());
        options.clock = Arc::new(HandClock::at_unix_s(unix_s));
        System::start(options).await.unwrap()
    };
    let system = start(1_790_000_000).await;
    let customer_id = Caller::of(&system).onboard("first").await;
    system.stop().await.unwrap();
    // A day later.
    let system = start(1_790_086_400).await;
    let pumped = system.pump_events().await.unwrap();
    assert_ne!(pumped.taken, 0);
    assert_eq!(noted(&system, &customer_id).await, pumped.taken);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_of_refused_usage_comes_too() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(fetching(folder.path())).await.unwrap();
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    // The stream takes it, and finds out later that the customer is gone.
    let path = format!("/v1/customers/{customer_id}");
    ask_stripe(&system, "DELETE", &path).await;
    caller.emit(&customer_id, "late", 1).await;
    assert_eq!(settle(&system).await["reported"], 1);

    system.pump_events().await.unwrap();
    let (_, row) = caller.get(&format!("/v1/usage/{customer_id}/late-0")).await;
    assert_eq!(row["status"], "rejected", "{row}");
    system.stop().await.unwrap();
}

#[tokio::test]
async fn a_run_leaves_the_events_of_another_to_it() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |folder: &Path, id: &str| Options {
        run_id: Some(id.to_owned()),
        ..fetching(folder)
    };
    let one = System::start(run(there.path(), "one")).await.unwrap();
    let two = Options {
        stripe_elsewhere: Some(StripeElsewhere {
            secret_key: one.stripe_secret_key().clone(),
            api_base: one.stripe_url().to_owned(),
            meter_events_base: one.meter_events_url().to_owned(),
            webhook_secret: None,
        }),
        ..run(here.path(), "two")
    };
    let two = System::start(two).await.unwrap();
    Caller::of(&one).onboard("first").await;
    assert_eq!(two.pump_events().await.unwrap(), Pumped::default());
    assert_ne!(one.pump_events().await.unwrap().taken, 0);
    let customer_id = Caller::of(&two).onboard("second").await;
    let pumped = two.pump_events().await.unwrap();
    assert_eq!(noted(&two, &customer_id).await, pumped.taken);
    two.stop().await.unwrap();
    one.stop().await.unwrap();
}
