//! Stories of what an emission left pending.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../emission/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{ActionType, EventId, Identifier, Quantity, UsageEvent, UsageStatus};
use emission::Emitter;
use ledger::{Advance, Advanced, CustomerRow, Transition, UsageEventRow};
use redelivery::{Redelivery, Report};
use serde_json::json;
use support::lossy::{Loss, Lossy};
use support::tables::Tables;
use support::world::World;
use tokio::time::Instant;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

struct Story {
    world: World,
    customer: CustomerRow,
    emitter: Emitter,
    redelivery: Redelivery,
}

impl Story {
    async fn start() -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        let (ledger, stripe) = (world.ledger.clone(), world.stripe.clone());
        Self {
            emitter: Emitter::new(ledger.clone(), stripe.clone(), world.clock()),
            redelivery: Redelivery::new(ledger, stripe, world.clock()),
            customer,
            world,
        }
    }

    /// Emits while Stripe is down, and does what the rollup does then.
    async fn emit_in_vain(&self, event_id: &str, quantity: u64) -> UsageEventRow {
        self.world.break_stream(503, 99).await;
        let event = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(quantity).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
        };
        let emitted = self.emitter.emit(&[event]).await.remove(0).unwrap();
        assert_eq!(emitted.status, UsageStatus::Pending);
        self.world.repair_stripe().await;
        let row = self.row(event_id).await;
        self.put_into_outbox(std::slice::from_ref(&row)).await;
        row
    }

    async fn put_into_outbox(&self, rows: &[UsageEventRow]) {
        let ledger = &self.world.ledger;
        for rows in rows.chunks(90) {
            let mut advance = Advance::default();
            for row in rows {
                advance.put_into_outbox(row.outbox_key(), row.identifier.clone());
            }
            // A shard of its own for each call.
            let shard_id = rows.first().unwrap().outbox_key().outbox_key;
            let advanced = ledger.advance(&shard_id, None, "1", &advance).await;
            assert_eq!(advanced.unwrap(), Advanced::Done);
        }
    }

    async fn row(&self, event_id: &str) -> UsageEventRow {
        let identifier = self.identifier(event_id);
        self.world
            .ledger
            .usage_event(&identifier)
            .await
            .unwrap()
            .unwrap()
    }

    fn identifier(&self, event_id: &str) -> Identifier {
        let event_id = EventId::parse(event_id).unwrap();
        Identifier::of(&self.customer.customer_id, &event_id)
    }

    async fn run(&self) -> Report {
        let deadline = Instant::now() + Duration::from_secs(55);
        self.redelivery.run(deadline).await.unwrap()
    }

    async fn in_stripe(&self) -> (u64, u64) {
        self.world.in_stripe(&self.customer.customer_id).await
    }

    async fn outbox_length(&self) -> usize {
        self.world.tables.scan("OutboxTable").await.len()
    }
}

#[tokio::test]
async fn what_stripe_did_not_take_is_delivered_a_minute_later_and_once() {
    let story = Story::start().await;
    story.emit_in_vain("job-1", 3).await;
    assert_eq!(story.run().await, Report::default());
    assert_eq!(story.in_stripe().await, (0, 0));

    story.world.clock.advance_ms(MINUTE_MS + 1);
    let delivered = Report {
        delivered: 1,
        ..Report::default()
    };
    assert_eq!(story.run().await, delivered);
    assert_eq!(story.row("job-1").await.status, UsageStatus::Delivered);
    // The rollup has not yet taken the entry out: it is stale, and goes.
    let stale = Report {
        stale: 1,
        ..Report::default()
    };
    assert_eq!(story.run().await, stale);
    assert_eq!(story.run().await, Report::default());
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn what_stripe_took_and_nobody_noted_counts_once() {
    let story = Story::start().await;
    story.emit_in_vain("job-1", 3).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    let pending = Report {
        pending: 1,
        ..Report::default()
    };
    // Once Stripe's answer is lost, once the audit log does not take the news.
    story
        .world
        .break_stripe(json!({
            "kind": "lose_answer", "times": 3,
            "path_prefix": "/v2/billing/meter_event_stream",
        }))
        .await;
    assert_eq!(story.run().await, pending);
    story.world.assert_faults_are_used_up().await;
    assert_eq!(story.in_stripe().await, (1, 3));

    let lossy = Lossy::start(&story.world.tables.url).await;
    let ledger = Tables::at(&lossy.url).ledger;
    let cut_off = Redelivery::new(ledger, story.world.stripe.clone(), story.world.clock());
    for loss in [Loss::Request, Loss::Answer] {
        lossy.lose("UpdateItem", loss);
        let deadline = Instant::now() + Duration::from_secs(55);
        assert_eq!(cut_off.run(deadline).await.unwrap(), pending);
        lossy.assert_all_lost();
    }
    assert_eq!(story.row("job-1").await.status, UsageStatus::Delivered);
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn past_the_send_window_nothing_is_sent() {
    let story = Story::start().await;
    story.emit_in_vain("job-1", 3).await;
    story.world.clock.advance_ms(23 * HOUR_MS);
    let quarantined = Report {
        quarantined: 1,
        ..Report::default()
    };
    assert_eq!(story.run().await, quarantined);
    assert_eq!(story.row("job-1").await.status, UsageStatus::Quarantined);
    assert_eq!(story.in_stripe().await, (0, 0));
}

#[tokio::test]
async fn entries_that_mean_nothing_any_more_are_removed_and_not_sent() {
    let story = Story::start().await;
    let voided = story.emit_in_vain("voided", 1).await;
    let transition = Transition {
        from: UsageStatus::Pending,
        to: UsageStatus::Voided,
        at: story.world.now(),
        stripe_code: None,
    };
    let ledger = &story.world.ledger;
    ledger
        .transition_usage_event(&voided.identifier, transition)
        .await
        .unwrap();
    let mut elsewhere = story.emit_in_vain("elsewhere", 2).await;
    elsewhere.pending_since = elsewhere.pending_since.plus_ms(-1);
    let mut vanished = elsewhere.clone();
    vanished.identifier = story.identifier("vanished");
    story.put_into_outbox(&[elsewhere]).await;
    story.put_into_outbox(&[vanished]).await;
    assert_eq!(story.outbox_length().await, 4);

    story.world.clock.advance_ms(MINUTE_MS + 1);
    let report = Report {
        delivered: 1,
        stale: 3,
        ..Report::default()
    };
    assert_eq!(story.run().await, report);
    assert_eq!(story.outbox_length().await, 1);
    assert_eq!(story.in_stripe().await, (1, 2));
}

#[tokio::test]
async fn one_bad_event_blocks_no_other() {
    let story = Story::start().await;
    let mut bad = story.emit_in_vain("first", 1).await;
    bad.identifier = story.identifier("unreadable");
    story.put_into_outbox(std::slice::from_ref(&bad)).await;
    let item = [("identifier", bad.identifier.as_str()), ("status", "odd")];
    let item = item.map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
    let put = story.world.tables.client.put_item();
    let put = put.table_name("UsageEventsTable");
    put.set_item(Some(item.into())).send().await.unwrap();
    story.emit_in_vain("last", 2).await;

    story.world.clock.advance_ms(MINUTE_MS + 1);
    let report = Report {
        delivered: 2,
        pending: 1,
        ..Report::default()
    };
    assert_eq!(story.run().await, report);
    assert_eq!(story.in_stripe().await, (2, 3));
}

#[tokio::test]
async fn a_long_outbox_is_emptied_in_one_run() {
    let story = Story::start().await;
    let template = story.emit_in_vain("job-0", 1).await;
    let mut rows = Vec::new();
    for n in 1..420 {
        let event_id = EventId::parse(&format!("job-{n}")).unwrap();
        let identifier = Identifier::of(&story.customer.customer_id, &event_id);
        let row = UsageEventRow {
            occurred_key: format!("{n:013}#{identifier}"),
            event_id,
            identifier,
            ..template.clone()
        };
        let ledger = &story.world.ledger;
        ledger
            .record_usage_event(&row, story.world.now(), 0)
            .await
            .unwrap();
        rows.push(row);
    }
    story.put_into_outbox(&rows).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    assert_eq!(story.run().await.delivered, 420);
    assert_eq!(story.in_stripe().await, (420, 420));
}

#[tokio::test]
async fn a_run_without_time_leaves_everything_to_the_next() {
    let story = Story::start().await;
    story.emit_in_vain("job-1", 1).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    let soon = Instant::now() + Duration::from_secs(5);
    let report = story.redelivery.run(soon).await.unwrap();
    assert_eq!(report, Report::default());
    assert_eq!(story.in_stripe().await, (0, 0));
    assert_eq!(story.run().await.delivered, 1);
}

#[tokio::test]
async fn shortly_after_its_periods_end_usage_is_still_billed_in_it() {
    let story = Story::start().await;
    let end = story.customer.period_end;
    let to_the_end_ms = end.ms_since(story.world.now());
    story.world.clock.advance_ms(to_the_end_ms - HOUR_MS);
    story.emit_in_vain("draft", 1).await;
    // Ten minutes past the end the invoice is a draft: it is sent as it is.
    story.world.clock.advance_ms(HOUR_MS + 10 * MINUTE_MS);
    story.world.settle_stripe().await;
    assert_eq!(story.run().await.delivered, 1);
    let row = story.row("draft").await;
    let its_own = Some(story.customer.period_start);
    assert_eq!((row.carried_over, row.period_start), (false, its_own));
    assert_eq!(story.in_stripe().await, (1, 1));
}

#[tokio::test]
async fn past_the_draft_usage_moves_to_the_period_that_is_still_billed() {
    let story = Story::start().await;
    let end = story.customer.period_end;
    let to_the_end_ms = end.ms_since(story.world.now());
    story.world.clock.advance_ms(to_the_end_ms - HOUR_MS);
    story.emit_in_vain("final", 2).await;
    story.world.clock.advance_ms(3 * HOUR_MS);
    story.world.settle_stripe().await;
    assert_eq!(story.run().await.delivered, 1);
    let row = story.row("final").await;
    assert_eq!((row.carried_over, row.period_start), (true, Some(end)));
    assert_eq!(row.billed_at, Some(story.world.now()));
    assert_eq!(row.occurred_at, end.plus_ms(-HOUR_MS));
    assert_eq!(story.in_stripe().await, (1, 2));
}
