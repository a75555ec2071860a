//! What is played while calls are recorded.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::config::{AppName, SharedInterceptor};
use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Clock, CustomerId, EventId, Identifier};
use ledger::Ledger;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;
use stack::story::{self, Narrator, Settings};
use stack::{DeliveryOptions, Options, Pumping, System};
use stripe::{MeterEvent, MeterEventStream, RequestOptions, UsageApi};
use tempfile::TempDir;

use super::recorder::Recorder;
use super::support::{self, Caller, HandClock};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
const START_S: i64 = 1_784_505_620;
const STREAM: &str = "/v2/billing/meter_event_stream";
/// The key of the row that says whose the tables are.
const OWNER: &str = "account#stripe";

/// Plays everything, each in a system of its own.
pub(crate) async fn play_all(recorder: &Recorder) {
    for usage_api in [
        UsageApi::MeterEventStream,
        UsageApi::MeterEvent,
        UsageApi::UsageRecord,
    ] {
        the_story(recorder, usage_api).await;
    }
    the_start_of_each_function(recorder).await;
    an_outage(recorder).await;
    the_turn_of_a_month(recorder).await;
    an_invoice_with_usage_pending(recorder).await;
    refused_usage(recorder).await;
    an_onboarding_by_checkout(recorder).await;
    a_notification_by_mail_and_webhook(recorder).await;
    a_row_that_somebody_deletes(recorder).await;
    a_look_at_the_log(recorder).await;
    a_customer_with_a_limit(recorder).await;
}

async fn start(recorder: &Recorder, options: Options) -> System {
    let options = Options {
        dynamodb_interceptor: Some(SharedInterceptor::new(recorder.clone())),
        ..options
    };
    let system = System::start(options).await.unwrap();
    recorder.know(system.ledger().tables());
    system
}

async fn the_story(recorder: &Recorder, usage_api: UsageApi) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::manual(folder.path());
    options.usage_api = usage_api;
    let system = start(recorder, options).await;
    let settings = Settings {
        documents: Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/documents"),
        pumping: Pumping::Manual,
        ..Settings::default()
    };
    let mut narrator = Narrator::new(io::sink());
    story::play(&system, &settings, &mut narrator)
        .await
        .unwrap();
    assert_eq!(narrator.wrong(), [""; 0]);
    system.redeliver().await.unwrap();
    system.sweep().await.unwrap();
    system.stop().await.unwrap();
}

/// A system whose time stands still until it is moved, with a customer on a test clock.
struct Stage {
    system: System,
    caller: Caller,
    clock: Arc<HandClock>,
    customer_id: String,
    test_clock: String,
    _folder: TempDir,
}

impl Stage {
    async fn set(recorder: &Recorder) -> Self {
        Self::set_with(recorder, DeliveryOptions::default()).await
    }

    async fn set_with(recorder: &Recorder, delivery: DeliveryOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at_unix_s(START_S));
        let mut options = Options::manual(folder.path());
        options.clock = clock.clone();
        options.delivery = delivery;
        let system = start(recorder, options).await;
        let stripe = system.stripe();
        let options = RequestOptions::new();
        let test_clock = stripe.create_test_clock(START_S, "month", &options).await;
        let test_clock = test_clock.unwrap().id;
        let caller = Caller::of(&system);
        let body = json!({
            "email": "agent@example.com", "payment_method": "pm_card_visa",
            "external_id": "clocked", "test_clock": test_clock,
        });
        let (status, customer) = caller.post("/v1/customers", body).await;
        assert_eq!(status, 201, "{customer}");
        Self {
            caller,
            clock,
            customer_id: customer["customer_id"].as_str().unwrap().to_owned(),
            test_clock,
            system,
            _folder: folder,
        }
    }

    async fn emit(&self, event_id: &str) -> Value {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer_id, "quantity": 1,
            "action_type": "document_processed",
        });
        let (status, emitted) = self.caller.post("/v1/usage", event).await;
        assert!(status == 200 || status == 202, "{emitted}");
        emitted["status"].clone()
    }

    /// Stripe refuses to work until [`Self::heal`].
    async fn strike(&self) {
        let fault = json!({ "kind": "error_before", "path_prefix": STREAM, "times": 1_000 });
        support::fault(&self.system, Some(fault)).await;
    }

    async fn heal(&self) {
        support::fault(&self.system, None).await;
    }

    /// From now on no webhook arrives.
    fn miss_webhooks(&self) {
        let other = "whsec_of_somebody_else".to_owned().into();
        self.system.set_webhook_secret(other).unwrap();
    }

    /// Months of the customer pass, so many since the beginning.
    async fn pass_months(&self, months: i64) {
        self.pass_to(START_S + months * 32 * DAY_S).await;
    }

    /// It is `to_s`, in unix seconds, for the customer.
    async fn pass_to(&self, to_s: i64) {
        let options = RequestOptions::new();
        let advanced = self.system.stripe();
        let advanced = advanced.advance_test_clock(&self.test_clock, to_s, &options);
        advanced.await.unwrap();
        support::settle(&self.system).await;
        // What is known of the clock's time is old by now.
        self.clock.advance_s(MINUTE_S);
    }

    async fn limit(&self, units: u64) {
        let path = format!("/v1/customers/{}/spending-limit", self.customer_id);
        let request = support::http().put(format!("{}{path}", self.system.url()));
        let request = request.bearer_auth(self.system.api_key().expose_secret());
        let limit = json!({ "units": units, "enforcement": "hard" });
        let answer = request.json(&limit).send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }

    async fn reserve(&self, id: &str, quantity: u64) -> u16 {
        let body = json!({
            "reservation_id": id, "customer_id": self.customer_id, "quantity": quantity,
            "action_type": "document_processed", "expires_in_s": 30,
        });
        self.caller.post("/v1/usage/reservations", body).await.0
    }

    async fn redeliver(&self) {
        support::pump_all(&self.system).await;
        self.clock.advance_s(2 * MINUTE_S);
        self.system.redeliver().await.unwrap();
    }

    fn identifier(&self, event_id: &str) -> Identifier {
        let customer_id = CustomerId::parse(&self.customer_id).unwrap();
        Identifier::of(&customer_id, &EventId::parse(event_id).unwrap())
    }
}

/// Whoever has Stripe's key asks whose the tables are, and makes them its account's.
async fn the_start_of_each_function(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    let (tables, stripe) = (stage.system.ledger().tables(), stage.system.stripe());
    let client = Connection::embedded(stage.system.dynamodb_url()).client();
    for function in ["onboarding", "emission", "report", "webhook", "redelivery"] {
        let forget = client.delete_item().table_name(&tables.customers);
        let key = AttributeValue::S(OWNER.to_owned());
        forget.key("customer_id", key).send().await.unwrap();
        let config = client.config().to_builder();
        let config = config.app_name(AppName::new(function).unwrap());
        let config = config.interceptor(SharedInterceptor::new(recorder.clone()));
        let named = aws_sdk_dynamodb::Client::from_conf(config.build());
        let ledger = Ledger::new(named, tables.clone());
        web::check_stripe_account(&ledger, stripe).await.unwrap();
        assert!(ledger.stripe_account_row().await.unwrap().is_some());
    }
}

/// Stripe is away for a while; some of what is pending is sent again by its agent.
async fn an_outage(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.strike().await;
    for event_id in ["a", "b"] {
        assert_eq!(stage.emit(event_id).await, "pending");
    }
    support::pump_all(&stage.system).await;
    stage.heal().await;
    assert_eq!(stage.emit("a").await, "delivered");
    stage.strike().await;
    stage.redeliver().await;
    stage.heal().await;
    stage.redeliver().await;
}

/// Periods end, and whoever is asked first learns of it.
async fn the_turn_of_a_month(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.miss_webhooks();
    stage.pass_months(1).await;
    stage.emit("a").await;
    stage.pass_months(2).await;
    let usage = format!("/v1/customers/{}/usage", stage.customer_id);
    let (status, usage) = stage.caller.get(&usage).await;
    assert_eq!(status, 200, "{usage}");
    stage.strike().await;
    stage.emit("b").await;
    stage.pass_months(3).await;
    stage.heal().await;
    stage.redeliver().await;
}

/// An invoice is made while usage of its period is pending.
async fn an_invoice_with_usage_pending(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.strike().await;
    stage.emit("a").await;
    support::pump_all(&stage.system).await;
    stage.heal().await;
    // The month has 31 days, and the invoice is a draft for an hour.
    stage.pass_to(START_S + 31 * DAY_S + MINUTE_S).await;
}

/// Stripe refuses usage that it had taken: ours, and some that nobody knows.
async fn refused_usage(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.emit("a").await;
    let ours = stage.identifier("a");
    let unknown = "0".repeat(64);
    let now_ms = stage.clock.now().unix_ms();
    let customer_id = CustomerId::parse(&stage.customer_id).unwrap();
    let customer = stage.system.ledger().customer(&customer_id).await;
    let meter = customer.unwrap().unwrap().item.meter_event_name;
    let sent = [ours.as_str(), &unknown]
        .map(|name| MeterEvent::new(name, &meter, now_ms, "cus_unknown", 5));
    let stream = MeterEventStream::new(stage.system.stripe().clone());
    stream.send(&sent, &RequestOptions::new()).await.unwrap();
    support::settle(&stage.system).await;
}

/// Somebody fills Checkout in, and the webhook finishes the onboarding.
async fn an_onboarding_by_checkout(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    let body = json!({
        "email": "ada@example.com", "external_id": "acme",
        "checkout": { "success_url": "https://agent.example/done" },
    });
    let (status, waits) = stage.caller.post("/v1/customers", body).await;
    assert_eq!(status, 202, "{waits}");
    let session = waits["checkout_url"].as_str().unwrap();
    let session = session.rsplit('/').next().unwrap();
    let url = format!(
        "{}/_simulator/checkout_sessions/{session}/complete",
        stage.system.stripe_url()
    );
    let key = stage.system.stripe_secret_key().expose_secret();
    let request = support::http().post(url).bearer_auth(key).json(&json!({}));
    assert!(request.send().await.unwrap().status().is_success());
    support::settle(&stage.system).await;
}

fn by_mail_and_webhook() -> DeliveryOptions {
    let settings = json!({
        "email": { "from": "billing@example.com" },
        "webhook": { "url": "http://127.0.0.1:9/" },
    });
    DeliveryOptions {
        channels: "email,webhook".parse().unwrap(),
        settings: settings.to_string().into(),
        signing: Some("A".repeat(44).into()),
    }
}

/// Somebody pays, and is told by mail; the operator's webhook is not there.
async fn a_notification_by_mail_and_webhook(recorder: &Recorder) {
    let stage = Stage::set_with(recorder, by_mail_and_webhook()).await;
    // Two dollars: what is below half of one, Stripe does not charge.
    let event = json!({
        "event_id": "a", "customer_id": stage.customer_id, "quantity": 100,
        "action_type": "document_processed",
    });
    let (status, emitted) = stage.caller.post("/v1/usage", event).await;
    assert_eq!(status, 200, "{emitted}");
    support::pump_all(&stage.system).await;
    stage.pass_to(START_S + 31 * DAY_S + 2 * HOUR_S).await;
    let told = stage.system.deliver_notifications().await.unwrap();
    assert_eq!((told.sent, told.failed), (1, 1), "{told:?}");
}

/// A row is gone from the audit log while redelivery waits for Stripe.
async fn a_row_that_somebody_deletes(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.strike().await;
    stage.emit("a").await;
    support::pump_all(&stage.system).await;
    stage.heal().await;
    stage.clock.advance_s(2 * MINUTE_S);
    let fault = json!({ "kind": "delay_ms", "delay_ms": 1_000, "path_prefix": STREAM });
    support::fault(&stage.system, Some(fault)).await;
    let delete = async {
        while !has_struck(&stage.system).await {}
        let connection = Connection::embedded(stage.system.dynamodb_url());
        let key = AttributeValue::S(stage.identifier("a").to_string());
        let table = &stage.system.ledger().tables().usage_events;
        let delete = connection.client().delete_item().table_name(table);
        delete.key("identifier", key).send().await.unwrap();
    };
    let (report, ()) = tokio::join!(stage.system.redeliver(), delete);
    report.unwrap();
}

/// Somebody reads what a customer's audit log holds.
async fn a_look_at_the_log(recorder: &Recorder) {
    let stage = Stage::set(recorder).await;
    stage.emit("a").await;
    let events = format!("/v1/customers/{}/events", stage.customer_id);
    let (status, listed) = stage.caller.get(&events).await;
    assert_eq!(
        (status, &listed["events"][0]["event_id"]),
        (200, &"a".into())
    );
}

/// Units are held and refused, a reservation is settled and another expires; and
/// thresholds are crossed, as usage is counted and as the limit is lowered.
async fn a_customer_with_a_limit(recorder: &Recorder) {
    let stage = Stage::set_with(recorder, by_mail_and_webhook()).await;
    stage.limit(10).await;
    assert_eq!(stage.reserve("run-1", 9).await, 201);
    assert_eq!(stage.reserve("run-2", 2).await, 402);
    let event = json!({
        "event_id": "a", "customer_id": stage.customer_id, "quantity": 9,
        "action_type": "document_processed", "reservation_id": "run-1",
    });
    let (status, emitted) = stage.caller.post("/v1/usage", event).await;
    assert_eq!((status, &emitted["reservation"]), (200, &json!("settled")));
    support::pump_all(&stage.system).await;
    assert_eq!(stage.reserve("run-3", 1).await, 201);
    stage.limit(9).await;
    stage.redeliver().await;
}

/// Whether a fault that was ordered has met a request.
async fn has_struck(system: &System) -> bool {
    let url = format!("{}/_simulator/faults", system.stripe_url());
    let key = system.stripe_secret_key().expose_secret();
    let faults = support::http().get(url).bearer_auth(key).send().await;
    let faults: Value = faults.unwrap().json().await.unwrap();
    faults.to_string().contains("\"struck\":1")
}
