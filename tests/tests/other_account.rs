//! Tables belong to one Stripe account and mode. Every program that has a Stripe key
//! ends at its start where the key is of another, says why, and has touched nothing.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

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
use std::process::{Output, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::{StripeAccount, TableNames};
use local::Caller;
use secrecy::ExposeSecret;
use serde_json::Value;
use stack::System;
use stack::connection::Connection;
use support::program;
use support::watched::Watched;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// The functions that have a Stripe key: all but the rollup.
const FUNCTIONS: [&str; 5] = ["onboarding", "emission", "report", "webhook", "redelivery"];
/// The key of the row that says whose the tables are.
const OWNER: &str = "account#stripe";
/// Where nobody listens.
const NOBODY: &str = "https://127.0.0.1:1";
const ANOTHER: &str = "acct_another";
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

    /// The tables are of another account than the key.
    async fn of_another_account() -> Self {
        let place = Self::start().await;
        let table = &place.system.ledger().tables().customers;
        let forget = place.client().delete_item().table_name(table);
        let key = AttributeValue::S(OWNER.to_owned());
        forget.key("customer_id", key).send().await.unwrap();
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
        let mut command = self.program(function, &[], key);
        let mut running = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = timeout(PATIENCE, self.lambda.is_asked(NEXT));
        assert!(started.await.is_ok(), "{function}");
        let _ = running.kill().await;
        self.lambda.take_asked();
    }
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
