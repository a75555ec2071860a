//! The system around a process that crashes: real tables, a real Stripe over
//! HTTP, a clock that is moved by hand, and agents that emit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use billing::{Clock, Timestamp};
use reqwest::RequestBuilder;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::{Options, System};
use stripe::UsageApi;
use tempfile::TempDir;
use test_support::HandClock;
use tokio_util::task::TaskTracker;

use crate::count::{Claim, Counter, Fate, Finding, Observed, outbox};
use crate::database::Database;
use crate::process::Environment;
use crate::receiver::Receiver;
use crate::wire::Services;

/// 2026-02-01, the start of a month with room for a run.
const START_MS: i64 = 1_769_904_000_000;
/// The ways by which notifications go out beside the topic.
pub const CHANNELS: &str = "email,webhook";
/// What redelivery leaves to emissions; a moment more.
const A_MINUTE_MS: i64 = 61_000;
const HOUR_MS: i64 = 3_600_000;
/// Runs of redelivery after which a system must be at rest.
const RUNS_MAX: usize = 12;

/// What agents do in every story.
const ACTION_TYPE: &str = "document_processed";

/// A system that moves only when it is told to.
pub struct World {
    /// The system.
    pub system: System,
    /// The tables, over the wire.
    pub database: Database,
    /// The simulator, beside its API.
    pub simulator: Counter,
    /// What every process has around it.
    pub environment: Environment,
    /// For requests of agents.
    pub http: reqwest::Client,
    receiver: Receiver,
    clock: Arc<HandClock>,
    event_ids: AtomicU64,
    _folder: TempDir,
}

impl World {
    /// Starts one. Stripe's own webhooks find nobody: a scenario brings them.
    pub async fn start() -> Self {
        Self::with_usage_api(UsageApi::default()).await
    }

    /// The same, whose usage is reported by `usage_api`.
    pub async fn with_usage_api(usage_api: UsageApi) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at_unix_ms(START_MS));
        let mut options = Options::manual(folder.path());
        options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        options.usage_api = usage_api;
        options.delivery.channels = CHANNELS.parse().unwrap();
        let system = System::start(options).await.unwrap();
        system.set_webhook_secret("whsec_none".into()).unwrap();
        let http = http_client();
        let stripe_key = system.stripe_secret_key().clone();
        let receiver = Receiver::start().await;
        let services = Services {
            dynamodb: system.dynamodb_url().to_owned(),
            stripe: system.stripe_url().to_owned(),
            sns: system.notifications().url().to_owned(),
            operator: receiver.url.clone(),
            http: http.clone(),
            under_way: TaskTracker::new(),
        };
        Self {
            database: Database::at(system.dynamodb_url(), http.clone()),
            simulator: Counter::at(
                system.stripe_url(),
                stripe_key.expose_secret(),
                http.clone(),
            ),
            environment: Environment {
                services,
                tables: system.ledger().tables().clone(),
                stripe_key,
                usage_api,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
            },
            http,
            system,
            receiver,
            clock,
            event_ids: AtomicU64::new(0),
            _folder: folder,
        }
    }

    /// A new customer's id.
    pub async fn onboard(&self, external_id: &str) -> String {
        let body = json!({
            "email": format!("{external_id}@example.com"),
            "payment_method": "pm_card_visa",
            "external_id": external_id,
        });
        let (status, answer) = send(self.request("/v1/customers").json(&body)).await;
        assert_eq!(status, 201, "{answer}");
        answer["customer_id"].as_str().unwrap().to_owned()
    }

    /// An event that nobody has emitted yet.
    pub fn an_event(&self, customer_id: &str) -> Claim {
        let n = self.event_ids.fetch_add(1, Ordering::SeqCst);
        Claim {
            customer_id: customer_id.to_owned(),
            event_id: format!("job-{n}"),
            quantity: 1 + i64::try_from(n % 97).unwrap(),
            action_type: ACTION_TYPE.to_owned(),
            acknowledged: false,
            fate: Fate::Billed,
        }
    }

    /// Emits `claim` through the system, and notes what is acknowledged. Returns
    /// the status that was answered: `delivered` or `pending`.
    pub async fn emit(&self, claim: &mut Claim) -> String {
        let (status, answer) = send(self.request("/v1/usage").json(&body(claim))).await;
        assert!(matches!(status, 200 | 202), "{status} {answer}");
        claim.acknowledged = true;
        answer["status"].as_str().unwrap().to_owned()
    }

    /// Emits `claim` while Stripe does not take usage: it is left pending.
    pub async fn leave_pending(&self, claim: &mut Claim) {
        // A refusal without a code of Stripe's that rejects, and no reason to retry.
        let fault = json!({
            "kind": "error_before", "status": 403,
            "path_prefix": "/v2/billing/meter_event_stream",
        });
        self.simulator.post("faults", &fault).await;
        assert_eq!(self.emit(claim).await, "pending");
    }

    /// A POST to the system's API, and its answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        send(self.request(path).json(body)).await
    }

    /// A PUT to the system's API, and its answer.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.system.url());
        let key = self.system.api_key().expose_secret();
        send(self.http.put(url).bearer_auth(key).json(body)).await
    }

    /// A POST to the system's API.
    pub fn request(&self, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.system.url());
        let key = self.system.api_key().expose_secret();
        self.http.post(url).bearer_auth(key)
    }

    /// A POST to Stripe, past Meterline.
    pub async fn post_to_stripe(&self, path: &str, form: &[(&str, &str)]) {
        let url = format!("{}{path}", self.system.stripe_url());
        let key = self.system.stripe_secret_key().expose_secret();
        let content_type = "application/x-www-form-urlencoded";
        let pairs = form.iter().map(|(name, value)| format!("{name}={value}"));
        let request = self.http.post(url).bearer_auth(key);
        let request = request.header("content-type", content_type);
        let (status, answer) = send(request.body(pairs.collect::<Vec<_>>().join("&"))).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// A list of Stripe's, of up to 100.
    pub async fn list_of_stripe(&self, path: &str, after: Option<&str>) -> Vec<Value> {
        let after = after.map(|after| format!("&starting_after={after}"));
        let query = format!("limit=100{}", after.unwrap_or_default());
        let url = format!("{}{path}?{query}", self.system.stripe_url());
        let key = self.system.stripe_secret_key().expose_secret();
        let (status, mut answer) = send(self.http.get(url).bearer_auth(key)).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_value(answer["data"].take()).unwrap()
    }

    /// What the operator was told, in order.
    pub fn notifications(&self) -> Vec<Value> {
        lines_of(self.system.notifications().file())
    }

    /// The mails that went out, as SES was asked to send them, in order.
    pub fn emails(&self) -> Vec<Value> {
        lines_of(self.system.notifications().emails_file())
    }

    /// What the operator's receiver got, in order.
    pub fn hooks(&self) -> Vec<Value> {
        self.receiver.bodies()
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The same, in unix seconds.
    pub fn now_unix_s(&self) -> i64 {
        self.clock.now().unix_s()
    }

    /// Moves the clock so far that redelivery looks at what is pending now.
    pub fn pass_a_minute(&self) {
        self.clock.advance_ms(A_MINUTE_MS);
    }

    /// Moves the clock by `hours`.
    pub fn pass_hours(&self, hours: i64) {
        self.clock.advance_ms(hours * HOUR_MS);
    }

    /// Rolls up all of the stream.
    pub async fn roll_up(&self) {
        while self.system.pump_stream().await.unwrap() > 0 {}
    }

    /// Waits for calls that processes left behind.
    pub async fn fall_silent(&self) {
        let under_way = &self.environment.services.under_way;
        under_way.close();
        under_way.wait().await;
        under_way.reopen();
    }

    /// Runs the system until nothing moves any more: all of the below, and
    /// Stripe settled.
    pub async fn rest(&self) {
        self.redeliver_all().await;
        self.simulator.post("settle", &json!({})).await;
    }

    /// The stream rolled up, redelivery a minute later, until the outbox is empty.
    pub async fn redeliver_all(&self) {
        self.fall_silent().await;
        for _ in 0..RUNS_MAX {
            self.roll_up().await;
            if outbox(&self.database).await.is_empty() {
                break;
            }
            self.pass_a_minute();
            self.system.redeliver().await.unwrap();
        }
    }

    /// Counts a system that has rolled up its stream and is not at rest yet.
    pub async fn assert_stream_is_counted(&self) {
        self.fall_silent().await;
        self.roll_up().await;
        let observed = Observed::now(&self.database, &self.simulator).await;
        assert_eq!(observed.of_the_stream(), []);
        println!(
            "rolled up: {} rows, {} pending, {} in the outbox",
            observed.audit.len(),
            observed.pending(),
            observed.outbox.len()
        );
    }

    /// What is not as `claims` say, of a system at rest.
    pub async fn findings(&self, claims: &[Claim]) -> Vec<Finding> {
        let observed = Observed::now(&self.database, &self.simulator).await;
        observed.at_rest(claims)
    }
}

fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What an agent sends of `claim`.
pub fn body(claim: &Claim) -> Value {
    json!({
        "event_id": claim.event_id,
        "customer_id": claim.customer_id,
        "quantity": claim.quantity,
        "action_type": claim.action_type,
    })
}

/// For plain HTTP on this machine; reqwest wants its TLS chosen all the same.
fn http_client() -> reqwest::Client {
    // Another world of this process may have chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

async fn send(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}
