//! The program, run as Lambda runs it: behind its URL, and by its schedule.

use std::time::SystemTime;

use ledger::CustomerStatus;
use serde_json::{Value, json};
use stripe::{ExposeSecret, webhook_signature};
use stripe_simulator::DEFAULT_SECRET_KEY;

use crate::runtime_api::{invoke, invoke_traced};
use crate::secrets_manager::SecretsManager;
use crate::story::{Story, event};
use crate::support::world::{HOUR_MS, a_customer};
use crate::topic::TOPIC_ARN;
use crate::xray_daemon::{PARENT_ID, XrayDaemon, trace};

const SECRET_ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:webhook";

impl Story {
    async fn invoke(&self, event: &Value) -> Value {
        let stripe_url = self.world.stripe_url();
        let variables = [
            ("STRIPE_SECRET_KEY", DEFAULT_SECRET_KEY),
            ("STRIPE_API_BASE", &stripe_url),
            ("STRIPE_METER_EVENTS_BASE", &stripe_url),
            ("STRIPE_WEBHOOK_SECRET", self.secret.expose_secret()),
            ("NOTIFICATION_TOPIC_ARN", TOPIC_ARN),
            ("AWS_ENDPOINT_URL_SNS", &self.topic.url),
            ("DUNNING_GRACE_DAYS", "3"),
        ];
        let program = env!("CARGO_BIN_EXE_webhook");
        let answer = invoke(program, &self.world.tables.url, &variables, event).await;
        answer.unwrap()
    }
}

impl Story {
    /// A request to the function's URL, signed now: the program goes by the machine's
    /// clock.
    fn signed_invocation(&self, body: &str) -> Value {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_unix_s = i64::try_from(elapsed.unwrap().as_secs()).unwrap();
        let sample = include_str!("../../../events/webhook.json");
        let mut request: Value = serde_json::from_str(sample).unwrap();
        let signature = webhook_signature::sign(body.as_bytes(), &self.secret, now_unix_s);
        request["headers"]["stripe-signature"] = json!(signature);
        request["body"] = json!(body);
        request
    }
}

#[tokio::test]
async fn a_webhook_at_the_functions_url_is_applied_and_told_by_the_topic() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    story.disable_endpoint().await;
    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    story.world.stripe_delete(&path).await;
    let object = json!({ "id": customer.subscription_id, "customer": customer.customer_id });
    let body = event("evt_1", "customer.subscription.deleted", &object).to_string();
    let mut request = story.signed_invocation(&body);
    let answer = story.invoke(&request).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let answered: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(answered, json!({ "received": true }));
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
    assert_eq!(story.topic.kinds(), ["canceled"]);

    // The schedule's event, as a body, is no schedule's event.
    request["body"] = json!(include_str!("../../../events/webhook-sweep.json"));
    assert_eq!(story.invoke(&request).await["statusCode"], 400);
}

#[tokio::test]
async fn the_schedules_event_is_answered_with_a_report() {
    let story = Story::start().await;
    // Long ago, as the program's clock has it.
    story.world.clock.advance_ms(-2 * HOUR_MS);
    let customer = story.onboard(&a_customer("acme")).await;
    story.disable_endpoint().await;
    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    story.world.stripe_delete(&path).await;
    let scheduled = include_str!("../../../events/webhook-sweep.json");
    let scheduled = serde_json::from_str(scheduled).unwrap();
    let report = story.invoke(&scheduled).await;
    assert_eq!(report["applied"], 1, "{report}");
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
    assert_eq!(story.topic.kinds(), ["canceled"]);
}

/// What is asked of the other services of AWS's; `tests/tests/xray.rs` has the rest.
#[tokio::test]
async fn a_sampled_webhook_tells_x_ray_of_its_notification_and_of_the_secret_read_again() {
    let story = Story::start().await;
    let (manager, daemon) = (SecretsManager::start().await, XrayDaemon::start());
    manager.put(SECRET_ARN, "whsec_before");
    let customer = story.onboard(&a_customer("acme")).await;
    story.disable_endpoint().await;
    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    story.world.stripe_delete(&path).await;
    let object = json!({ "id": customer.subscription_id, "customer": customer.customer_id });
    let body = event("evt_1", "customer.subscription.deleted", &object).to_string();
    let (stripe_url, daemon_address) = (story.world.stripe_url(), daemon.address());
    let variables = [
        ("STRIPE_SECRET_KEY", DEFAULT_SECRET_KEY),
        ("STRIPE_API_BASE", &stripe_url),
        ("STRIPE_WEBHOOK_SECRET_ARN", SECRET_ARN),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &manager.url),
        ("NOTIFICATION_TOPIC_ARN", TOPIC_ARN),
        ("AWS_ENDPOINT_URL_SNS", &story.topic.url),
        ("AWS_XRAY_DAEMON_ADDRESS", &daemon_address),
    ];
    let (program, tables) = (env!("CARGO_BIN_EXE_webhook"), &story.world.tables.url);
    let (request, sampled) = (story.signed_invocation(&body), trace("1"));
    let answer = invoke_traced(program, tables, &variables, &request, Some(&sampled));
    assert_eq!(answer.await.unwrap()["statusCode"], 400);
    manager.put(SECRET_ARN, story.secret.expose_secret());
    let answer = invoke_traced(program, tables, &variables, &request, Some(&sampled));
    assert_eq!(answer.await.unwrap()["statusCode"], 200);

    let told = daemon.told();
    let operations_of = |service: &str| -> Vec<&Value> {
        let of_service = told.iter().filter(|document| document["name"] == service);
        let of_service = of_service.inspect(|it| assert_eq!(it["parent_id"], PARENT_ID));
        of_service
            .map(|document| &document["aws"]["operation"])
            .collect()
    };
    assert_eq!(operations_of("Secrets Manager"), ["GetSecretValue"]);
    assert_eq!(operations_of("SNS"), ["Publish"]);
}
