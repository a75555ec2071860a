//! Tables belong to one Stripe account and mode. Every program that has a Stripe key
//! ends at its start where the key is of another, says why, and has touched nothing.
//! Where nobody says whose a key is, one that is in use is asked about again, and one
//! that is to take its place is not taken.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "../../functions/emission/tests/support/lambda.rs"]
mod lambda;
#[path = "../../local/stack/tests/support/mod.rs"]
mod local;
mod support {
    pub(crate) use shared::program;
    #[path = "../support/mod.rs"]
    mod shared;
    #[path = "../support/watched.rs"]
    pub(crate) mod watched;
}

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use ledger::{StripeAccount, TableNames};
use local::Caller;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::System;
use stack::connection::Connection;
use support::program;
use support::watched::Watched;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;
use web::KeyWatch;

/// The functions that have a Stripe key: all but the rollup.
const FUNCTIONS: [&str; 5] = ["onboarding", "emission", "report", "webhook", "redelivery"];
/// The key of the row that says whose the tables are.
const OWNER: &str = "account#stripe";
/// Where nobody listens.
const NOBODY: &str = "https://127.0.0.1:1";
const ANOTHER: &str = "acct_another";
/// How Stripe is asked whose a key is.
const ACCOUNT: &str = "GET /v1/account";
/// What emission asks of Stripe, first with the secret key.
const SESSION: &str = "POST /v2/billing/meter_event_session";
const STREAM: &str = "POST /v2/billing/meter_event_stream";
/// A restricted key, which the tables have never seen.
const RESTRICTED: &str = "rk_test_51Restricted";
const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:stripe";
/// What Lambda's runtime is asked by a function that has started.
const NEXT: &str = "GET /2018-06-01/runtime/invocation/next";
/// As `meterline setup --catalog` takes it (docs/catalog.md).
const CATALOG: &str = r#"{
  "meters": [
    {
      "event_name": "agent_operations", "product_name": "Agent Operations",
      "lookup_key": "agent_operations_monthly",
      "price": { "currency": "usd", "unit_amount_decimal": "2" },
      "actions": ["document_processed"]
    }
  ],
  "default_meter": "agent_operations"
}"#;
/// For a program to start; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables with a customer, a Stripe, and a Lambda that only listens.
struct Place {
    system: System,
    dynamodb: Watched,
    stripe: Watched,
    lambda: Watched,
    customer_id: String,
    folder: TempDir,
}

impl Place {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = local::start(folder.path()).await;
        let caller = Caller::of(&system);
        let customer_id = caller.onboard("acme").await;
        caller.emit(&customer_id, "job", 3).await;
        Self {
            dynamodb: Watched::start(system.dynamodb_url()),
            stripe: Watched::start(system.stripe_url()),
            lambda: Watched::start("http://127.0.0.1:1"),
            system,
            customer_id,
            folder,
        }
    }

    /// The tables are nobody's.
    async fn of_nobody() -> Self {
        let place = Self::start().await;
        let table = &place.system.ledger().tables().customers;
        let forget = place.client().delete_item().table_name(table);
        let key = AttributeValue::S(OWNER.to_owned());
        forget.key("customer_id", key).send().await.unwrap();
        place
    }

    /// The tables are of another account than the key.
    async fn of_another_account() -> Self {
        let place = Self::of_nobody().await;
        let another = StripeAccount {
            account_id: ANOTHER.to_owned(),
            livemode: false,
        };
        let claim = place.system.ledger().claim_for_stripe_account(&another);
        assert_eq!(claim.await.unwrap(), another);
        place
    }

    fn client(&self) -> Client {
        Connection::embedded(self.system.dynamodb_url()).client()
    }

    /// Everything that the tables hold.
    async fn contents(&self) -> Vec<HashMap<String, AttributeValue>> {
        let mut contents = Vec::new();
        for (_, table) in TableNames::VARIABLES {
            let pages = self.client().scan().table_name(table).into_paginator();
            let items: Result<Vec<_>, _> = pages.items().send().collect().await;
            contents.extend(items.unwrap());
        }
        contents
    }

    /// A program with `key`, in the surroundings that Lambda or an operator gives it.
    fn program(&self, name: &str, arguments: &[&str], key: &str) -> Command {
        // A live key goes nowhere in the clear; and here nobody is to be asked.
        let stripe_url = match key.starts_with("sk_live_") {
            true => NOBODY,
            false => &self.stripe.url,
        };
        let mut command = Command::new(program(name));
        command
            .args(arguments)
            .env_clear()
            .envs(TableNames::VARIABLES)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamodb.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .env("STRIPE_API_BASE", stripe_url)
            .env("STRIPE_METER_EVENTS_BASE", stripe_url)
            .env("STRIPE_SECRET_KEY", key)
            .env("STRIPE_PRICE_LOOKUP_KEY", "agent_operations_monthly")
            .env("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef")
            .env("DASHBOARD_LINK_SECRET", "a secret of 32 random characters")
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "log")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "log")
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                self.lambda.url.trim_start_matches("http://"),
            )
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a program to its end. It must have asked whose the tables are, of Stripe
    /// what `of_stripe` says, and nothing else of anybody.
    async fn refused(
        &self,
        (name, arguments): (&str, &[&str]),
        key: &str,
        of_stripe: &[&str],
    ) -> Output {
        let contents = self.contents().await;
        let ended = self.program(name, arguments, key).output();
        let ended = timeout(PATIENCE, ended).await.unwrap().unwrap();
        assert!(!ended.status.success(), "{name} {arguments:?}");
        let asked = self.dynamodb.take_asked();
        assert_eq!(asked, ["GetItem CustomersTable"], "{name} {arguments:?}");
        assert_eq!(self.stripe.take_asked(), of_stripe, "{name} {arguments:?}");
        assert_eq!(self.lambda.take_asked(), [""; 0], "{name} {arguments:?}");
        assert_eq!(self.contents().await, contents, "{name} {arguments:?}");
        ended
    }

    /// What each function's log says of `key`, at the level that alarms.
    async fn functions_refuse(&self, key: &str, of_stripe: &[&str], expected: &str) {
        for function in FUNCTIONS {
            let ended = self.refused((function, &[]), key, of_stripe).await;
            let log = String::from_utf8(ended.stdout).unwrap();
            let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
            let errors: Vec<Value> = lines
                .filter(|line: &Value| line["level"] == "ERROR")
                .collect();
            assert_eq!(errors.len(), 1, "{function}: {log}");
            assert_eq!(errors[0]["message"], "the Stripe key is refused");
            assert_eq!(errors[0]["error"], expected, "{function}");
            assert!(!log.contains(key), "{function}: {log}");
        }
    }

    /// The operator's commands that work on tables and Stripe, for a customer's event.
    async fn commands_refuse(&self, key: &str, of_stripe: &[&str], expected: &str) {
        let customer = self.customer_id.as_str();
        let file = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let usage = "customer_id,quantity,action_type,timestamp,stripe_record_id\n";
        let usage = file(
            "usage.csv",
            &format!("{usage}{customer},3,read,1784505620,mbur_1\n"),
        );
        let catalog = file("catalog.json", CATALOG);
        let commands: [&[&str]; 7] = [
            &[
                "reconcile",
                "--from",
                "2026-11-01T00:00:00Z",
                "--to",
                "2026-11-02T00:00:00Z",
                "--repair",
            ],
            &["import", "--source", "nightly", &usage],
            &["void", "--customer", customer, "job-0"],
            &["redrive", "--status", "held", "--yes"],
            &["customer", "erase", customer, "--yes", "--force"],
            &["catalog", "subscribe"],
            &["setup", "--catalog", &catalog],
        ];
        for command in commands {
            let ended = self.refused(("meterline", command), key, of_stripe).await;
            assert_eq!(ended.status.code(), Some(2), "{command:?}");
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(said, format!("meterline: {expected}\n"), "{command:?}");
        }
    }

    /// A function gets so far as to ask Lambda for an event.
    async fn starts(&self, function: &str, key: &str) {
        self.says_at_its_start(function, self.program(function, &[], key))
            .await;
    }

    /// The same, with the levels and the messages of what it has logged until then.
    async fn says_at_its_start(
        &self,
        function: &str,
        mut program: Command,
    ) -> Vec<(String, String)> {
        let file = self.folder.path().join("start.log");
        let mut running = program
            .stdout(fs::File::create(&file).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = timeout(PATIENCE, self.lambda.is_asked(NEXT));
        assert!(started.await.is_ok(), "{function}");
        let _ = running.kill().await;
        self.lambda.take_asked();
        logged(&file)
    }

    /// What looks again at a key that the start found out nothing about.
    fn watch(&self) -> KeyWatch {
        let config = stripe::Config::new(self.system.stripe_secret_key().clone())
            .with_api_base(&self.stripe.url);
        let stripe = stripe::Client::new(config).unwrap();
        KeyWatch::new(self.system.ledger().clone(), stripe)
    }

    /// Stripe does not take `from` any more, but `to`.
    async fn roll(&self, from: &str, to: &str) {
        let url = format!("{}/_simulator/roll_secret_key", self.system.stripe_url());
        let request = local::http().post(url).bearer_auth(from);
        let rolled = request.json(&json!({ "secret_key": to })).send().await;
        assert!(rolled.unwrap().status().is_success());
    }

    /// An emission that has begun with the former key of `secrets` meets an event: its
    /// answer, and what it logs of warnings and errors.
    async fn emit(&self, event_id: &str, secrets: &Secrets) -> (Value, Vec<String>) {
        let log = self.folder.path().join("emission.log");
        let start = self.folder.path().join("emission");
        let (program, to) = (program("emission"), log.to_str().unwrap());
        let program = format!("#!/bin/sh\nexec {} >{to}\n", program.display());
        fs::write(&start, program).unwrap();
        fs::set_permissions(&start, Permissions::from_mode(0o755)).unwrap();
        let environment = [
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets.url.as_str()),
            ("STRIPE_SECRET_KEY_ARN", ARN),
            ("STRIPE_API_BASE", &self.stripe.url),
            ("STRIPE_METER_EVENTS_BASE", &self.stripe.url),
        ];
        let dynamodb_url = self.system.dynamodb_url();
        let (start, event) = (start.to_str().unwrap(), self.event(event_id));
        let answer = lambda::invoke(start, dynamodb_url, &environment, &event).await;
        let lines = logged(&log).into_iter();
        let lines = lines.filter(|(level, _)| level == "WARN" || level == "ERROR");
        let lines = lines.map(|(level, message)| format!("{level} {message}"));
        (answer.unwrap(), lines.collect())
    }

    /// As API Gateway hands it over.
    fn event(&self, event_id: &str) -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/emission.json");
        let sample = fs::read_to_string(path).unwrap();
        let key = self.system.api_key().expose_secret();
        let sample = sample.replace("$METERLINE_API_KEY", key);
        let sample = sample.replace("$CUSTOMER_ID", &self.customer_id);
        let mut event: Value = serde_json::from_str(&sample).unwrap();
        let body = event["body"].as_str().unwrap();
        let mut body: Value = serde_json::from_str(body).unwrap();
        body["event_id"] = event_id.into();
        event["body"] = body.to_string().into();
        event
    }
}

/// Secrets Manager, with one secret that is rotated after its first reading.
struct Secrets {
    url: String,
}

impl Secrets {
    async fn start(former: &str, current: &str) -> Self {
        let secrets = [former, current].map(str::to_owned);
        let is_read = Arc::new(AtomicBool::new(false));
        let answer = move || {
            let version = usize::from(is_read.swap(true, Ordering::SeqCst));
            let answer = json!({ "SecretString": secrets[version] });
            async move { answer.to_string() }
        };
        let routes = Router::new().fallback(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        Self { url }
    }
}

/// The levels and the messages of a function's log.
fn logged(file: &Path) -> Vec<(String, String)> {
    let log = fs::read_to_string(file).unwrap();
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        // Figures have neither.
        .filter(|line: &Value| line["level"].is_string())
        .map(|line| (text(&line, "level"), text(&line, "message")))
        .collect()
}

/// Stripe's answer to a restricted key that may not do what it asks.
fn not_permitted() -> Value {
    let message = "The provided key does not have the required permissions for this endpoint.";
    json!({ "error": { "type": "invalid_request_error", "message": message } })
}

#[tokio::test]
async fn with_a_key_of_another_account_nothing_starts() {
    let place = Place::of_another_account().await;
    let key = place.system.stripe_secret_key().expose_secret();
    let account = place.system.stripe().retrieve_account().await.unwrap().id;
    let expected = format!(
        "these tables belong to the Stripe account {ANOTHER} in test mode, but \
         STRIPE_SECRET_KEY is of {account} in test mode"
    );
    let asks = ["GET /v1/account"];
    place.functions_refuse(key, &asks, &expected).await;
    place.commands_refuse(key, &asks, &expected).await;
    place.system.stop().await.unwrap();
}

/// What mode a key is of, it says itself: nobody needs to be asked.
#[tokio::test]
async fn with_a_live_key_nothing_starts_on_tables_of_test_mode() {
    let place = Place::start().await;
    let account = place.system.stripe().retrieve_account().await.unwrap().id;
    let expected = format!(
        "these tables belong to the Stripe account {account} in test mode, but \
         STRIPE_SECRET_KEY is of live mode"
    );
    let key = "sk_live_51NobodysKey";
    place.functions_refuse(key, &[], &expected).await;
    place.commands_refuse(key, &[], &expected).await;
    place.system.stop().await.unwrap();
}

/// It is the key that the others are refused for.
#[tokio::test]
async fn with_the_right_key_the_same_functions_start() {
    let place = Place::start().await;
    let key = place.system.stripe_secret_key().expose_secret();
    for function in FUNCTIONS {
        place.starts(function, key).await;
    }
    place.system.stop().await.unwrap();
}

/// Usage must be recorded while Stripe is away. A key that may not ask would never be
/// known: that is for somebody to hear of.
#[tokio::test]
async fn where_nobody_says_whose_a_key_is_a_function_starts_and_says_so() {
    let place = Place::start().await;
    for status in [401, 403] {
        place.stripe.refuse(ACCOUNT, status, not_permitted());
        let program = place.program("emission", &[], RESTRICTED);
        let said = place.says_at_its_start("emission", program).await;
        let message = "the Stripe key may not ask whose it is: give it read access to its account";
        assert!(
            said.contains(&("ERROR".to_owned(), message.to_owned())),
            "{said:?}"
        );
    }
    let mut program = place.program("emission", &[], RESTRICTED);
    program.env("STRIPE_API_BASE", NOBODY);
    let said = place.says_at_its_start("emission", program).await;
    let message = "whether the Stripe key is of the tables' account is not known";
    assert!(
        said.contains(&("WARN".to_owned(), message.to_owned())),
        "{said:?}"
    );
    assert!(said.iter().all(|(level, _)| level != "ERROR"), "{said:?}");
    place.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_in_use_is_asked_about_until_it_turns_out_to_be_anothers() {
    let place = Place::of_another_account().await;
    let mut watch = place.watch();
    for status in [403, 404] {
        place.stripe.refuse(ACCOUNT, status, not_permitted());
        watch.look().await.unwrap();
    }
    let other = watch.look().await.unwrap_err().to_string();
    let account = place.system.stripe().retrieve_account().await.unwrap().id;
    assert!(
        other.contains(ANOTHER) && other.contains(&account),
        "{other}"
    );
    assert_eq!(place.stripe.take_asked(), [ACCOUNT; 3]);
    place.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_in_use_is_asked_about_until_it_is_known_and_no_more_then() {
    let place = Place::of_nobody().await;
    let mut watch = place.watch();
    place.stripe.refuse(ACCOUNT, 403, not_permitted());
    watch.look().await.unwrap();
    assert_eq!(place.system.ledger().stripe_account().await.unwrap(), None);
    for _ in 0..2 {
        watch.look().await.unwrap();
    }
    assert_eq!(place.stripe.take_asked(), [ACCOUNT; 2]);
    let owner = place.system.ledger().stripe_account().await.unwrap();
    let account = place.system.stripe().retrieve_account().await.unwrap().id;
    assert_eq!(owner.unwrap().account_id, account);
    place.system.stop().await.unwrap();
}

/// There is a key to go on with, or to wait with: none is taken on trust.
#[tokio::test]
async fn a_new_key_takes_over_once_it_is_known_to_be_of_the_same_account() {
    let place = Place::start().await;
    let former = place.system.stripe_secret_key().expose_secret();
    let status = |answer: &Value| {
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        body["status"].as_str().unwrap().to_owned()
    };
    place.roll(former, RESTRICTED).await;

    let secrets = Secrets::start(former, RESTRICTED).await;
    place.stripe.refuse(ACCOUNT, 403, not_permitted());
    let (answer, said) = place.emit("too-early", &secrets).await;
    assert_eq!(status(&answer), "pending", "{answer}");
    assert_eq!(place.stripe.take_asked(), [SESSION, ACCOUNT]);
    let stays = "ERROR whose the new Stripe key is, is not known; the old one stays. It is looked \
                 at again: a restricted key needs read access to its account";
    assert!(said.iter().any(|said| said == stays), "{said:?}");

    let secrets = Secrets::start(former, RESTRICTED).await;
    let (answer, said) = place.emit("in-time", &secrets).await;
    assert_eq!(status(&answer), "delivered", "{answer} {said:?}");
    assert_eq!(
        place.stripe.take_asked(),
        [SESSION, ACCOUNT, SESSION, STREAM]
    );
    place.roll(RESTRICTED, former).await;
    place.system.stop().await.unwrap();
}
