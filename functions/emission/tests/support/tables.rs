//! DynamoDB in this process, over HTTP, with the tables of `template.yaml`.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use ledger::{Ledger, TableNames};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const TEMPLATE: &str = include_str!("../../../../template.yaml");

/// An item as DynamoDB gives it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The tables, empty at first.
pub(crate) struct Tables {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) ledger: Ledger,
}

impl Tables {
    pub(crate) async fn start() -> Self {
        let database = Database::memory().unwrap();
        create_tables(&database);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(dynoxide::server::serve_on(listener, database));
        Self::at(&url)
    }

    /// The tables of the DynamoDB at `url`; a call that fails is not repeated.
    pub(crate) fn at(url: &str) -> Self {
        Self::of(url, RetryConfig::disabled())
    }

    /// As [`at`](Self::at), with a client that repeats a call that fails.
    pub(crate) fn with_retries(url: &str) -> Self {
        let at_once = Duration::from_millis(1);
        Self::of(url, RetryConfig::standard().with_initial_backoff(at_once))
    }

    fn of(url: &str, retries: RetryConfig) -> Self {
        let client = client(url, retries);
        let names = TableNames::from_variables(|variable| {
            let mut names = TableNames::VARIABLES.iter();
            names
                .find(|(name, _)| *name == variable)
                .map(|(_, logical_id)| (*logical_id).to_owned())
        });
        Self {
            url: url.to_owned(),
            ledger: Ledger::new(client.clone(), names),
            client,
        }
    }

    /// Everything that a table holds.
    pub(crate) async fn scan(&self, table: &str) -> Vec<Item> {
        let scanned = self.client.scan().table_name(table).send().await.unwrap();
        assert_eq!(scanned.last_evaluated_key, None, "more than a page");
        scanned.items.unwrap_or_default()
    }
}

fn create_tables(database: &Database) {
    let template: yaml_serde::Value = yaml_serde::from_str(TEMPLATE).unwrap();
    for (_, logical_id) in TableNames::VARIABLES {
        let properties = &template["Resources"][logical_id]["Properties"];
        let property = |name: &str| serde_json::to_value(&properties[name]).unwrap();
        let mut request = json!({
            "TableName": logical_id,
            "BillingMode": property("BillingMode"),
            "AttributeDefinitions": property("AttributeDefinitions"),
            "KeySchema": property("KeySchema"),
        });
        if let indexes @ Value::Array(_) = property("GlobalSecondaryIndexes") {
            request["GlobalSecondaryIndexes"] = indexes;
        }
        if let mut stream @ Value::Object(_) = property("StreamSpecification") {
            stream["StreamEnabled"] = json!(true);
            request["StreamSpecification"] = stream;
        }
        let request = serde_json::from_value(request).unwrap();
        database.create_table(request).unwrap();
    }
}

fn client(url: &str, retries: RetryConfig) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(retries)
        // The SDK gives a connection 3.1 s by itself. On a machine that is busy with other
        // things a call takes as long as it takes: no test is about that.
        .timeout_config(TimeoutConfig::disabled())
        .build();
    Client::from_conf(config)
}
