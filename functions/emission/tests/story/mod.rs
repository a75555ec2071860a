//! Emission, served, with a customer to emit for.

use billing::{EventId, Identifier, UsageStatus};
use ledger::{CustomerRow, Ledger, Scope, Transition, UsageEventRow};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::world::World;

pub(crate) const HOUR_MS: i64 = 3_600_000;

/// Emission, served.
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) customer: CustomerRow,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl Story {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        Self::of(world, customer).await
    }

    pub(crate) async fn of(world: World, customer: CustomerRow) -> Self {
        let ledger = world.ledger.clone();
        Self::served_with(ledger, world, customer).await
    }

    /// Emission that reaches its tables through `ledger`.
    pub(crate) async fn served_with(ledger: Ledger, world: World, customer: CustomerRow) -> Self {
        let state = emission::State::new(ledger, world.stripe.clone(), world.clock());
        let routes = web::service(emission::router(state));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let key = world.api_key(vec![Scope::Emit], None).await;
        Self {
            world,
            customer,
            url,
            key,
        }
    }

    pub(crate) fn event(&self, event_id: &str, quantity: u64) -> Value {
        json!({
            "event_id": event_id,
            "customer_id": self.customer.customer_id,
            "quantity": quantity,
            "action_type": "document_processed",
        })
    }

    pub(crate) async fn emit(&self, body: &Value) -> (u16, Value) {
        self.emit_with(body, &[]).await
    }

    pub(crate) async fn emit_batch(&self, body: &Value) -> (u16, Value) {
        self.post("/v1/usage/batch", body, &[]).await
    }

    pub(crate) async fn emit_with(&self, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
        self.post("/v1/usage", body, headers).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let mut request = self.world.http.post(url).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) fn identifier(&self, event_id: &str) -> Identifier {
        let event_id = EventId::parse(event_id).unwrap();
        Identifier::of(&self.customer.customer_id, &event_id)
    }

    pub(crate) async fn row(&self, event_id: &str) -> UsageEventRow {
        let identifier = self.identifier(event_id);
        let row = self.world.ledger.usage_event(&identifier).await;
        row.unwrap().unwrap()
    }

    pub(crate) async fn status_in_log(&self, event_id: &str) -> Option<UsageStatus> {
        let row = self
            .world
            .ledger
            .usage_event(&self.identifier(event_id))
            .await;
        row.unwrap().map(|row| row.status)
    }

    pub(crate) async fn move_to(&self, event_id: &str, from: UsageStatus, to: UsageStatus) {
        let transition = Transition {
            from,
            to,
            at: self.world.now(),
            stripe_code: None,
        };
        let ledger = &self.world.ledger;
        let moved = ledger
            .transition_usage_event(&self.identifier(event_id), transition)
            .await;
        assert_eq!(moved.unwrap(), ledger::Transitioned::Done);
    }

    pub(crate) async fn in_stripe(&self) -> (u64, u64) {
        self.world.in_stripe(&self.customer.customer_id).await
    }
}

/// The type of a problem document.
pub(crate) fn problem(kind: &str) -> Value {
    json!(format!("urn:meterline:problem:{kind}"))
}
