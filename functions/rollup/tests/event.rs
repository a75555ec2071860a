//! The rollup as Lambda calls it: events in, `state` out.

use billing::{CustomerId, Timestamp, UsageStatus};
use rollup::{Handler, HandlerError, Rollup, StreamEvent};
use serde_json::{Value, json};

use crate::tables::Tables;

const SHARD: &str = "shardId-00000001769860800000-5a3b1c0d";
const PERIOD_START: Timestamp = Timestamp::from_unix_s(1_767_225_600);

/// The mapping's function, with tables of its own.
struct Story {
    tables: Tables,
    handler: Handler,
}

impl Story {
    async fn start() -> Self {
        let tables = Tables::start().await;
        let handler = Handler::new(Rollup::new(tables.ledger.clone()), false);
        Self { tables, handler }
    }

    async fn handle(&self, event: Value) -> Result<Value, HandlerError> {
        let event: StreamEvent = serde_json::from_value(event).unwrap();
        let answer = self.handler.handle(event).await?;
        Ok(serde_json::to_value(answer).unwrap())
    }

    /// Units of `status` over every cell of the customer's period.
    async fn units(&self, customer_id: &str, status: UsageStatus) -> u64 {
        let customer_id = CustomerId::parse(customer_id).unwrap();
        let ledger = &self.tables.ledger;
        let totals = ledger.totals_of_period(&customer_id, PERIOD_START).await;
        let mut sum = ledger::Tally::default();
        for total in totals.unwrap() {
            sum.add(&total.tally);
        }
        sum.units(status)
    }

    /// How many events each entry of the outbox lists, the most first.
    async fn outbox(&self) -> Vec<usize> {
        let items = self.tables.scan("OutboxTable").await;
        let listed = items
            .iter()
            .map(|item| item["identifiers"].as_bs().unwrap().len());
        let mut listed: Vec<usize> = listed.collect();
        listed.sort_unstable_by(|a, b| b.cmp(a));
        listed
    }
}

fn event_of(records: impl IntoIterator<Item = Value>) -> Value {
    let records: Vec<Value> = records.into_iter().collect();
    json!({ "Records": records, "shardId": SHARD, "state": {} })
}

fn record(sequence_number: u64, old: Option<Value>, new: Option<Value>) -> Value {
    let mut change = json!({ "SequenceNumber": sequence_number.to_string() });
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            change[name] = image;
        }
    }
    json!({ "eventID": "1", "eventName": "MODIFY", "dynamodb": change })
}

fn image(n: u64, action_type: &str, status: &str) -> Value {
    json!({
        "identifier": { "S": format!("{n:064x}") },
        "customer_id": { "S": "cus_1" },
        "event_id": { "S": format!("job-{n}") },
        "meter_event_name": { "S": "agent_operations" },
        "action_type": { "S": action_type },
        "quantity": { "N": "2" },
        "status": { "S": status },
        "occurred_at": { "N": "1769860800000" },
        "billed_at": { "N": "1769860800000" },
        "period_start": { "N": "1767225600000" },
        "pending_since": { "N": "1769860800000" },
    })
}

fn sample_event() -> Value {
    serde_json::from_str(include_str!("../../../events/rollup.json")).unwrap()
}

#[tokio::test]
async fn the_sample_event_is_counted_as_delivered() {
    let story = Story::start().await;
    assert_eq!(
        story.handle(sample_event()).await.unwrap(),
        json!({ "state": {} })
    );
    assert_eq!(story.units("cus_sample", UsageStatus::Delivered).await, 3);
    assert_eq!(story.units("cus_sample", UsageStatus::Pending).await, 0);
    assert!(story.outbox().await.is_empty());
}

#[tokio::test]
async fn the_closing_call_of_a_window_has_no_records_and_keeps_the_state() {
    let story = Story::start().await;
    for mut closing in [
        json!({ "Records": [], "isFinalInvokeForWindow": true }),
        json!({ "isFinalInvokeForWindow": true }),
    ] {
        closing["shardId"] = json!(SHARD);
        closing["state"] = json!({ "of": "another version" });
        let answer = story.handle(closing).await.unwrap();
        assert_eq!(answer, json!({ "state": { "of": "another version" } }));
    }
}

#[tokio::test]
async fn an_event_without_a_shard_fails_and_counts_nothing() {
    let story = Story::start().await;
    let mut event = sample_event();
    event.as_object_mut().unwrap().remove("shardId");
    let refused = story.handle(event.clone()).await;
    assert!(matches!(refused, Err(HandlerError::NoShard)));
    assert_eq!(story.tables.scan("UsageTotalsTable").await, []);

    let single = Handler::new(Rollup::new(story.tables.ledger.clone()), true);
    let story = Story {
        handler: single,
        ..story
    };
    for _ in 0..2 {
        story.handle(event.clone()).await.unwrap();
    }
    assert_eq!(story.units("cus_sample", UsageStatus::Delivered).await, 3);
}

#[tokio::test]
async fn what_is_pending_at_the_end_of_a_batch_waits_in_the_outbox() {
    let story = Story::start().await;
    let pending = |n| image(n, "read", "pending");
    let born = event_of([
        record(1, None, Some(pending(1))),
        record(2, None, Some(pending(2))),
        record(3, Some(pending(2)), Some(image(2, "read", "delivered"))),
    ]);
    story.handle(born).await.unwrap();
    assert_eq!(story.outbox().await, [1]);
    assert_eq!(story.units("cus_1", UsageStatus::Pending).await, 2);
    let settled = record(4, Some(pending(1)), Some(image(1, "read", "rejected")));
    story.handle(event_of([settled])).await.unwrap();
    // Redelivery will ask the audit log, and forget it.
    assert_eq!(story.outbox().await, [1]);
    assert_eq!(story.units("cus_1", UsageStatus::Rejected).await, 2);
    assert_eq!(story.units("cus_1", UsageStatus::Pending).await, 0);
}

#[tokio::test]
async fn a_batch_of_more_changes_than_a_transaction_takes_is_cut() {
    let story = Story::start().await;
    // Each record has a cell of its own: 250 changes, and an entry for each cut.
    let records = (0..250).map(|n| {
        let new = image(n, &format!("action-{n}"), "pending");
        record(n + 1, None, Some(new))
    });
    story.handle(event_of(records)).await.unwrap();
    assert_eq!(story.units("cus_1", UsageStatus::Pending).await, 500);
    assert_eq!(story.outbox().await, [98, 98, 54]);
    let checkpoint = story.tables.ledger.checkpoint(SHARD).await.unwrap();
    assert_eq!(checkpoint, Some(format!("{:040}", 250)));
}

#[tokio::test]
async fn poison_is_set_aside_and_stops_nothing() {
    let story = Story::start().await;
    let mut unreadable = image(2, "read", "pending");
    unreadable["quantity"] = json!({ "N": "-7" });
    let event = event_of([
        record(1, None, Some(image(1, "read", "delivered"))),
        record(2, None, Some(unreadable)),
        record(3, None, Some(json!({ "identifier": { "?": "what" } }))),
        record(4, None, None),
        record(5, None, Some(image(3, "read", "delivered"))),
    ]);
    for _ in 0..2 {
        story.handle(event.clone()).await.unwrap();
    }
    assert_eq!(story.units("cus_1", UsageStatus::Delivered).await, 4);
    let set_aside = story.tables.ledger.poison(SHARD).await.unwrap();
    let places: Vec<&str> = set_aside.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, [2, 3, 4].map(|n| format!("{n:040}")));
    assert_eq!(set_aside[0].1.identifier, Some(format!("{:064x}", 2)));
    assert!(
        set_aside
            .iter()
            .all(|(_, poison)| !poison.reason.is_empty())
    );
}

#[tokio::test]
async fn a_record_without_a_place_stops_the_batch() {
    let story = Story::start().await;
    let mut placeless = record(1, None, Some(image(1, "read", "delivered")));
    placeless["dynamodb"]
        .as_object_mut()
        .unwrap()
        .remove("SequenceNumber");
    let refused = story.handle(event_of([placeless])).await;
    assert!(matches!(refused, Err(HandlerError::SequenceNumber(_))));
    assert_eq!(story.tables.scan("UsageTotalsTable").await, []);
}

#[tokio::test]
async fn a_row_that_goes_leaves_the_totals_and_the_outbox() {
    let story = Story::start().await;
    let pending = image(1, "read", "pending");
    let born = record(1, None, Some(pending.clone()));
    let gone = record(2, Some(pending), None);
    story.handle(event_of([born, gone])).await.unwrap();
    assert_eq!(story.units("cus_1", UsageStatus::Pending).await, 0);
    assert!(story.outbox().await.is_empty());
}
