//! What was answered is kept: over a restart, and over a kill.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use stripe_simulator::DEFAULT_SECRET_KEY;

use crate::support::{
    HOUR, HandClock, START, Stripe, Subscriber, VERSION, client, event, id, send, with_form,
};

#[tokio::test]
async fn a_restart_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.db");
    let clock = HandClock::at(START);
    let stripe = Stripe::on_file(&file, clock.clone()).await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = event("one", &ada.customer, "8", 0);
    stripe
        .stream(&token, std::slice::from_ref(&usage))
        .await
        .ok();
    let product = stripe
        .post_as("key", "/v1/products", &[("name", "A")])
        .await
        .ok();
    stripe.stop().await;

    let stripe = Stripe::on_file(&file, clock.clone()).await;
    stripe.stream(&token, &[usage]).await.ok();
    let again = stripe
        .post_as("key", "/v1/products", &[("name", "A")])
        .await
        .ok();
    assert_eq!(again, product);
    // The same seed in a file that holds objects gives other ids.
    let other = stripe.post("/v1/products", &[("name", "B")]).await.ok();
    assert_ne!(id(&other), id(&product));
    stripe
        .advance(&ada.test_clock, ada.period_end() + HOUR)
        .await;
    assert_eq!(ada.invoice(&stripe).await["total"], 100);
}

#[tokio::test]
async fn a_simulator_that_is_dropped_loses_nothing_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.db");
    let clock = HandClock::at(START);
    let stripe = Stripe::on_file(&file, clock.clone()).await;
    let product = stripe.post("/v1/products", &[("name", "A")]).await.ok();
    drop(stripe);
    let stripe = Stripe::on_file(&file, clock).await;
    let found = stripe.get(&format!("/v1/products/{}", id(&product))).await;
    assert_eq!(found, product);
}

#[tokio::test]
async fn stopping_cuts_no_request_off() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.db");
    let clock = HandClock::at(START);
    let stripe = Stripe::on_file(&file, clock.clone()).await;
    let fault = json!({ "path_prefix": "/v1/products", "kind": "delay_ms", "delay_ms": 300 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let form = [("name", "A")];
    let slow = with_form(stripe.request(Method::POST, "/v1/products"), &form);
    let slow = tokio::spawn(send(slow));
    while stripe.get("/_simulator/faults").await["data"][0]["struck"] == 0 {}
    stripe.stop().await;
    let product = slow.await.unwrap().ok();
    let stripe = Stripe::on_file(&file, clock).await;
    assert_eq!(stripe.get("/v1/products").await["data"], json!([product]));
}

/// The simulator as a process of its own.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stripe-simulator"))
            .args(["--port", "0", "--manual", "--data"])
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, url }
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let request = client()
            .post(format!("{}{path}", self.url))
            .bearer_auth(DEFAULT_SECRET_KEY);
        send(with_form(request, form)).await.ok()
    }

    async fn get(&self, path: &str) -> Value {
        let request = client()
            .get(format!("{}{path}", self.url))
            .bearer_auth(DEFAULT_SECRET_KEY);
        send(request).await.ok()
    }

    async fn stream(&self, token: &str, events: &[Value]) {
        let request = client()
            .post(format!("{}/v2/billing/meter_event_stream", self.url))
            .bearer_auth(token)
            .header("Stripe-Version", VERSION)
            .json(&json!({ "events": events }));
        send(request).await.ok();
    }

    async fn session(&self) -> String {
        let request = client()
            .post(format!("{}/v2/billing/meter_event_session", self.url))
            .bearer_auth(DEFAULT_SECRET_KEY)
            .header("Stripe-Version", VERSION)
            .json(&json!({}));
        let session = send(request).await.ok();
        session["authentication_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_kill_after_any_answer_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stripe.db");
    let mut process = Process::start(&file);
    let meter = [
        ("display_name", "Documents"),
        ("event_name", "documents"),
        ("default_aggregation[formula]", "sum"),
    ];
    process.post("/v1/billing/meters", &meter).await;
    let customer = id(&process.post("/v1/customers", &[("name", "Ada")]).await);
    let token = process.session().await;
    for round in 0..3 {
        for index in 0..10 {
            let mut usage = event(&format!("{round}-{index}"), &customer, "1", 0);
            // The process lives in the machine's time.
            usage.as_object_mut().unwrap().remove("timestamp");
            process.stream(&token, &[usage]).await;
        }
        process.kill();
        process = Process::start(&file);
        let held = process.get("/_simulator/meter_events").await;
        assert_eq!(held["count"], (round + 1) * 10);
    }
    process.kill();
}
