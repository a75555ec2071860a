//! A void that ends everywhere: the same call goes on with it, to one
//! cancellation or one credit.

use std::collections::BTreeMap;

use billing::{CustomerId, EventId, Identifier};
use crash::count::Fate;
use crash::{Claim, Crash, Scenario, Surroundings, World};
use metering::{Void, Voider};

use crate::{assert_all_counted_once, sweep};

/// What a unit costs, in cents: the price of `meterline setup`.
const UNIT_CENTS: i64 = 2;

/// Hours after which Stripe is not asked to cancel an event any more.
const TOO_LATE_HOURS: i64 = 24;

/// Events that are made at once, to grow old together.
const STOCK: usize = 100;

/// Voids, and whether each was acknowledged.
struct Voids {
    customer_id: String,
    claims: Vec<Claim>,
    acknowledged: Vec<bool>,
}

impl Voids {
    async fn start(world: &World) -> Self {
        Self {
            customer_id: world.onboard("acme").await,
            claims: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    fn push(&mut self, claim: Claim) -> (usize, Identifier) {
        let identifier = identifier(&claim);
        self.claims.push(claim);
        self.acknowledged.push(false);
        (self.claims.len() - 1, identifier)
    }

    /// As the operator does: the same command again, for what was cut short.
    async fn finish(&mut self, world: &World) {
        world.assert_stream_is_counted().await;
        for (n, claim) in self.claims.iter().enumerate() {
            if !self.acknowledged[n] {
                let again = (n, identifier(claim));
                let ended = crash::process::run(&world.environment, Crash::Never, |surroundings| {
                    void(surroundings, again)
                });
                assert!(ended.await.answer.flatten().is_some());
            }
        }
        assert_all_counted_once(world, &self.claims).await;
    }
}

fn identifier(claim: &Claim) -> Identifier {
    let customer_id = CustomerId::parse(&claim.customer_id).unwrap();
    Identifier::of(&customer_id, &EventId::parse(&claim.event_id).unwrap())
}

async fn void(surroundings: Surroundings, (_, identifier): (usize, Identifier)) -> Option<Void> {
    let Surroundings {
        ledger,
        stripe,
        clock,
        ..
    } = surroundings;
    let voider = Voider::new(ledger, stripe, clock);
    voider.void(&identifier, None).await.ok()
}

/// Of an event that Stripe has, or has not yet: every other is pending.
struct Early(Voids);

impl Scenario for Early {
    type Input = (usize, Identifier);
    type Answer = Void;

    const CALLS: &'static [&'static str] = &[
        "GetItem UsageEventsTable",
        "GetItem CustomersTable",
        "GET /v1/invoices",
        "UpdateItem UsageEventsTable",
        "POST /v1/billing/meter_events",
        "POST /v1/billing/meter_event_adjustments",
    ];

    async fn prepare(&mut self, world: &World) -> Self::Input {
        let mut claim = world.an_event(&self.0.customer_id);
        claim.fate = Fate::Cancelled;
        if self.0.claims.len().is_multiple_of(2) {
            world.leave_pending(&mut claim).await;
        } else {
            world.emit(&mut claim).await;
        }
        self.0.push(claim)
    }

    async fn handle(surroundings: Surroundings, input: Self::Input) -> Option<Void> {
        void(surroundings, input).await
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, void: Void) {
        assert!(matches!(void, Void::Cancelled | Void::Before), "{void:?}");
        self.0.acknowledged[*n] = true;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_that_ends_anywhere_cancels_once() {
    let world = World::start().await;
    let mut early = Early(Voids::start(&world).await);
    sweep("void", &world, &mut early, 1).await;
    early.0.finish(&world).await;
}

/// Of an event that is too old to be cancelled.
struct Late {
    voids: Voids,
    stock: Vec<Claim>,
}

impl Scenario for Late {
    type Input = (usize, Identifier);
    type Answer = Void;

    const CALLS: &'static [&'static str] = &[
        "GetItem UsageEventsTable",
        "UpdateItem UsageEventsTable",
        "GetItem CustomersTable",
        "GET /v1/invoices",
        "GET /v1/billing/meters",
        "TransactWriteItems CustomersTable",
        "GET /v1/customers/{id}/balance_transactions",
        "POST /v1/customers/{id}/balance_transactions",
    ];

    async fn prepare(&mut self, world: &World) -> Self::Input {
        if self.stock.is_empty() {
            for _ in 0..STOCK {
                let mut claim = world.an_event(&self.voids.customer_id);
                assert_eq!(world.emit(&mut claim).await, "delivered");
                self.stock.push(claim);
            }
            world.pass_hours(TOO_LATE_HOURS);
        }
        let claim = Claim {
            fate: Fate::Credited,
            ..self.stock.pop().unwrap()
        };
        self.voids.push(claim)
    }

    async fn handle(surroundings: Surroundings, input: Self::Input) -> Option<Void> {
        void(surroundings, input).await
    }

    fn acknowledge(&mut self, (n, _): &Self::Input, void: Void) {
        let cents = self.voids.claims[*n].quantity * UNIT_CENTS;
        match void {
            Void::Before => {}
            Void::Credited { minor_units, .. } => assert_eq!(minor_units, cents),
            other => panic!("{other:?}"),
        }
        self.voids.acknowledged[*n] = true;
    }
}

/// Every credit of the customer, in cents, by the identifier that it names.
async fn credits(world: &World, customer_id: &str) -> BTreeMap<String, Vec<i64>> {
    let path = format!("/v1/customers/{customer_id}/balance_transactions");
    let mut credits: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = world.list_of_stripe(&path, after.as_deref()).await;
        let Some(last) = page.last() else {
            return credits;
        };
        after = last["id"].as_str().map(str::to_owned);
        for transaction in &page {
            let metadata = transaction["metadata"].as_object().unwrap();
            let identifier = metadata.values().next().unwrap().as_str().unwrap();
            let amount = transaction["amount"].as_i64().unwrap();
            let of_event = credits.entry(identifier.to_owned()).or_default();
            of_event.push(-amount);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_void_that_ends_anywhere_credits_once() {
    let world = World::start().await;
    let mut late = Late {
        voids: Voids::start(&world).await,
        stock: Vec::new(),
    };
    sweep("late void", &world, &mut late, 1).await;
    let unvoided = std::mem::take(&mut late.stock);
    let voided = late.voids.claims.len();
    for claim in unvoided {
        late.voids.push(claim);
        late.voids.acknowledged[late.voids.claims.len() - 1] = true;
    }
    late.voids.finish(&world).await;
    let mut credits = credits(&world, &late.voids.customer_id).await;
    for claim in &late.voids.claims[..voided] {
        let credited = credits.remove(&claim.identifier());
        assert_eq!(
            credited,
            Some(vec![claim.quantity * UNIT_CENTS]),
            "{claim:?}"
        );
    }
    assert!(credits.is_empty(), "{credits:?}");
}
