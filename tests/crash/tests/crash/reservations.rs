//! Reservations whose processes end everywhere: no unit is lost, and none is held
//! and counted at once.

use axum::http::Method;
use crash::holds::{Holds, holds};
use crash::world::body;
use crash::{Claim, Scenario, Surroundings, World};
use serde_json::{Value, json};

use crate::emission::{Call, answer};
use crate::{assert_all_counted_once, sweep};

const RESERVATIONS: &str = "/v1/usage/reservations";

/// A customer who may use as much as is reserved in all trials together, and no
/// more by much.
struct Limited {
    customer_id: String,
    reservations: u32,
}

impl Limited {
    async fn start(world: &World) -> Self {
        let mut limited = Self {
            customer_id: world.onboard("acme").await,
            reservations: 0,
        };
        let path = format!("/v1/customers/{}/spending-limit", limited.customer_id);
        let limit = json!({ "units": 1_000_000, "enforcement": "hard" });
        let (status, answer) = world.put(&path, &limit).await;
        assert_eq!(status, 200, "{answer}");
        // The first one of a period begins its sum.
        limited.reserve(world).await;
        limited
    }

    /// A reservation that nobody has made yet, as it is asked for.
    fn a_reservation(&mut self, world: &World) -> (String, Call) {
        self.reservations += 1;
        let id = format!("run-{}", self.reservations);
        let call = Call {
            method: Method::POST,
            path: RESERVATIONS.to_owned(),
            body: json!({
                "reservation_id": id, "customer_id": self.customer_id,
                "quantity": 1 + self.reservations % 7, "action_type": "document_processed",
            }),
            api_key: world.system.api_key().clone(),
        };
        (id, call)
    }

    /// Makes one, through the system.
    async fn reserve(&mut self, world: &World) -> String {
        let (id, call) = self.a_reservation(world);
        let (status, answer) = world.post(RESERVATIONS, &call.body).await;
        assert_eq!(status, 201, "{answer}");
        id
    }

    /// At rest, each sum is that of its parts.
    async fn assert_kept(&self, world: &World) -> Holds {
        world.fall_silent().await;
        world.roll_up().await;
        let mut all = holds(&world.database).await;
        assert_eq!(all.len(), 1, "{all:?}");
        let (_, holds) = all.pop_first().unwrap();
        assert!(holds.agree(), "{holds:?}");
        println!("{} reservations: {holds:?}", self.reservations);
        holds
    }
}

struct Reserving(Limited);

impl Scenario for Reserving {
    type Input = Call;
    type Answer = Value;

    const CALLS: &'static [&'static str] = &[
        "GetItem ApiKeysTable",
        "UpdateItem ApiKeysTable",
        "GetItem CustomersTable",
        "Query UsageTotalsTable",
        "TransactWriteItems UsageTotalsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Call {
        self.0.a_reservation(world).1
    }

    async fn handle(surroundings: Surroundings, call: Call) -> Option<Value> {
        let (status, answer) = answer(surroundings, call).await;
        matches!(status, 200 | 201).then_some(answer)
    }

    fn acknowledge(&mut self, _: &Call, answer: Value) {
        assert_eq!(answer["status"], "held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reservation_that_ends_anywhere_holds_its_units_once_or_never() {
    let world = World::start().await;
    let mut reserving = Reserving(Limited::start(&world).await);
    sweep("reserving", &world, &mut reserving, 1).await;
    let holds = reserving.0.assert_kept(&world).await;
    assert_eq!((holds.settled, holds.reserved), (0, holds.held));
}

struct Settling {
    limited: Limited,
    claims: Vec<Claim>,
}

impl Scenario for Settling {
    type Input = (usize, Call);
    type Answer = Value;

    const CALLS: &'static [&'static str] = &[
        "GetItem ApiKeysTable",
        "UpdateItem ApiKeysTable",
        "GetItem CustomersTable",
        "GetItem UsageTotalsTable",
        "TransactWriteItems UsageEventsTable",
        "POST /v2/billing/meter_event_session",
        "POST /v2/billing/meter_event_stream",
        "UpdateItem UsageEventsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let id = self.limited.reserve(world).await;
        let claim = world.an_event(&self.limited.customer_id);
        let mut body = body(&claim);
        body["reservation_id"] = json!(id);
        let call = Call {
            method: Method::POST,
            path: "/v1/usage".to_owned(),
            body,
            api_key: world.system.api_key().clone(),
        };
        self.claims.push(claim);
        (self.claims.len() - 1, call)
    }

    async fn handle(surroundings: Surroundings, (_, call): Self::Input) -> Option<Value> {
        let (status, answer) = answer(surroundings, call).await;
        matches!(status, 200 | 202).then_some(answer)
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, answer: Value) {
        assert_eq!(answer["reservation"], "settled");
        self.claims[*n].acknowledged = true;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_that_ends_anywhere_settles_its_reservation_with_it_or_not_at_all() {
    let world = World::start().await;
    let mut settling = Settling {
        limited: Limited::start(&world).await,
        claims: Vec::new(),
    };
    sweep("settling", &world, &mut settling, 1).await;
    assert_all_counted_once(&world, &settling.claims).await;
    settling.limited.assert_kept(&world).await;
}

struct Releasing(Limited);

impl Scenario for Releasing {
    type Input = Call;
    type Answer = Value;

    const CALLS: &'static [&'static str] = &[
        "GetItem ApiKeysTable",
        "UpdateItem ApiKeysTable",
        "GetItem UsageTotalsTable",
        "TransactWriteItems UsageTotalsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Call {
        let id = self.0.reserve(world).await;
        let customer_id = &self.0.customer_id;
        Call {
            method: Method::DELETE,
            path: format!("{RESERVATIONS}/{id}?customer_id={customer_id}"),
            body: Value::Null,
            api_key: world.system.api_key().clone(),
        }
    }

    async fn handle(surroundings: Surroundings, call: Call) -> Option<Value> {
        let (status, answer) = answer(surroundings, call).await;
        (status == 200).then_some(answer)
    }

    fn acknowledge(&mut self, _: &Call, answer: Value) {
        assert_eq!(answer["status"], "released");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_ends_anywhere_gives_its_units_back_once() {
    let world = World::start().await;
    let mut releasing = Releasing(Limited::start(&world).await);
    sweep("releasing", &world, &mut releasing, 1).await;
    let holds = releasing.0.assert_kept(&world).await;
    assert_eq!((holds.settled, holds.reserved), (0, holds.held));
}
