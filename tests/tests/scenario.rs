//! What `make scenario` plays against Stripe, against a simulator that runs
//! elsewhere and is nothing but Stripe: its own controls are out of reach.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support {
    pub(crate) use shared::program;
    #[path = "../support/mod.rs"]
    mod shared;
    #[path = "../support/watched.rs"]
    mod watched;
    #[path = "../support/watched_stripe.rs"]
    pub(crate) mod watched_stripe;
}

use std::future::pending;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::json;
use stack::Options;
use stack::scenario::{self, Outcome};
use stack::story::Narrator;

use support::program;
use support::watched_stripe::WatchedStripe;

const KEY: &str = "sk_test_51ScenarioKeyThatNobodyMaySee";
const RUN: &str = "0a1b2c3d4e";

fn options(stripe: &WatchedStripe, usage_api: &str, folder: &Path) -> Options {
    let variable = |name: &str| match name {
        "STRIPE_SECRET_KEY" => Some(KEY.to_owned()),
        "STRIPE_API_BASE" => Some(stripe.url.clone()),
        "USAGE_API" => Some(usage_api.to_owned()),
        _ => None,
    };
    scenario::options(variable, folder, RUN).unwrap()
}

/// What a narrator tells, kept.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<u8>>>);

impl Told {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(bytes)?;
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// No customer lives on, and nothing can be bought.
async fn nothing_is_left(stripe: &WatchedStripe) {
    let clocks = stripe.get("/v1/test_helpers/test_clocks").await;
    assert_eq!(clocks["data"], json!([]));
    let customers = stripe.get("/v1/customers").await;
    assert_eq!(customers["data"], json!([]));
    let meters = stripe.get("/v1/billing/meters?status=active").await;
    assert_eq!(meters["data"], json!([]));
    for kind in ["prices", "products"] {
        let made = stripe.get(&format!("/v1/{kind}")).await;
        let made = made["data"].as_array().unwrap();
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(made[0]["active"], false, "{made:?}");
        assert_eq!(made[0]["metadata"]["meterline_run"], RUN, "{made:?}");
    }
}

async fn every_figure_comes_out(usage_api: &str, figures_min: u32) {
    let stripe = WatchedStripe::start(KEY).await;
    let folder = tempfile::tempdir().unwrap();
    let told = Told::default();
    let mut narrator = Narrator::new(told.clone());
    let options = options(&stripe, usage_api, folder.path());
    let settings = scenario::story_settings();
    let played = scenario::run(options, &settings, &mut narrator, pending()).await;
    assert_eq!(played.unwrap(), Outcome::Played);
    assert_eq!(narrator.wrong(), [""; 0]);
    let figures = narrator.figures();
    assert!(figures >= figures_min, "{figures}");
    nothing_is_left(&stripe).await;

    let made = stripe.get("/v1/events?type=customer.created").await;
    let made = made["data"].as_array().unwrap();
    assert_eq!(made.len(), 2, "{made:?}");
    for event in made {
        let metadata = event["data"]["object"]["metadata"].to_string();
        assert!(metadata.contains(RUN), "{metadata}");
    }

    let asked = stripe.asked();
    for never in [
        "/_simulator",
        "/v1/webhook_endpoints",
        "/event_destinations",
    ] {
        let met = asked.iter().find(|asked| asked.contains(never));
        assert_eq!(met, None);
    }
    let told = told.text();
    assert!(!told.contains(KEY));
    assert!(told.contains("days ahead of Stripe's"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_by_the_stream() {
    every_figure_comes_out("meter_event_stream", 49).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_by_meter_events() {
    every_figure_comes_out("meter_event", 49).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_by_usage_records() {
    every_figure_comes_out("usage_record", 43).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_leaves_nothing_behind() {
    let stripe = WatchedStripe::start(KEY).await;
    let folder = tempfile::tempdir().unwrap();
    let mut narrator = Narrator::new(Told::default());
    let options = options(&stripe, "meter_event_stream", folder.path());
    let settings = scenario::story_settings();
    let stopped = stripe.is_asked("POST /v1/subscriptions");
    let played = scenario::run(options, &settings, &mut narrator, stopped).await;
    assert_eq!(played.unwrap(), Outcome::Interrupted);
    assert_eq!(narrator.wrong(), [""; 0]);
    nothing_is_left(&stripe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_has_left_is_ended_later() {
    let stripe = WatchedStripe::start(KEY).await;
    let folder = tempfile::tempdir().unwrap();
    let options = options(&stripe, "meter_event_stream", folder.path());
    let system = stack::System::start(options.clone()).await.unwrap();
    drop(system);
    let clean = Command::new(program("meterline-local"))
        .args(["scenario", "--clean", RUN])
        .env("STRIPE_SECRET_KEY", KEY)
        .env("STRIPE_API_BASE", &stripe.url)
        .output();
    let clean = clean.unwrap();
    assert!(clean.status.success(), "{clean:?}");
    nothing_is_left(&stripe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_of_test_mode_asks_nothing() {
    let stripe = WatchedStripe::start(KEY).await;
    for key in ["sk_live_51Hidden", "rk_live_51Hidden", "51Hidden", ""] {
        let refused = Command::new(program("meterline-local"))
            .arg("scenario")
            .env("STRIPE_SECRET_KEY", key)
            .env("STRIPE_API_BASE", &stripe.url)
            .output();
        let refused = refused.unwrap();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("test mode"), "{said}");
        assert!(!said.contains("Hidden"), "{said}");
    }
    assert_eq!(stripe.asked(), [""; 0]);
}
