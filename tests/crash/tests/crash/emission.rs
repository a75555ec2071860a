//! A single emission that ends everywhere; and what batches share with it.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::AUTHORIZATION;
use crash::world::body;
use crash::{Claim, Scenario, Surroundings, World};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tower::ServiceExt;

use crate::{assert_all_counted_once, sweep};

/// The calls of an emission, of one event or a hundred.
pub(crate) const CALLS: &[&str] = &[
    "GetItem ApiKeysTable",
    "GetItem CustomersTable",
    "PutItem UsageEventsTable",
    "POST /v2/billing/meter_event_session",
    "POST /v2/billing/meter_event_stream",
    "UpdateItem UsageEventsTable",
];

const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request of an agent.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    pub(crate) api_key: SecretString,
}

/// Sends `call` through the function's routes; its status and answer.
pub(crate) async fn answer(surroundings: Surroundings, call: Call) -> (u16, Value) {
    let Surroundings {
        ledger,
        stripe,
        clock,
    } = surroundings;
    let state = emission::State::new(ledger, stripe, clock);
    let api_key = call.api_key.expose_secret();
    let request = Request::post(call.path)
        .header(AUTHORIZATION, format!("Bearer {api_key}"))
        .body(Body::from(call.body.to_string()))
        .unwrap();
    let routes = web::service(emission::router(state));
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await;
    (status, serde_json::from_slice(&body.unwrap()).unwrap())
}

/// One event a call.
struct Emission {
    customer_id: String,
    claims: Vec<Claim>,
}

impl Scenario for Emission {
    type Input = (usize, Call);
    type Answer = ();

    const CALLS: &'static [&'static str] = CALLS;

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let claim = world.an_event(&self.customer_id);
        let call = Call {
            path: "/v1/usage",
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
    let world = World::start().await;
    let mut emission = Emission {
        customer_id: world.onboard("acme").await,
        claims: Vec::new(),
    };
    sweep("emission", &world, &mut emission, 1).await;
    assert_all_counted_once(&world, &emission.claims).await;
}
