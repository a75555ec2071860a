//! Stories of signing secrets that are rolled while the function lives.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use billing::Clock;
use secrecy::SecretString;
use serde_json::json;
use stripe::webhook_signature::sign;
use tower::ServiceExt;
use web::{Metrics, RotatedSecret};
use webhook::{SigningSecrets, State};

use crate::secrets_manager::SecretsManager;
use crate::story::Story;

const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhook";

struct Function {
    routes: axum::Router,
    clock: Arc<dyn Clock>,
}

impl Function {
    async fn start(story: &Story, manager: &SecretsManager) -> Self {
        Self::of(story, manager.secret(ARN).await)
    }

    fn of(story: &Story, secret: RotatedSecret) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(story.world.clock.clone());
        let secrets = SigningSecrets::rotated(secret).unwrap();
        let (ledger, stripe) = (story.world.ledger.clone(), story.world.stripe.clone());
        let state = State::new(ledger, stripe, secrets, Arc::clone(&clock));
        let routes = webhook::router(state);
        Self { routes, clock }
    }

    /// The status of an event of nobody's that is signed with `secret`.
    async fn deliver(&self, secret: &str) -> StatusCode {
        let body = json!({
            "id": "evt_1", "object": "event", "type": "invoice.paid", "livemode": false,
            "created": self.clock.now().unix_s(), "api_version": "2026-06-24.dahlia",
            "data": { "object": { "id": "in_1", "object": "invoice" } },
        })
        .to_string();
        let now_unix_s = self.clock.now().unix_s();
        let signature = sign(body.as_bytes(), &SecretString::from(secret), now_unix_s);
        let request = Request::post("/").header("stripe-signature", signature);
        let request = request.body(Body::from(body)).unwrap();
        self.routes.clone().oneshot(request).await.unwrap().status()
    }
}

#[tokio::test]
async fn what_is_signed_with_the_next_secret_is_taken_without_a_deployment() {
    let (story, manager) = (Story::start().await, SecretsManager::start().await);
    manager.put(ARN, "whsec_old");
    let function = Function::start(&story, &manager).await;
    assert_eq!(function.deliver("whsec_old").await, StatusCode::OK);
    assert_eq!(manager.reads(), 1, "at the start");

    manager.put(ARN, "whsec_new,whsec_old");
    assert_eq!(function.deliver("whsec_new").await, StatusCode::OK);
    assert_eq!(function.deliver("whsec_old").await, StatusCode::OK);
    assert_eq!(manager.reads(), 2, "when the old one did not fit");
}

#[tokio::test]
async fn a_storm_of_forged_webhooks_costs_one_read() {
    let (story, manager) = (Story::start().await, SecretsManager::start().await);
    manager.put(ARN, "whsec_old");
    let function = Function::start(&story, &manager).await;
    let forged = (0..50).map(|n| {
        let function = &function;
        async move { function.deliver(&format!("whsec_{n}")).await }
    });
    let statuses = futures_util::future::join_all(forged).await;
    assert!(statuses.iter().all(|it| *it == StatusCode::BAD_REQUEST));
    assert_eq!(manager.reads(), 2, "at the start, and once for all of them");
    assert_eq!(function.deliver("whsec_old").await, StatusCode::OK);
}

#[tokio::test]
async fn while_secrets_manager_is_away_the_known_secret_works_and_the_read_is_counted() {
    let (story, manager) = (Story::start().await, SecretsManager::start().await);
    manager.put(ARN, "whsec_old");
    let (metrics, lines) = Metrics::channel("meterline", "meterline-Webhook");
    let reader = manager.reader(ARN).with_metrics(metrics);
    let secret = RotatedSecret::new(reader.current().await.unwrap(), Some(reader));
    let function = Function::of(&story, secret);
    assert_eq!(function.deliver("whsec_old").await, StatusCode::OK);
    assert!(lines.try_recv().is_err(), "nothing has failed");
    manager.set_away(true);
    for _ in 0..3 {
        let refused = function.deliver("whsec_forged").await;
        assert_eq!(refused, StatusCode::BAD_REQUEST);
    }
    assert_eq!(function.deliver("whsec_old").await, StatusCode::OK);
    let counted: Vec<_> = lines.try_iter().collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(counted[0]["secret_reads_failed"], 1);
}

#[tokio::test]
async fn a_start_that_gets_no_secret_is_counted_too() {
    let manager = SecretsManager::start().await;
    let (metrics, lines) = Metrics::channel("meterline", "meterline-Webhook");
    let reader = manager.reader(ARN).with_metrics(metrics);
    // There is none; there is one without a text; nobody answers.
    assert!(reader.current().await.is_err());
    manager.put(ARN, " ");
    assert!(reader.current().await.is_err());
    assert!(reader.previous().await.unwrap().is_none());
    manager.set_away(true);
    assert!(reader.previous().await.is_err());
    let counted = lines.try_iter().map(|it| it["secret_reads_failed"].clone());
    assert_eq!(counted.collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_list_of_no_secret_does_not_start() {
    let empty = RotatedSecret::new(SecretString::from(" , "), None);
    assert!(SigningSecrets::rotated(empty).is_err());
}
