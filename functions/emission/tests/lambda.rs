//! The program, run as Lambda runs it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use ledger::Scope;
use serde_json::{Value, json};
use support::lambda::invoke;
use support::world::World;

/// The sample event, for a customer and with a key that exist.
fn sample_event(customer_id: &str, api_key: &str) -> Value {
    let sample = include_str!("../../../events/emission.json")
        .replace("$CUSTOMER_ID", customer_id)
        .replace("$METERLINE_API_KEY", api_key);
    serde_json::from_str(&sample).unwrap()
}

#[tokio::test]
async fn the_sample_event_is_delivered() {
    let world = World::start().await;
    let customer = world.onboard(None).await;
    let api_key = world.api_key(vec![Scope::Emit], None).await;
    let variables = world.stripe_variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let event = sample_event(customer.customer_id.as_str(), &api_key);
    let program = env!("CARGO_BIN_EXE_emission");
    let answer = invoke(program, &world.tables.url, &variables, &event).await;
    let answer = answer.unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["status"], json!("delivered"));
    assert_eq!(world.in_stripe(&customer.customer_id).await, (1, 1));
}
