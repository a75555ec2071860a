//! The three ways into Stripe, against the simulator: whatever goes wrong, each
//! event counts once, or is named.

use std::slice;

use billing::{ActionType, BillingTime, EventId, Quantity, Timestamp, UsageEvent, UsageStatus};
use ledger::{CarriedOver, CustomerRow, Recorded, Transition, UsageEventRow};
use metering::delivery::SEND_BUDGET_MS;
use metering::{Delivered, Deliverer, Sending, Void, VoidError, Voider};
use serde_json::json;
use stripe::UsageApi;

use crate::support::world::World;

const UNITS: u64 = 3;

struct Story {
    world: World,
    customer: CustomerRow,
    deliverer: Deliverer,
    usage_api: UsageApi,
}

impl Story {
    async fn start(usage_api: UsageApi) -> Self {
        let world = World::with_usage_api(usage_api).await;
        let customer = world.onboard(None).await;
        Self {
            deliverer: Deliverer::new(world.ledger.clone(), world.stripe.clone(), world.clock()),
            world,
            customer,
            usage_api,
        }
    }

    /// Where usage goes.
    fn path_prefix(&self) -> String {
        match self.usage_api {
            UsageApi::MeterEventStream => "/v2/billing/meter_event_stream".to_owned(),
            UsageApi::MeterEvent => "/v1/billing/meter_events".to_owned(),
            UsageApi::UsageRecord => {
                let item = &self.customer.item.subscription_item_id;
                format!("/v1/subscription_items/{item}/usage_records")
            }
        }
    }

    async fn break_usage(&self, mut fault: serde_json::Value) {
        fault["path_prefix"] = self.path_prefix().into();
        self.world.break_stripe(fault).await;
    }

    /// As an emission records it.
    async fn record(&self, event_id: &str) -> UsageEventRow {
        self.record_at(event_id, self.world.now()).await
    }

    async fn record_at(&self, event_id: &str, occurred_at: Timestamp) -> UsageEventRow {
        self.record_of(&self.customer, event_id, occurred_at).await
    }

    async fn record_of(
        &self,
        customer: &CustomerRow,
        event_id: &str,
        occurred_at: Timestamp,
    ) -> UsageEventRow {
        let event = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(UNITS).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        };
        let now = self.world.now();
        let billing_time = BillingTime::Billable {
            billed_at: occurred_at,
            period_start: customer.period_start,
            carried_over: false,
        };
        let name = &customer.item.meter_event_name;
        let token = event_id.to_owned();
        let row = UsageEventRow::new(&event, occurred_at, billing_time, name, token, now);
        let recorded = self
            .world
            .ledger
            .record_usage_event(&row, now, SEND_BUDGET_MS);
        assert_eq!(recorded.await.unwrap(), Recorded::New);
        row
    }

    async fn record_many(&self, events: usize) -> Vec<UsageEventRow> {
        let mut rows = Vec::with_capacity(events);
        for n in 0..events {
            rows.push(self.record(&format!("job-{n}")).await);
        }
        rows
    }

    /// Delivers what is pending of `rows` until nothing is.
    async fn redeliver(&self, rows: &[UsageEventRow]) {
        for _ in 0..rows.len() {
            let mut pending = Vec::new();
            for row in rows {
                let row = self.row(row).await;
                if row.status == UsageStatus::Pending {
                    pending.push(row);
                }
            }
            if pending.is_empty() {
                return;
            }
            self.deliverer.deliver(&pending).await;
        }
    }

    async fn row(&self, row: &UsageEventRow) -> UsageEventRow {
        let found = self.world.ledger.usage_event(&row.identifier).await;
        found.unwrap().unwrap()
    }

    /// The row, to be billed at `billed_at` now.
    async fn carry_over(&self, row: &UsageEventRow, billed_at: Timestamp) -> UsageEventRow {
        let start = self.customer.period_start;
        let moved = self
            .world
            .ledger
            .carry_over_usage_event(row, billed_at, start);
        assert_eq!(moved.await.unwrap(), CarriedOver::Done);
        self.row(row).await
    }

    /// The units of the customer that Stripe counts.
    async fn units_in_stripe(&self) -> u64 {
        self.world.settle_stripe().await;
        self.world.in_stripe(&self.customer.customer_id).await.1
    }
}

#[tokio::test]
async fn events_are_delivered_by_each_of_them() {
    for usage_api in UsageApi::ALL {
        let story = Story::start(usage_api).await;
        let rows = story.record_many(25).await;
        let sendings: Vec<Sending<'_>> = rows.iter().map(Sending::first).collect();
        let deliveries = story.deliverer.send(&sendings).await;
        assert!(deliveries.got_through);
        for (row, delivery) in rows.iter().zip(&deliveries.each) {
            assert_eq!(delivery.outcome, Delivered::Delivered, "{usage_api}");
            let stored = story.row(row).await;
            assert_eq!(stored.status, UsageStatus::Delivered, "{usage_api}");
            assert_eq!(stored.stripe_record_id, delivery.stripe_record_id);
            let record_id = delivery.stripe_record_id.as_deref().unwrap_or_default();
            let is_record = usage_api == UsageApi::UsageRecord;
            assert_eq!(record_id.starts_with("mbur_"), is_record, "{usage_api}");
        }
        assert_eq!(story.units_in_stripe().await, 25 * UNITS, "{usage_api}");
    }
}

#[tokio::test]
async fn lost_answers_and_repeats_count_nothing_twice() {
    for usage_api in UsageApi::ALL {
        let story = Story::start(usage_api).await;
        let rows = story.record_many(10).await;
        story
            .break_usage(json!({ "kind": "lose_answer", "times": 20 }))
            .await;
        story.deliverer.deliver(&rows).await;
        story.world.repair_stripe().await;
        story.redeliver(&rows).await;
        // Whoever read the rows while they were pending sends them once more.
        let late = story.deliverer.deliver(&rows).await;
        assert_eq!(late, vec![Delivered::Delivered; 10], "{usage_api}");
        assert_eq!(story.units_in_stripe().await, 10 * UNITS, "{usage_api}");
    }
}

#[tokio::test]
async fn limits_of_pace_pass() {
    for usage_api in UsageApi::ALL {
        let story = Story::start(usage_api).await;
        let rows = story.record_many(5).await;
        story
            .break_usage(json!({ "kind": "error_before", "status": 429, "times": 2 }))
            .await;
        let delivered = story.deliverer.deliver(&rows).await;
        assert_eq!(delivered, vec![Delivered::Delivered; 5], "{usage_api}");
        story.world.assert_faults_are_used_up().await;
        assert_eq!(story.units_in_stripe().await, 5 * UNITS, "{usage_api}");
    }
}

/// Stripe repeats a stored 500 for as long as it keeps the key.
#[tokio::test]
async fn a_stored_server_error_is_gone_around_where_another_key_is_safe() {
    for (usage_api, outcome, units) in [
        (UsageApi::MeterEvent, Delivered::Delivered, UNITS),
        (UsageApi::UsageRecord, Delivered::Quarantined, 0),
    ] {
        let story = Story::start(usage_api).await;
        let rows = story.record_many(1).await;
        story
            .break_usage(json!({ "kind": "error_before", "status": 500, "times": 1 }))
            .await;
        let delivered = story.deliverer.deliver(&rows).await;
        assert_eq!(delivered, [outcome], "{usage_api}");
        story.world.assert_faults_are_used_up().await;
        assert_eq!(story.units_in_stripe().await, units, "{usage_api}");
    }
}

#[tokio::test]
async fn meter_events_of_one_customer_go_one_at_a_time_and_in_order() {
    let story = Story::start(UsageApi::MeterEvent).await;
    let rows = story.record_many(12).await;
    // Two at once would meet, and one of them be answered 429.
    story
        .break_usage(json!({ "kind": "delay_ms", "delay_ms": 5, "times": 12 }))
        .await;
    let (early, late) = rows.split_at(6);
    let other = Deliverer::new(
        story.world.ledger.clone(),
        story.world.stripe.clone(),
        story.world.clock(),
    );
    let (first, second) = tokio::join!(story.deliverer.deliver(early), other.deliver(late));
    assert_eq!([first, second].concat(), vec![Delivered::Delivered; 12]);
    // Twelve requests, and none was made again.
    story.world.assert_faults_are_used_up().await;
    let counted = story.world.counted_in_stripe(&story.customer.customer_id);
    let counted: Vec<String> = counted.await.into_iter().map(|(id, _)| id).collect();
    for part in [early, late] {
        let sent: Vec<&str> = part.iter().map(|row| row.identifier.as_str()).collect();
        let arrived = counted.iter().map(String::as_str);
        let arrived: Vec<&str> = arrived.filter(|id| sent.contains(id)).collect();
        assert_eq!(arrived, sent);
    }
}

/// Almost all of a batch is one customer's, whose events take their time.
#[tokio::test]
async fn meter_events_of_one_customer_keep_no_other_waiting() {
    let story = Story::start(UsageApi::MeterEvent).await;
    let mut rows = story.record_many(99).await;
    let other = story.world.onboard(None).await;
    rows.push(story.record_of(&other, "other", story.world.now()).await);
    let slow = json!({
        "kind": "delay_ms", "delay_ms": 5, "times": 99,
        "body_contains": story.customer.customer_id,
    });
    story.break_usage(slow).await;
    let delivered = story.deliverer.deliver(&rows).await;
    assert_eq!(delivered, vec![Delivered::Delivered; 100]);
    story.world.assert_faults_are_used_up().await;
    let counted = story.world.all_counted_in_stripe().await;
    let mut counted = counted.iter().map(|(identifier, _)| identifier.as_str());
    let place = counted.position(|identifier| identifier == rows[99].identifier.as_str());
    assert!(place.unwrap() < 50, "{place:?}");
}

/// Its period turns while its answer is lost: carried over, it is another request
/// under the same key.
#[tokio::test]
async fn a_usage_record_that_arrived_before_it_was_carried_over_counts_once() {
    let story = Story::start(UsageApi::UsageRecord).await;
    let row = story.record("job").await;
    story
        .break_usage(json!({ "kind": "lose_answer", "times": 3 }))
        .await;
    let delivered = story.deliverer.deliver(slice::from_ref(&row)).await;
    assert_eq!(delivered, [Delivered::Pending]);
    let row = story.carry_over(&row, row.occurred_at.plus_ms(1_000)).await;
    let delivered = story.deliverer.deliver(slice::from_ref(&row)).await;
    assert_eq!(delivered, [Delivered::Delivered]);
    let record_id = story.row(&row).await.stripe_record_id.unwrap();
    assert!(record_id.starts_with("mbur_"), "{record_id}");
    assert_eq!(story.units_in_stripe().await, UNITS);
}

/// Stripe's period turned a moment before ours did. It stores the refusal, too.
#[tokio::test]
async fn a_usage_record_that_came_after_its_period_is_carried_over() {
    let story = Story::start(UsageApi::UsageRecord).await;
    let start = story.customer.period_start;
    let row = story.record_at("job", start.plus_ms(-1_000)).await;
    let delivered = story.deliverer.deliver(slice::from_ref(&row)).await;
    assert_eq!(delivered, [Delivered::Pending]);
    let row = story.carry_over(&row, start).await;
    for _ in 0..2 {
        // Whoever read it before it was delivered sends it again.
        let delivered = story.deliverer.deliver(slice::from_ref(&row)).await;
        assert_eq!(delivered, [Delivered::Delivered]);
    }
    assert_eq!(story.units_in_stripe().await, UNITS);

    // As if over the next period's end, too: there is no third key.
    let later = UsageEventRow {
        billed_at: Some(start.plus_ms(1_000)),
        ..row
    };
    let delivered = story.deliverer.deliver(&[later]).await;
    assert_eq!(delivered, [Delivered::Settled(UsageStatus::Delivered)]);
    assert_eq!(story.units_in_stripe().await, UNITS);
}

/// Stripe takes no usage record back: its customer is credited.
#[tokio::test]
async fn a_voided_usage_record_is_credited_once() {
    let story = Story::start(UsageApi::UsageRecord).await;
    let delivered = story.record("delivered").await;
    story.deliverer.deliver(slice::from_ref(&delivered)).await;
    // Nobody knows whether Stripe has this one, until it is asked.
    let pending = story.record("pending").await;
    story
        .break_usage(json!({ "kind": "lose_answer", "times": 3 }))
        .await;
    story.deliverer.deliver(slice::from_ref(&pending)).await;
    let stuck = story.record("stuck").await;
    story
        .break_usage(json!({ "kind": "error_before", "status": 500, "times": 1 }))
        .await;
    story.deliverer.deliver(slice::from_ref(&stuck)).await;

    let world = &story.world;
    let voider = Voider::new(world.ledger.clone(), world.stripe.clone(), world.clock());
    for (row, so_far) in [(&delivered, 1), (&pending, 2)] {
        let void = voider.void(&row.identifier, None).await.unwrap();
        let Void::Credited { minor_units, .. } = void else {
            unreachable!("{void:?}");
        };
        assert_eq!(minor_units, 3);
        let again = voider.void(&row.identifier, None).await.unwrap();
        assert_eq!(again, Void::Before);
        assert_eq!(story.row(row).await.status, UsageStatus::Voided);
        let customer_id = story.customer.customer_id.as_str();
        let credits = world
            .stripe
            .list_customer_balance_transactions(customer_id)
            .await;
        assert_eq!(credits.unwrap().data.len(), so_far);
    }
    let unknown = voider.void(&stuck.identifier, None).await.unwrap_err();
    assert!(matches!(unknown, VoidError::FateUnknown), "{unknown}");
    assert_eq!(story.row(&stuck).await.status, UsageStatus::Quarantined);
    assert_eq!(story.units_in_stripe().await, 2 * UNITS);
}

/// Two calls at once: the one that recorded the event was refused.
#[tokio::test]
async fn what_stripe_has_checked_and_taken_is_not_left_rejected() {
    for (usage_api, outcome) in [
        (
            UsageApi::MeterEventStream,
            Delivered::Settled(UsageStatus::Rejected),
        ),
        (UsageApi::MeterEvent, Delivered::Delivered),
        (UsageApi::UsageRecord, Delivered::Delivered),
    ] {
        let story = Story::start(usage_api).await;
        let row = story.record("job").await;
        let transition = Transition {
            from: UsageStatus::Pending,
            to: UsageStatus::Rejected,
            at: story.world.now(),
            stripe_code: Some("no_meter"),
        };
        let ledger = &story.world.ledger;
        let moved = ledger.transition_usage_event(&row.identifier, transition);
        moved.await.unwrap();
        let delivered = story.deliverer.deliver(slice::from_ref(&row)).await;
        assert_eq!(delivered, [outcome], "{usage_api}");
    }
}
