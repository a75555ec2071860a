//! Requests over a key's limit are counted by the functions that people and operators
//! call, as emission counts its own (`functions/emission/tests/key_rate.rs`).

use axum::Router;
use ledger::RequestRate;
use report::DashboardLinks;
use reqwest::Method;
use serde_json::json;
use stripe::SecretString;
use web::Metrics;

use crate::support::world::{LOOKUP_KEY, World, send};

/// Requests of ten seconds, where one a second is allowed.
const ALLOWED: usize = 10;

fn one_a_second() -> RequestRate {
    RequestRate::new(1).unwrap()
}

fn report(world: &World, metrics: Metrics) -> Router {
    let secret = SecretString::from("a secret of 32 random characters");
    let links = DashboardLinks::new(&secret, None).unwrap();
    let (ledger, stripe) = (world.ledger.clone(), world.stripe.clone());
    let state = report::State::new(ledger, stripe, links, world.clock());
    let state = state.with_metrics(metrics).with_key_rate(one_a_second());
    report::router(state)
}

fn onboarding(world: &World, metrics: Metrics) -> Router {
    let (ledger, stripe) = (world.ledger.clone(), world.stripe.clone());
    let lookup_key = LOOKUP_KEY.to_owned();
    let state = onboarding::State::new(ledger, stripe, lookup_key, world.clock());
    let state = state.with_metrics(metrics).with_key_rate(one_a_second());
    onboarding::router(state)
}

#[tokio::test]
async fn each_request_over_the_limit_is_counted() {
    type Function = fn(&World, Metrics) -> Router;
    let functions: [(Function, Method, &str, u16); 2] = [
        (report, Method::GET, "/v1/customers/cus_1/access", 404),
        (onboarding, Method::POST, "/v1/customers", 400),
    ];
    for (function, method, path, let_in) in functions {
        let world = World::start().await;
        let (metrics, lines) = Metrics::channel("meterline", "a function");
        let url = world.serve(function(&world, metrics)).await;
        for n in 0..ALLOWED + 2 {
            let request = world.request(method.clone(), &format!("{url}{path}"));
            let expected = if n < ALLOWED { let_in } else { 429 };
            send(request).await.expect(expected);
        }
        let counted: Vec<_> = lines
            .try_iter()
            .map(|it| it["rate_limited"].clone())
            .collect();
        assert_eq!(counted, [json!(1), json!(1)], "{path}");
    }
}
