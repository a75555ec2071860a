//! The main job, in-process: the test moves the stream, Stripe and the test
//! clocks itself, so nothing waits for anything.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::io;
use std::path::Path;

use stack::story::{self, Narrator, Settings};
use stack::{Options, Pumping, System};
use stripe::UsageApi;

fn settings() -> Settings {
    Settings {
        documents: Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/documents"),
        pumping: Pumping::Manual,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_twice_on_one_state() {
    every_figure_comes_out(UsageApi::MeterEventStream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_by_meter_events() {
    every_figure_comes_out(UsageApi::MeterEvent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_comes_out_by_usage_records() {
    every_figure_comes_out(UsageApi::UsageRecord).await;
}

/// Twice, on one state.
async fn every_figure_comes_out(usage_api: UsageApi) {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut options = Options::manual(folder.path());
        options.usage_api = usage_api;
        let system = System::start(options).await.unwrap();
        let mut narrator = Narrator::new(io::stdout());
        let link = story::play(&system, &settings(), &mut narrator)
            .await
            .unwrap();
        assert_eq!(narrator.wrong(), [""; 0]);
        assert!(narrator.figures() > 40, "{}", narrator.figures());
        assert!(link.starts_with(system.url()), "{link}");
        system.stop().await.unwrap();
    }
}

#[test]
fn the_endpoint_that_setup_makes_asks_for_what_the_webhook_acts_upon() {
    assert_eq!(
        meterline_cli::webhook_setup::SNAPSHOT_EVENTS,
        webhook::EVENT_TYPES
    );
    let thin = stripe::MeterErrorReport::EVENT_TYPES;
    assert_eq!(
        meterline_cli::webhook_setup::THIN_EVENTS.as_slice(),
        thin.as_slice()
    );
}
