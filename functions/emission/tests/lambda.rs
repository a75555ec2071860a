//! The program, run as Lambda runs it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ledger::Scope;
use serde_json::{Value, json};

use crate::support::lambda::invoke;
use crate::support::world::World;

/// A sample event, for a customer and with a key that exist.
fn sample_event(sample: &str, customer_id: &str, api_key: &str) -> Value {
    let sample = sample
        .replace("$CUSTOMER_ID", customer_id)
        .replace("$METERLINE_API_KEY", api_key);
    serde_json::from_str(&sample).unwrap()
}

/// What the program answers to `sample`, after `change`: it is to have delivered one unit.
async fn assert_delivers(sample: &str, change: impl FnOnce(&mut Value)) {
    let world = World::start().await;
    let customer = world.onboard(None).await;
    let api_key = world.api_key(vec![Scope::Emit], None).await;
    let variables = world.stripe_variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut event = sample_event(sample, customer.customer_id.as_str(), &api_key);
    change(&mut event);
    let program = env!("CARGO_BIN_EXE_emission");
    let answer = invoke(program, &world.tables.url, &variables, &event).await;
    let answer = answer.unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["status"], json!("delivered"));
    assert_eq!(world.in_stripe(&customer.customer_id).await, (1, 1));
}

#[tokio::test]
async fn the_sample_event_is_delivered() {
    assert_delivers(include_str!("../../../events/emission.json"), |_| {}).await;
}

#[tokio::test]
async fn a_cloud_event_is_delivered_as_text_and_as_base64() {
    let sample = include_str!("../../../events/emission-cloudevent.json");
    assert_delivers(sample, |_| {}).await;
    // As API Gateway hands on what it does not know to be text.
    assert_delivers(sample, |event| {
        let body = event["body"].as_str().unwrap();
        event["body"] = STANDARD.encode(body).into();
        event["isBase64Encoded"] = true.into();
    })
    .await;
}
