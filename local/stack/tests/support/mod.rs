//! A system to speak to, and what tests say to it.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use billing::{CustomerId, Timestamp, UsageStatus};
use ledger::Ledger;
use reqwest::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stack::{Options, System};
use tempfile::TempDir;
pub(crate) use test_support::HandClock;

/// When a story begins.
const START_S: i64 = 1_784_505_620;
/// The most events of one batch.
pub(crate) const BATCH: usize = 100;

pub(crate) async fn start(folder: &Path) -> System {
    System::start(Options::manual(folder)).await.unwrap()
}

/// A system with one customer, whose time a test moves.
pub(crate) struct Story {
    pub(crate) system: System,
    pub(crate) caller: Caller,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) customer_id: String,
    _folder: TempDir,
}

impl Story {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at_unix_s(START_S));
        let mut options = Options::manual(folder.path());
        options.clock = clock.clone();
        let system = System::start(options).await.unwrap();
        let caller = Caller::of(&system);
        let customer_id = caller.onboard("first").await;
        Self {
            system,
            caller,
            clock,
            customer_id,
            _folder: folder,
        }
    }
}

/// Meterline's API under a key.
pub(crate) struct Caller {
    http: Client,
    url: String,
    key: SecretString,
}

impl Caller {
    pub(crate) fn of(system: &System) -> Self {
        Self::new(system.url(), system.api_key().clone())
    }

    pub(crate) fn new(url: &str, key: SecretString) -> Self {
        Self {
            http: http(),
            url: url.to_owned(),
            key,
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.url));
        let request = request.bearer_auth(self.key.expose_secret()).json(&body);
        answer(request).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.put(format!("{}{path}", self.url));
        let request = request.bearer_auth(self.key.expose_secret()).json(&body);
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.http.get(format!("{}{path}", self.url));
        answer(request.bearer_auth(self.key.expose_secret())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        let request = self.http.delete(format!("{}{path}", self.url));
        answer(request.bearer_auth(self.key.expose_secret())).await
    }

    /// A new customer's id.
    pub(crate) async fn onboard(&self, external_id: &str) -> String {
        let body = json!({
            "email": "agent@example.com",
            "payment_method": "pm_card_visa",
            "external_id": external_id,
        });
        let (status, customer) = self.post("/v1/customers", body).await;
        assert_eq!(status, 201, "{customer}");
        customer["customer_id"].as_str().unwrap().to_owned()
    }

    /// Delivers `count` single units, with event ids that begin with `name`.
    pub(crate) async fn emit(&self, customer_id: &str, name: &str, count: usize) {
        let events: Vec<_> = (0..count)
            .map(|number| {
                json!({
                    "event_id": format!("{name}-{number}"),
                    "customer_id": customer_id,
                    "quantity": 1,
                    "action_type": "document_processed",
                })
            })
            .collect();
        for events in events.chunks(BATCH) {
            let (status, answer) = self
                .post("/v1/usage/batch", json!({ "events": events }))
                .await;
            assert_eq!(
                (status, &answer["delivered"]),
                (200, &json!(events.len())),
                "{answer}"
            );
        }
    }

    pub(crate) async fn total_units(&self, customer_id: &str) -> u64 {
        let (status, usage) = self
            .get(&format!("/v1/customers/{customer_id}/usage"))
            .await;
        assert_eq!(status, 200, "{usage}");
        usage["total_units"].as_u64().unwrap()
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or(Value::Null))
}

/// A client that has TLS, though nothing here needs it.
pub(crate) fn http() -> Client {
    // Another test of this program may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

/// Passes over the stream until nothing is left; how many records there were.
pub(crate) async fn pump_all(system: &System) -> usize {
    let mut records = 0;
    loop {
        match system.pump_stream().await.unwrap() {
            0 => return records,
            some => records += some,
        }
    }
}

/// Has Stripe do what it does later, webhooks included.
pub(crate) async fn settle(system: &System) -> Value {
    let url = format!("{}/_simulator/settle", system.stripe_url());
    let key = system.stripe_secret_key().expose_secret();
    let (status, settled) = answer(http().post(url).bearer_auth(key)).await;
    assert_eq!(status, 200, "{settled}");
    settled
}

/// Orders a fault of Stripe, or ends them all where there is none.
pub(crate) async fn fault(system: &System, fault: Option<Value>) {
    let url = format!("{}/_simulator/faults", system.stripe_url());
    let request = match fault {
        Some(fault) => http().post(url).json(&fault),
        None => http().delete(url),
    };
    let key = system.stripe_secret_key().expose_secret();
    let (status, answer) = answer(request.bearer_auth(key)).await;
    assert_eq!(status, 200, "{answer}");
}

/// Variables of an env file, by their names.
pub(crate) fn variables(env_file: &Path) -> HashMap<String, String> {
    let text = std::fs::read_to_string(env_file).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Units of a customer that are delivered, and that are pending, by the totals.
pub(crate) async fn totals(ledger: &Ledger, customer_id: &str) -> (u64, u64) {
    let customer_id = CustomerId::parse(customer_id).unwrap();
    let from = Timestamp::from_unix_s(946_684_800);
    let to = Timestamp::from_unix_s(4_102_444_800);
    let totals = ledger
        .totals_of_range(&customer_id, from, to)
        .await
        .unwrap();
    totals.iter().fold((0, 0), |(delivered, pending), total| {
        (
            delivered + total.tally.units(UsageStatus::Delivered),
            pending + total.tally.units(UsageStatus::Pending),
        )
    })
}
