//! The local system as a process of its own, spoken to as anybody would.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed helper is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use stack::story::Api;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval};

/// How often a process that moves by itself is looked at, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LOOKS_MAX: u32 = 4_800;

/// Ports for Meterline, DynamoDB and Stripe that are free now, and stay the
/// same over a restart.
pub(crate) fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A program of the workspace, built by `make test` before the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.is_file(),
        "cargo build --workspace --bins makes {}",
        path.display()
    );
    path
}

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..LOOKS_MAX {
        ticks.tick().await;
        if let Some(seen) = look().await {
            return seen;
        }
    }
    panic!("waited in vain: {what}");
}

/// `meterline-local serve`, running.
pub(crate) struct LocalProcess {
    process: Child,
    environment: BTreeMap<String, String>,
    pub(crate) api: Api,
    stripe: Api,
}

impl LocalProcess {
    /// Starts it in `folder`, and waits until its env file says that it serves.
    pub(crate) async fn start(folder: &Path, ports: [u16; 3]) -> Self {
        let env_file = folder.join("env");
        // One that was killed leaves its own behind.
        let _ = std::fs::remove_file(&env_file);
        let mut command = Command::new(program("meterline-local"));
        command
            .arg("serve")
            .env("LOCAL_DIR", folder)
            .env("METERLINE_PORT", ports[0].to_string())
            .env("DYNAMODB_PORT", ports[1].to_string())
            .env("STRIPE_PORT", ports[2].to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let process = command.spawn().unwrap();
        let environment = until("the env file", async || read_env(&env_file)).await;
        let key = |name: &str| environment[name].clone().into();
        let api = Api::new(&environment["METERLINE_URL"], key("METERLINE_API_KEY")).unwrap();
        let stripe = Api::new(&environment["STRIPE_API_BASE"], key("STRIPE_SECRET_KEY")).unwrap();
        Self {
            process,
            environment,
            api,
            stripe,
        }
    }

    /// A variable of the env file.
    pub(crate) fn variable(&self, name: &str) -> &str {
        &self.environment[name]
    }

    /// The variables of the env file.
    pub(crate) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// What Ctrl-C does; it must end in order.
    pub(crate) async fn stop(mut self) {
        let id = self.process.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.unwrap().success());
        assert!(self.process.wait().await.unwrap().success());
    }

    /// A customer with a card.
    pub(crate) async fn onboard(&self, external_id: &str) -> String {
        let body = json!({
            "email": "someone@example.com", "payment_method": "pm_card_visa",
            "external_id": external_id,
        });
        let answer = self.api.post("/v1/customers", &body).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.text("/customer_id")
    }

    /// The agent's run of many operations, as a command.
    pub(crate) fn agent(
        &self,
        customer: &str,
        journal: &Path,
        count: usize,
        resume: bool,
    ) -> Command {
        let mut command = Command::new(program("agent"));
        command
            .args([
                "operations",
                "--json",
                "--customer",
                customer,
                "--job",
                "load",
            ])
            .args(["--count", &count.to_string(), "--retry-for-ms", "60000"])
            .arg("--journal")
            .arg(journal)
            .args(resume.then_some("--resume"))
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Waits until the report's total is `units`.
    pub(crate) async fn report_reaches(&self, customer: &str, units: usize) {
        let path = format!("/v1/customers/{customer}/usage");
        until("the report", async || {
            let report = self.api.get(&path).await.unwrap();
            (report.body["total_units"] == json!(units)).then_some(())
        })
        .await;
    }

    /// The identifiers of the events that Stripe counts, one per event.
    pub(crate) async fn identifiers_in_stripe(&self, customer: &str) -> BTreeSet<String> {
        let path = format!("/_simulator/meter_events?customer={customer}&limit=10000");
        let events = self.stripe.get(&path).await.unwrap().body;
        let events: Vec<Value> = events["data"].as_array().unwrap().clone();
        let identifiers: BTreeSet<String> = events
            .iter()
            .map(|event| event["identifier"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(identifiers.len(), events.len(), "an event is counted twice");
        identifiers
    }

    /// The units of the customer that Stripe counts.
    pub(crate) async fn units_in_stripe(&self, customer: &str) -> u64 {
        let path = format!("/_simulator/meter_events?customer={customer}&limit=0");
        let events = self.stripe.get(&path).await.unwrap().body;
        events["value"].as_u64().unwrap()
    }
}

/// The variables of an env file; none while it is not there.
fn read_env(path: &Path) -> Option<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).ok()?;
    let variables = text.lines().filter_map(|line| line.split_once('='));
    Some(
        variables
            .map(|(name, value)| {
                let name = name.trim_start_matches("export ");
                (name.to_owned(), value.trim_matches('\'').to_owned())
            })
            .collect(),
    )
}
