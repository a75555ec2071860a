//! A single emission that ends everywhere; and what batches share with it.

use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{Method, Request};
use crash::world::body;
use crash::{Claim, Scenario, Surroundings, World};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stripe::UsageApi;
use tower::ServiceExt;

use crate::{assert_all_counted_once, sweep};

/// The calls of an emission, of one event or a hundred.
pub(crate) const CALLS: &[&str] = &[
    "GetItem ApiKeysTable",
    "UpdateItem ApiKeysTable",
    "GetItem CustomersTable",
    "PutItem UsageEventsTable",
    "POST /v2/billing/meter_event_session",
    "POST /v2/billing/meter_event_stream",
    "UpdateItem UsageEventsTable",
];

const CALLS_BY_METER_EVENT: &[&str] = &[
    "GetItem ApiKeysTable",
    "UpdateItem ApiKeysTable",
    "GetItem CustomersTable",
    "PutItem UsageEventsTable",
    "POST /v1/billing/meter_events",
    "UpdateItem UsageEventsTable",
];

const CALLS_BY_USAGE_RECORD: &[&str] = &[
    "GetItem ApiKeysTable",
    "UpdateItem ApiKeysTable",
    "GetItem CustomersTable",
    "PutItem UsageEventsTable",
    "POST /v1/subscription_items/{id}/usage_records",
    "UpdateItem UsageEventsTable",
];

const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request of an agent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) api_key: SecretString,
}

/// Sends `call` through the function's routes; its status and answer.
pub(crate) async fn answer(surroundings: Surroundings, call: Call) -> (u16, Value) {
    let Surroundings {
        ledger,
        stripe,
        clock,
        ..
    } = surroundings;
    let state = emission::State::new(ledger, stripe, clock);
    let api_key = call.api_key.expose_secret();
    let request = Request::builder()
        .method(call.method)
        .uri(call.path)
        .header(AUTHORIZATION, format!("Bearer {api_key}"))
        .body(Body::from(call.body.to_string()))
        .unwrap();
    let routes = web::service(emission::router(state));
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
    (status, serde_json::from_slice(&body.unwrap()).unwrap())
}

/// One event a call, by one of Stripe's APIs for usage: the nth of them all.
struct Emission<const USAGE_API: usize> {
    customer_id: String,
    claims: Vec<Claim>,
}

impl<const USAGE_API: usize> Scenario for Emission<USAGE_API> {
    type Input = (usize, Call);
    type Answer = ();

    const CALLS: &'static [&'static str] = match UsageApi::ALL[USAGE_API] {
        UsageApi::MeterEventStream => CALLS,
        UsageApi::MeterEvent => CALLS_BY_METER_EVENT,
        UsageApi::UsageRecord => CALLS_BY_USAGE_RECORD,
    };

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let claim = world.an_event(&self.customer_id);
        let call = Call {
            method: Method::POST,
            path: "/v1/usage".to_owned(),
            body: body(&claim),
            api_key: world.system.api_key().clone(),
        };
        self.claims.push(claim);
        (self.claims.len() - 1, call)
    }

    async fn handle(surroundings: Surroundings, (_, call): Self::Input) -> Option<()> {
        let (status, _) = answer(surroundings, call).await;
        matches!(status, 200 | 202).then_some(())
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, (): ()) {
        self.claims[*n].acknowledged = true;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emission_that_ends_anywhere_counts_once_or_never() {
    end_anywhere::<0>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emission_by_meter_event_counts_once_or_never() {
    end_anywhere::<1>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emission_by_usage_record_counts_once_or_never() {
    end_anywhere::<2>().await;
}

async fn end_anywhere<const USAGE_API: usize>() {
    let usage_api = UsageApi::ALL[USAGE_API];
    let world = World::with_usage_api(usage_api).await;
    let mut emission = Emission::<USAGE_API> {
        customer_id: world.onboard("acme").await,
        claims: Vec::new(),
    };
    sweep(
        &format!("emission by {usage_api}"),
        &world,
        &mut emission,
        1,
    )
    .await;
    assert_all_counted_once(&world, &emission.claims).await;
}
