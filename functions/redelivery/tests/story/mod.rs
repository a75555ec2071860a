//! What redelivery's stories have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use billing::{ActionType, Clock, EventId, Identifier, Quantity, UsageEvent, UsageStatus};
use emission::Emitter;
use ledger::{Advance, Advanced, CustomerRow, UsageEventRow};
use redelivery::{Redelivery, Report};
use tokio::time::Instant;

use crate::support::world::{World, stripe_client};

mod recorder;

use recorder::Recorder;

pub(crate) const MINUTE_MS: i64 = 60_000;
/// Events in an entry of the outbox: few, so that there are entries in many buckets.
pub(crate) const ENTRY_EVENTS: usize = 3;
pub(crate) const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A customer whose usage Stripe did not take, and redelivery.
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) customer: CustomerRow,
    pub(crate) emitter: Emitter,
    pub(crate) redelivery: Redelivery,
    recorder: Recorder,
    /// Of the outbox, made so far: each is of a shard of its own.
    entries: AtomicU32,
    /// As redelivery has it.
    stripe: stripe::Client,
}

impl Story {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        let (ledger, [(_, stripe_url), ..]) = (world.ledger.clone(), world.stripe_variables());
        let (recorder, url) = Recorder::start(&stripe_url, world.http.clone()).await;
        let stripe = stripe_client(&url);
        Self {
            emitter: Emitter::new(ledger.clone(), world.stripe.clone(), world.clock()),
            redelivery: Redelivery::new(ledger, stripe.clone(), world.clock()),
            recorder,
            entries: AtomicU32::default(),
            stripe,
            customer,
            world,
        }
    }

    /// Emits while Stripe is down, and does what the rollup does then.
    pub(crate) async fn emit_in_vain(&self, event_id: &str, quantity: u64) -> UsageEventRow {
        self.world.break_stream(503, 99).await;
        let event = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(quantity).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        };
        let emitted = self.emitter.emit(&[event.into()]).await.remove(0).unwrap();
        assert_eq!(emitted.status, UsageStatus::Pending);
        self.world.repair_stripe().await;
        let row = self.row(event_id).await;
        self.put_into_outbox(std::slice::from_ref(&row)).await;
        row
    }

    pub(crate) async fn put_into_outbox(&self, rows: &[UsageEventRow]) {
        let ledger = &self.world.ledger;
        for rows in rows.chunks(ENTRY_EVENTS) {
            let mut advance = Advance::default();
            for row in rows {
                advance.put_into_outbox(row.identifier.clone(), row.pending_since);
            }
            let nth = self.entries.fetch_add(1, Ordering::Relaxed);
            let shard_id = format!("shard-{nth}");
            let advanced = ledger
                .advance(&shard_id, None, "1", &advance, self.world.now())
                .await;
            assert_eq!(advanced.unwrap(), Advanced::Done);
        }
    }

    pub(crate) async fn row(&self, event_id: &str) -> UsageEventRow {
        let identifier = self.identifier(event_id);
        self.world
            .ledger
            .usage_event(&identifier)
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) fn identifier(&self, event_id: &str) -> Identifier {
        let event_id = EventId::parse(event_id).unwrap();
        Identifier::of(&self.customer.customer_id, &event_id)
    }

    pub(crate) async fn run(&self) -> Report {
        let deadline = Instant::now() + Duration::from_secs(55);
        self.redelivery.run(deadline).await.unwrap()
    }

    pub(crate) async fn in_stripe(&self) -> (u64, u64) {
        self.world.in_stripe(&self.customer.customer_id).await
    }

    /// Another process that redelivers, with a clock of its own.
    pub(crate) fn another(&self, clock: Arc<dyn Clock>) -> Redelivery {
        Redelivery::new(self.world.ledger.clone(), self.stripe.clone(), clock)
    }

    /// As [`emit_in_vain`](Self::emit_in_vain), `count` times one unit.
    pub(crate) async fn emit_many_in_vain(&self, count: usize) {
        let template = self.emit_in_vain("job-0", 1).await;
        let mut rows = Vec::new();
        for n in 1..count {
            let event_id = EventId::parse(&format!("job-{n}")).unwrap();
            let identifier = Identifier::of(&self.customer.customer_id, &event_id);
            let row = UsageEventRow {
                occurred_key: format!("{n:013}#{identifier}"),
                event_id,
                identifier,
                ..template.clone()
            };
            let ledger = &self.world.ledger;
            ledger
                .record_usage_event(&row, self.world.now(), 0)
                .await
                .unwrap();
            rows.push(row);
        }
        self.put_into_outbox(&rows).await;
    }

    /// How many events redelivery sent more than once.
    pub(crate) fn sent_again(&self) -> usize {
        self.recorder.sent_again()
    }

    /// How many events the outbox lists.
    pub(crate) async fn in_outbox(&self) -> usize {
        let items = self.world.tables.scan("OutboxTable").await;
        let listed = items.iter().filter_map(|item| item.get("identifiers"));
        listed.map(|set| set.as_bs().unwrap().len()).sum()
    }

    /// How many entries and leases the outbox holds.
    pub(crate) async fn outbox_length(&self) -> usize {
        self.world.tables.scan("OutboxTable").await.len()
    }
}
