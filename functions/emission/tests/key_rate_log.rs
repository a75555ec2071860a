//! The log names the key of a request over its limit. Alone in its program: what else
//! runs there decides with it what is logged.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../../shared/web/tests/log/mod.rs"]
mod log;
mod support;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use ledger::{RATE_WINDOW_MS, RequestRate, Scope, rate_window};
use tower::ServiceExt;
use tracing_subscriber::EnvFilter;

use crate::log::Log;
use crate::support::world::World;

/// Requests of a window, where one a second is allowed.
const ALLOWED: usize = 10;

#[tokio::test]
async fn a_request_over_the_limit_is_logged_by_its_key() {
    let log = Log::default();
    let sink = log.clone();
    let started = web::telemetry::log(EnvFilter::new("info"), move || sink.clone());
    let _started = tracing::subscriber::set_default(started);
    let world = World::start().await;
    let start = rate_window(world.now()).plus_ms(RATE_WINDOW_MS);
    world.clock.advance_ms(start.ms_since(world.now()));
    let key = world.api_key(vec![Scope::Emit], None).await;
    let state = emission::State::new(world.ledger.clone(), world.stripe.clone(), world.clock());
    let state = state.with_key_rate(RequestRate::new(1).unwrap());
    let routes = web::service(emission::router(state));
    for _ in 0..=ALLOWED {
        let request = Request::post("/v1/usage").header(AUTHORIZATION, format!("Bearer {key}"));
        let request = request.body(Body::from("{}")).unwrap();
        routes.clone().oneshot(request).await.unwrap();
    }
    let key_id = key.split('_').nth(1).unwrap();
    let answers = log
        .lines()
        .into_iter()
        .filter(|line| line["message"] == "answered");
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), ALLOWED + 1);
    assert!(answers.iter().all(|line| line["span"]["key_id"] == key_id));
    assert_eq!(answers[ALLOWED]["status"], 429);
}
