//! DynamoDB in this process, over HTTP, with the tables of `template.yaml`.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use ledger::{Ledger, TableNames};
use serde_json::{Value, json};
use std::collections::HashMap;
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

    /// The tables of the DynamoDB at `url`.
    pub(crate) fn at(url: &str) -> Self {
        let client = client(url);
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

fn client(url: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}
