//! The least that an emission can take: one conditional put, one call to
//! Stripe's meter event stream, one conditional update; by bare clients, with
//! everything ready that can be made ready before.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementRequest, ReturnValuesOnConditionCheckFailure,
};
use billing::{ActionType, EventId, Quantity, UsageEvent};
use futures_util::future::try_join_all;
use ledger::UsageEventRow;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;
use stripe::IdempotencyKey;

use crate::Failure;
use crate::world::{Customer, World, http_client};

const STRIPE_VERSION: &str = "2026-06-24.dahlia";

/// Bare clients of the world's servers.
pub(crate) struct Floor {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
    http: reqwest::Client,
    stream_url: String,
    token: String,
}

/// An event, ready to be sent.
pub(crate) struct Ready {
    identifier: String,
    item: HashMap<String, AttributeValue>,
    /// The body of the stream's request.
    request: String,
    key: String,
    now_ms: i64,
}

impl Floor {
    /// Opens a session of the stream.
    pub(crate) async fn new(world: &World) -> Result<Self, Failure> {
        let http = http_client()?;
        let stripe_url = world.system.stripe_url();
        let session = http
            .post(format!("{stripe_url}/v2/billing/meter_event_session"))
            .bearer_auth(world.system.stripe_secret_key().expose_secret())
            .header("stripe-version", STRIPE_VERSION)
            .header(CONTENT_TYPE, "application/json")
            .body("{}");
        let session = session.send().await?.error_for_status()?.bytes().await?;
        let session: Value = serde_json::from_slice(&session)?;
        let token = session["authentication_token"].as_str();
        let base = world.system.meter_events_url();
        Ok(Self {
            dynamodb: Connection::embedded(world.system.dynamodb_url()).client(),
            table: world.system.ledger().tables().usage_events.clone(),
            http,
            stream_url: format!("{base}/v2/billing/meter_event_stream"),
            token: token.ok_or("a session without a token")?.to_owned(),
        })
    }

    /// The next event of `customer`, with the very row that the ledger would write.
    pub(crate) fn ready(world: &World, customer: &Customer) -> Result<Ready, Failure> {
        let event = UsageEvent {
            event_id: EventId::parse(&world.event_id())?,
            customer_id: customer.id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(1)?,
            action_type: ActionType::parse("summarise_document")?,
            occurred_at: None,
            source: None,
        };
        let now = world.system.clock().now();
        let token = IdempotencyKey::random().as_str().to_owned();
        let row = UsageEventRow::new(
            &event,
            now,
            customer.row.billing_time(&customer.row.item, now, now),
            &customer.row.item.meter_event_name,
            token.clone(),
            now,
        );
        let identifier = row.identifier.as_str().to_owned();
        let meter_event = json!({
            "identifier": identifier,
            "event_name": customer.row.item.meter_event_name,
            "timestamp": now.to_string(),
            "payload": { "stripe_customer_id": customer.id.as_str(), "value": "1" },
        });
        Ok(Ready {
            item: serde_dynamo::to_item(&row)?,
            request: json!({ "events": [meter_event] }).to_string(),
            key: token,
            identifier,
            now_ms: now.unix_ms(),
        })
    }

    /// All three steps.
    pub(crate) async fn emit(&self, ready: Ready) -> Result<(), Failure> {
        self.put(ready.item).await?;
        let sent = self
            .http
            .post(&self.stream_url)
            .bearer_auth(&self.token)
            .header("stripe-version", STRIPE_VERSION)
            .header("idempotency-key", ready.key)
            .header(CONTENT_TYPE, "application/json")
            .body(ready.request)
            .send();
        sent.await?.error_for_status()?.bytes().await?;
        self.update(ready.identifier, ready.now_ms).await
    }

    /// The two writes alone.
    pub(crate) async fn write(&self, ready: Ready) -> Result<(), Failure> {
        self.put(ready.item).await?;
        self.update(ready.identifier, ready.now_ms).await
    }

    /// The two writes of up to 25 events, the puts in one call (Amazon DynamoDB API
    /// reference: `BatchExecuteStatement`). An insert is conditional by nature. The
    /// updates stay single: the embedded DynamoDB's PartiQL appends to no list.
    pub(crate) async fn write_by_partiql(&self, ready: Vec<Ready>) -> Result<(), Failure> {
        let (mut inserts, mut updates) = (Vec::new(), Vec::new());
        for event in ready {
            inserts.push(self.insert(event.item)?);
            updates.push(self.update(event.identifier, event.now_ms));
        }
        self.execute(inserts).await?;
        try_join_all(updates).await?;
        Ok(())
    }

    async fn execute(&self, statements: Vec<BatchStatementRequest>) -> Result<(), Failure> {
        let executed = self
            .dynamodb
            .batch_execute_statement()
            .set_statements(Some(statements))
            .send()
            .await?;
        let mut refused = executed.responses().iter().filter_map(|r| r.error());
        match refused.next() {
            Some(error) => Err(format!("a statement was refused: {error:?}").into()),
            None => Ok(()),
        }
    }

    fn insert(
        &self,
        item: HashMap<String, AttributeValue>,
    ) -> Result<BatchStatementRequest, Failure> {
        let (names, values): (Vec<_>, Vec<_>) = item.into_iter().unzip();
        let members: Vec<_> = names.iter().map(|name| format!("'{name}': ?")).collect();
        let statement = format!(
            "INSERT INTO \"{}\" VALUE {{{}}}",
            self.table,
            members.join(", ")
        );
        Ok(BatchStatementRequest::builder()
            .statement(statement)
            .set_parameters(Some(values))
            .build()?)
    }

    async fn put(&self, item: HashMap<String, AttributeValue>) -> Result<(), Failure> {
        self.dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(identifier)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await?;
        Ok(())
    }

    async fn update(&self, identifier: String, at_ms: i64) -> Result<(), Failure> {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("identifier", AttributeValue::S(identifier))
            .update_expression("SET #status = :to, #history = list_append(#history, :entry)")
            .condition_expression("#status = :from")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#history", "history")
            .expression_attribute_values(":from", text("pending"))
            .expression_attribute_values(":to", text("delivered"))
            .expression_attribute_values(":entry", history_entry(at_ms))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await?;
        Ok(())
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn history_entry(at_ms: i64) -> AttributeValue {
    let entry = HashMap::from([
        ("status".to_owned(), text("delivered")),
        ("at".to_owned(), AttributeValue::N(at_ms.to_string())),
    ]);
    AttributeValue::L(vec![AttributeValue::M(entry)])
}
