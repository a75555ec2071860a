//! What the functions ask of DynamoDB, read off their requests as they are sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use ledger::TableNames;
use serde_json::Value;

use super::{Permission, Permissions};

/// What an application id looks like in the user agent (AWS SDKs and Tools Reference
/// Guide: "Application ID").
const APPLICATION: &str = "app/";

/// Keeps what each function needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    needed: Arc<Mutex<Permissions>>,
    /// Logical ids of the tables, by their names.
    tables: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Recorder {
    /// The names of the system that is watched next.
    pub(crate) fn know(&self, names: &TableNames) {
        let mut tables = self.tables.lock().unwrap();
        for (variable, name) in names.variables() {
            let logical_ids = TableNames::VARIABLES.into_iter();
            let mut logical_ids = logical_ids.filter(|(it, _)| *it == variable);
            let (_, logical_id) = logical_ids.next().unwrap();
            tables.insert(name.to_owned(), logical_id.to_owned());
        }
    }

    /// What was asked for, what the variables of secrets and topics say, and what Lambda does.
    pub(crate) fn needed(&self) -> Permissions {
        let mut needed = self.needed.lock().unwrap().clone();
        let template = super::template::read();
        needed.extend(super::template::told(&template));
        needed.extend(super::template::done_by_lambda(&template));
        needed
    }

    fn record(&self, function: &str, operation: &str, body: &Value) {
        for (action, table, index) in calls(operation, body) {
            let tables = self.tables.lock().unwrap();
            let logical_id = tables.get(&table).unwrap();
            let index = index.map_or_else(String::new, |index| format!("/index/{index}"));
            let permission = Permission::new(
                function,
                &format!("dynamodb:{action}"),
                &format!("{logical_id}{index}"),
            );
            self.needed.lock().unwrap().insert(permission);
        }
    }
}

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        let mut parts = header("user-agent").split(' ');
        let Some(function) = parts.find_map(|part| part.strip_prefix(APPLICATION)) else {
            return Ok(()); // The test itself, or the operator.
        };
        let (_, operation) = header("x-amz-target").split_once('.').unwrap_or_default();
        let body = request.body().bytes().unwrap_or_default();
        self.record(function, operation, &serde_json::from_slice(body)?);
        Ok(())
    }
}

/// The permissions behind an operation: action, table and index. A transaction needs
/// those of its parts (Amazon DynamoDB Developer Guide: "Amazon DynamoDB Transactions:
/// How it works").
fn calls(operation: &str, body: &Value) -> Vec<(String, String, Option<String>)> {
    let table = |of: &Value| of["TableName"].as_str().unwrap().to_owned();
    match operation {
        "TransactWriteItems" => {
            let parts = body["TransactItems"].as_array().unwrap().iter();
            let parts = parts.flat_map(|part| part.as_object().unwrap());
            let action = |kind: &str| match kind {
                "ConditionCheck" => "ConditionCheckItem".to_owned(),
                kind => format!("{kind}Item"),
            };
            parts
                .map(|(kind, part)| (action(kind), table(part), None))
                .collect()
        }
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().unwrap().keys();
            let action = operation.to_owned();
            tables
                .map(|table| (action.clone(), table.clone(), None))
                .collect()
        }
        "BatchExecuteStatement" | "ExecuteStatement" => {
            panic!("say here which table a statement of PartiQL is about, and what it needs")
        }
        _ => {
            let index = body["IndexName"].as_str().map(str::to_owned);
            vec![(operation.to_owned(), table(body), index)]
        }
    }
}
