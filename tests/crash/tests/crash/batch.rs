//! A batch that ends everywhere: each of its events is a case of its own.

use std::ops::Range;

use axum::http::Method;
use crash::world::body;
use crash::{Claim, Scenario, Surroundings, World};
use serde_json::{Value, json};

use crate::emission::{self, Call};
use crate::{assert_all_counted_once, sweep};

/// Events of a batch, of two customers.
const EVENTS: usize = 3;

struct Batch {
    customer_ids: [String; 2],
    claims: Vec<Claim>,
}

impl Scenario for Batch {
    type Input = (Range<usize>, Call);
    type Answer = Value;

    const CALLS: &'static [&'static str] = emission::CALLS;

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let first = self.claims.len();
        for n in 0..EVENTS {
            let customer_id = &self.customer_ids[n % self.customer_ids.len()];
            self.claims.push(world.an_event(customer_id));
        }
        let events: Vec<Value> = self.claims[first..].iter().map(body).collect();
        let call = Call {
            method: Method::POST,
            path: "/v1/usage/batch".to_owned(),
            body: json!({ "events": events }),
            api_key: world.system.api_key().clone(),
        };
        (first..self.claims.len(), call)
    }

    async fn handle(surroundings: Surroundings, (_, call): Self::Input) -> Option<Value> {
        let (status, answer) = emission::answer(surroundings, call).await;
        (status == 200 && answer["rejected"] == 0).then_some(answer)
    }

    fn acknowledge(&mut self, (events, _): &Self::Input, answer: Value) {
        let results = answer["results"].as_array().unwrap();
        for (claim, result) in self.claims[events.clone()].iter_mut().zip(results) {
            assert_eq!(result["event_id"], claim.event_id);
            claim.acknowledged = true;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_ends_anywhere_counts_each_event_once_or_never() {
    let world = World::start().await;
    let mut batch = Batch {
        customer_ids: [world.onboard("acme").await, world.onboard("umbrella").await],
        claims: Vec::new(),
    };
    sweep("batch", &world, &mut batch, 1).await;
    assert_all_counted_once(&world, &batch.claims).await;
}
