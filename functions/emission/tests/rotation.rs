//! Stories of Stripe's key, rolled while agents emit.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use ledger::{CustomerRow, Scope};
use secrecy::SecretString;
use serde_json::{Value, json};
use stripe_simulator::DEFAULT_SECRET_KEY;
use tower::ServiceExt;
use web::StripeKey;

use crate::secrets_manager::SecretsManager;
use crate::support::world::World;

const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:stripe";
const NEXT: &str = "sk_test_next";

struct Rotation {
    world: World,
    manager: SecretsManager,
    customer: CustomerRow,
    routes: axum::Router,
    api_key: String,
    /// What the simulator takes now.
    key: String,
}

impl Rotation {
    /// Emission, with the key that is in Secrets Manager.
    async fn start() -> Self {
        let (world, manager) = (World::start().await, SecretsManager::start().await);
        let customer = world.onboard(None).await;
        let api_key = world.api_key(vec![Scope::Emit], None).await;
        manager.put(ARN, DEFAULT_SECRET_KEY);
        let [(_, base), ..] = world.stripe_variables();
        let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
            .with_api_base(&base)
            .with_meter_events_base(&base)
            .with_retry_delay_ms(1, 2);
        let stripe = stripe::Client::new(config.clone()).unwrap();
        let key = StripeKey::new(manager.eager_reader(ARN), config, world.ledger.clone());
        assert!(stripe.set_key_source(Arc::new(key)));
        let state = emission::State::new(world.ledger.clone(), stripe, world.clock());
        let routes = web::service(emission::router(state));
        Self {
            routes,
            customer,
            api_key,
            manager,
            world,
            key: DEFAULT_SECRET_KEY.to_owned(),
        }
    }

    /// Stripe takes `next` alone from now on.
    async fn roll(&mut self, next: &str) {
        let [(_, base), ..] = self.world.stripe_variables();
        let request = self
            .world
            .http
            .post(format!("{base}/_simulator/roll_secret_key"));
        let request = request
            .bearer_auth(&self.key)
            .body(json!({ "secret_key": next }).to_string());
        assert!(request.send().await.unwrap().status().is_success());
        next.clone_into(&mut self.key);
    }

    async fn emit(&self, event_id: &str) -> Value {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer.customer_id, "quantity": 1,
            "action_type": "document_processed",
        });
        let request = Request::post("/v1/usage")
            .header("authorization", format!("Bearer {}", self.api_key))
            .body(Body::from(event.to_string()))
            .unwrap();
        let answer = self.routes.clone().oneshot(request).await.unwrap();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["status"].clone()
    }

    /// What Stripe counts; its key is the old one again then.
    async fn in_stripe(mut self) -> (u64, u64) {
        self.roll(DEFAULT_SECRET_KEY).await;
        self.world.in_stripe(&self.customer.customer_id).await
    }
}

#[tokio::test]
async fn no_event_is_refused_while_the_key_is_rolled() {
    let mut rotation = Rotation::start().await;
    assert_eq!(rotation.emit("before").await, "delivered");
    rotation.manager.put(ARN, NEXT);
    rotation.roll(NEXT).await;
    for event_id in ["after", "and again"] {
        assert_eq!(rotation.emit(event_id).await, "delivered");
    }
    assert_eq!(rotation.in_stripe().await, (3, 3));
}

#[tokio::test]
async fn a_hundred_agents_at_once_are_none_the_wiser() {
    let mut rotation = Rotation::start().await;
    rotation.manager.put(ARN, NEXT);
    rotation.roll(NEXT).await;
    let emitted = (0..100).map(|n| {
        let rotation = &rotation;
        async move { rotation.emit(&format!("job-{n}")).await }
    });
    let emitted = futures_util::future::join_all(emitted).await;
    assert!(emitted.iter().all(|it| it == "delivered"), "{emitted:?}");
    assert_eq!(rotation.in_stripe().await, (100, 100));
}

#[tokio::test]
async fn until_the_next_key_is_stored_usage_waits_and_is_not_lost() {
    let mut rotation = Rotation::start().await;
    rotation.roll(NEXT).await;
    assert_eq!(rotation.emit("early").await, "pending");
    rotation.manager.set_away(true);
    assert_eq!(rotation.emit("early").await, "pending");
    rotation.manager.set_away(false);
    rotation.manager.put(ARN, NEXT);
    assert_eq!(rotation.emit("early").await, "delivered");
    assert_eq!(rotation.in_stripe().await, (1, 1));
}

#[tokio::test]
async fn a_key_that_is_none_or_of_the_other_mode_is_not_taken() {
    let mut rotation = Rotation::start().await;
    rotation.roll(NEXT).await;
    for unusable in ["pk_test_public", "sk_live_of_somebody", "nonsense"] {
        rotation.manager.put(ARN, unusable);
        assert_eq!(rotation.emit("job-1").await, "pending", "{unusable}");
    }
    rotation.manager.put(ARN, NEXT);
    assert_eq!(rotation.emit("job-1").await, "delivered");
    assert_eq!(rotation.in_stripe().await, (1, 1));
}
