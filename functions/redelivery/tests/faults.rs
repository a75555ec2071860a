//! An agent that emits and repeats while DynamoDB and Stripe fail at random,
//! and a redelivery that fails as they do. In the end Stripe is asked, and
//! nobody else: every event counts, once, with its own value.

use std::collections::BTreeMap;
use std::time::Duration;

use billing::{ActionType, EventId, Identifier, Quantity, UsageEvent, UsageStatus};
use emission::Emitter;
use emission::request::Emission;
use fastrand::Rng;
use ledger::{Advance, CustomerRow};
use redelivery::{Redelivery, Report};
use serde_json::json;
use tokio::time::Instant;

use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;
use crate::support::world::World;

const EVENTS: u64 = 40;
const MINUTE_MS: i64 = 60_000;

struct Story {
    rng: Rng,
    world: World,
    customer: CustomerRow,
    lossy: Lossy,
    emitter: Emitter,
    redelivery: Redelivery,
    rollups: u32,
}

impl Story {
    async fn start(seed: u64) -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        let lossy = Lossy::start(&world.tables.url).await;
        let ledger = Tables::at(&lossy.url).ledger;
        Self {
            rng: Rng::with_seed(seed),
            emitter: Emitter::new(ledger.clone(), world.stripe.clone(), world.clock()),
            redelivery: Redelivery::new(ledger, world.stripe.clone(), world.clock()),
            customer,
            lossy,
            world,
            rollups: 0,
        }
    }

    fn event(&self, n: u64) -> UsageEvent {
        UsageEvent {
            event_id: EventId::parse(&format!("job-{n}")).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(n + 1).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        }
    }

    async fn repair(&self) {
        self.lossy.repair();
        self.world.repair_stripe().await;
    }

    /// Whatever was broken is repaired, and something else breaks, or nothing.
    async fn break_something(&mut self) {
        self.repair().await;
        let times = self.rng.u64(1..=3);
        let loss = *self
            .rng
            .choice([Loss::Request, Loss::Answer].iter())
            .unwrap();
        match self.rng.u8(..7) {
            0 => self.world.break_stream(503, times).await,
            1 => {
                let lost = json!({
                    "kind": "lose_answer", "times": times,
                    "path_prefix": "/v2/billing/meter_event_stream",
                });
                self.world.break_stripe(lost).await;
            }
            2 => self.lossy.lose("PutItem", loss),
            3 => self.lossy.lose("UpdateItem", loss),
            4 => self.lossy.lose("BatchGetItem", loss),
            5 => self.lossy.lose("DeleteItem", loss),
            _ => {}
        }
    }

    /// Emits some of the events, new ones or repeats, one by one or together.
    /// Answers those that were acknowledged.
    async fn emit(&mut self) -> Vec<u64> {
        let chosen: Vec<u64> = (0..self.rng.usize(1..5))
            .map(|_| self.rng.u64(..EVENTS))
            .collect();
        let events = chosen.iter().map(|n| self.event(*n).into());
        let events: Vec<Emission> = events.collect();
        let outcomes = self.emitter.emit(&events).await;
        assert_eq!(outcomes.len(), chosen.len());
        let acknowledged = chosen.into_iter().zip(outcomes);
        acknowledged
            .filter_map(|(n, outcome)| outcome.ok().map(|_| n))
            .collect()
    }

    /// As the rollup does: what is pending in the audit log is in the outbox.
    async fn roll_up(&mut self) {
        let mut advance = Advance::default();
        for n in 0..EVENTS {
            let event = self.event(n);
            let identifier = Identifier::of(&event.customer_id, &event.event_id);
            let row = self.world.ledger.usage_event(&identifier).await.unwrap();
            if let Some(row) = row.filter(|row| row.status == UsageStatus::Pending) {
                advance.put_into_outbox(row.identifier, row.pending_since);
            }
        }
        self.rollups += 1;
        let shard_id = format!("shard-{}", self.rollups);
        let ledger = &self.world.ledger;
        ledger
            .advance(&shard_id, None, "1", &advance, self.world.now())
            .await
            .unwrap();
    }

    async fn redeliver(&self) -> Option<Report> {
        let deadline = Instant::now() + Duration::from_secs(55);
        self.redelivery.run(deadline).await.ok()
    }
}

#[tokio::test]
async fn whatever_fails_every_acknowledged_event_counts_once() {
    for seed in 0..4 {
        let mut story = Story::start(seed).await;
        let mut acknowledged = BTreeMap::new();
        for _ in 0..40 {
            story.break_something().await;
            for n in story.emit().await {
                let event = story.event(n);
                let identifier = Identifier::of(&event.customer_id, &event.event_id);
                acknowledged.insert(identifier.as_str().to_owned(), n + 1);
            }
            if story.rng.u8(..10) == 0 {
                story.world.clock.advance_ms(MINUTE_MS + 1);
                story.roll_up().await;
                story.break_something().await;
                story.redeliver().await;
            }
        }
        story.repair().await;
        story.world.clock.advance_ms(MINUTE_MS + 1);
        story.roll_up().await;
        let report = story.redeliver().await.unwrap();
        assert_eq!(report.pending, 0, "seed {seed} {report:?}");

        let counted = story.world.counted_in_stripe(&story.customer.customer_id);
        let counted = counted.await;
        let by_identifier: BTreeMap<String, u64> = counted.iter().cloned().collect();
        assert_eq!(by_identifier.len(), counted.len(), "seed {seed}: twice");
        for (identifier, value) in &acknowledged {
            assert_eq!(by_identifier.get(identifier), Some(value), "seed {seed}");
        }
        // A lost answer may leave an event that nobody acknowledged: it is in
        // the audit log then, and counts like any other.
        let mut recorded = 0;
        for n in 0..EVENTS {
            let event = story.event(n);
            let identifier = Identifier::of(&event.customer_id, &event.event_id);
            let row = story.world.ledger.usage_event(&identifier).await.unwrap();
            recorded += usize::from(row.is_some());
            let expected = row.map(|row| (row.status, row.quantity));
            let counted = by_identifier.get(identifier.as_str());
            let counted = counted.map(|value| (UsageStatus::Delivered, *value));
            assert_eq!(expected, counted, "seed {seed} event {n}");
        }
        assert_eq!(
            counted.len(),
            recorded,
            "seed {seed}: more than was recorded"
        );
        assert!(acknowledged.len() > 20, "seed {seed}: too little happened");
    }
}
