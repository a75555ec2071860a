//! Stories of what an emission left pending.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{Timestamp, UsageStatus};
use ledger::{CustomerRow, OutboxEntry, Transition, Updated, UsageEventRow};
use redelivery::{Redelivery, Report};
use serde_json::json;
use tokio::time::Instant;

use crate::story::{HOUR_MS, MINUTE_MS, Story};
use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;

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
    assert_eq!(story.outbox_length().await, 0);
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
        oldest_pending_ms: MINUTE_MS + 1,
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

/// Neither a customer whom nobody knows nor a test clock that is gone keeps an event
/// pending for ever.
#[tokio::test]
async fn past_the_send_window_an_event_is_quarantined_wherever_it_would_be_billed() {
    let story = Story::start().await;
    let nobodys = story.emit_in_vain("nobodys", 3).await;
    let key = [("identifier", nobodys.identifier.as_str())];
    set(&story, &key, "customer_id", "cus_nobody").await;
    let read = story.world.onboard(None).await;
    let on_a_clock = CustomerRow {
        test_clock: Some("clock_gone".to_owned()),
        ..read.clone()
    };
    let ledger = &story.world.ledger;
    let updated = ledger.update_customer(&read, on_a_clock).await.unwrap();
    assert_eq!(updated, Updated::Done);
    let clocks = story.emit_in_vain("clocks", 3).await;
    let key = [("identifier", clocks.identifier.as_str())];
    set(&story, &key, "customer_id", read.customer_id.as_str()).await;

    story.world.clock.advance_ms(22 * HOUR_MS);
    assert_eq!(story.run().await.pending, 2);
    story.world.clock.advance_ms(HOUR_MS);
    let quarantined = Report {
        quarantined: 2,
        ..Report::default()
    };
    assert_eq!(story.run().await, quarantined);
    for event_id in ["nobodys", "clocks"] {
        let status = story.row(event_id).await.status;
        assert_eq!(status, UsageStatus::Quarantined, "{event_id}");
    }
    assert_eq!(story.in_stripe().await, (0, 0));
    assert_eq!(story.outbox_length().await, 0);
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
        stale: 2,
        ..Report::default()
    };
    assert_eq!(story.run().await, report);
    assert_eq!(story.outbox_length().await, 0);
    assert_eq!(story.in_stripe().await, (1, 2));
}

#[tokio::test]
async fn what_cannot_be_read_blocks_no_other_and_is_counted() {
    let story = Story::start().await;
    let mut bad = story.emit_in_vain("first", 1).await;
    bad.identifier = story.identifier("unreadable");
    story.put_into_outbox(std::slice::from_ref(&bad)).await;
    let row = [("identifier", bad.identifier.as_str()), ("status", "odd")];
    put(&story, "UsageEventsTable", &row).await;
    // The oldest of every bucket, and no entry at all.
    for bucket in "0123456789abcdef".split_inclusive(|_| true) {
        let key = [("bucket", bucket), ("outbox_key", "0000000000001#odd")];
        let entry = [key[0], key[1], ("identifiers", "none")];
        put(&story, "OutboxTable", &entry).await;
    }
    story.emit_in_vain("last", 2).await;

    story.world.clock.advance_ms(MINUTE_MS + 1);
    let report = Report {
        delivered: 2,
        unreadable: 17,
        ..Report::default()
    };
    assert_eq!(story.run().await, report);
    assert_eq!(story.in_stripe().await, (2, 3));
    // It is named again at every run until somebody sees to it.
    assert_eq!(story.run().await.unreadable, 17);
}

async fn put(story: &Story, table: &str, item: &[(&str, &str)]) {
    let attribute = |(name, value): &(&str, &str)| {
        let value = AttributeValue::S((*value).to_owned());
        ((*name).to_owned(), value)
    };
    let item = item.iter().map(attribute).collect();
    let put = story.world.tables.client.put_item().table_name(table);
    put.set_item(Some(item)).send().await.unwrap();
}

#[tokio::test]
async fn a_long_outbox_is_emptied_in_one_run() {
    let story = Story::start().await;
    story.emit_many_in_vain(420).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    assert_eq!(story.run().await.delivered, 420);
    assert_eq!(story.in_stripe().await, (420, 420));
    assert_eq!(story.outbox_length().await, 0);
}

#[tokio::test]
async fn an_entry_shrinks_by_what_is_settled_and_keeps_what_is_pending() {
    let story = Story::start().await;
    let stays = story.emit_in_vain("stays", 1).await;
    let mut listed = vec![stays.clone()];
    for event_id in ["a", "b"] {
        listed.push(story.emit_in_vain(event_id, 1).await);
    }
    // One entry that lists all three, beside those of each.
    story.put_into_outbox(&listed).await;
    assert_eq!(story.in_outbox().await, 6);
    // Nobody knows the customer of one: it waits.
    let lost = [("identifier", stays.identifier.as_str())];
    set(&story, &lost, "customer_id", "cus_nobody").await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    let report = story.run().await;
    assert_eq!((report.delivered, report.pending), (2, 1), "{report:?}");
    assert_eq!(story.in_outbox().await, 2);

    set(&story, &lost, "customer_id", stays.customer_id.as_str()).await;
    let report = story.run().await;
    assert_eq!((report.delivered, report.pending), (1, 0), "{report:?}");
    assert_eq!(story.outbox_length().await, 0);
    assert_eq!(story.in_stripe().await, (3, 3));
}

/// A rebuild puts its entries first, whatever time they bear.
#[tokio::test]
async fn an_old_entry_does_not_take_out_what_a_rebuilt_one_lists() {
    let story = Story::start().await;
    let row = story.emit_in_vain("again", 1).await;
    // Of a time when it was pending before.
    let earlier = UsageEventRow {
        pending_since: row.pending_since.plus_ms(-2 * MINUTE_MS),
        ..row.clone()
    };
    story.put_into_outbox(&[earlier]).await;
    let pending = BTreeMap::from([(row.identifier, row.pending_since)]);
    let due_at_once = Timestamp::from_unix_ms(0);
    let rebuilt = OutboxEntry::new("rebuilt", &pending, due_at_once).unwrap();
    story.world.ledger.put_outbox_entry(&rebuilt).await.unwrap();
    // The rebuilt and the old one are due, the rollup's own is not.
    let report = story.run().await;
    assert_eq!((report.delivered, report.stale), (1, 0), "{report:?}");
    assert_eq!(story.in_stripe().await, (1, 1));
}

async fn set(story: &Story, key: &[(&str, &str)], attribute: &str, value: &str) {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let mut update = story.world.tables.client.update_item();
    for (name, value) in key {
        update = update.key(*name, text(value));
    }
    update
        .table_name("UsageEventsTable")
        .update_expression("SET #attribute = :value")
        .expression_attribute_names("#attribute", attribute)
        .expression_attribute_values(":value", text(value))
        .send()
        .await
        .unwrap();
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

/// One run costs few waits, and one batch that Stripe cannot digest keeps no
/// other from being sent.
#[tokio::test]
async fn while_nothing_gets_through_a_run_ends_early() {
    let story = Story::start().await;
    story.emit_many_in_vain(450).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    story.world.break_stream(503, 99).await;
    let report = story.run().await;
    // What was looked at and not sent is counted, too.
    assert!(report.delivered == 0 && report.pending > 200, "{report:?}");
    assert_eq!(report.oldest_pending_ms, MINUTE_MS + 1);
    // Three batches and three single events, three attempts each.
    assert_eq!(story.world.struck(0).await, 18);
    assert_eq!(story.in_outbox().await, 450);

    // Nor does one keep its own events from being sent, once Stripe can take it.
    story.world.repair_stripe().await;
    story.world.break_stream(503, 3).await;
    let report = story.run().await;
    assert_eq!((report.delivered, report.pending), (450, 0));
    assert_eq!(story.in_stripe().await.0, 450);
}

/// Stripe answers 500 whenever one certain event is in the request. In the end it
/// is alone, and no other waits for it until the send window is over.
#[tokio::test]
async fn an_event_that_stripe_cannot_digest_takes_no_other_down_with_it() {
    let story = Story::start().await;
    story.emit_many_in_vain(130).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    cannot_digest(&story, "job-77").await;
    for run in 0..2 {
        let report = story.run().await;
        let delivered = if run == 0 { 129 } else { 0 };
        assert_eq!(
            (report.delivered, report.pending),
            (delivered, 1),
            "{report:?}"
        );
    }
    assert_eq!(story.in_stripe().await, (129, 129));
    story.world.repair_stripe().await;
    assert_eq!(story.run().await.delivered, 1);
    assert_eq!(story.in_stripe().await, (130, 130));
}

async fn cannot_digest(story: &Story, event_id: &str) {
    let fault = json!({
        "kind": "error_before", "status": 500, "times": 1_000,
        "path_prefix": "/v2/billing/meter_event_stream",
        "body_contains": story.identifier(event_id).as_str(),
    });
    story.world.break_stripe(fault).await;
}

/// Each of three batches in a row has one of them, and Stripe is there.
#[tokio::test]
async fn several_events_that_stripe_cannot_digest_take_no_other_down_with_them() {
    for (events, poisons) in [(4, ["job-0", "job-3"]), (130, ["job-10", "job-120"])] {
        let story = Story::start().await;
        story.emit_many_in_vain(events).await;
        story.world.clock.advance_ms(MINUTE_MS + 1);
        for event_id in poisons {
            cannot_digest(&story, event_id).await;
        }
        let report = story.run().await;
        assert_eq!(
            (report.delivered, report.pending),
            (events - 2, 2),
            "{report:?}"
        );
        for event_id in poisons {
            let status = story.row(event_id).await.status;
            assert_eq!(status, UsageStatus::Pending, "{event_id}");
        }
    }
}

/// A run that ends there keeps nobody else's from being sent.
#[tokio::test]
async fn what_was_lost_alone_is_sent_last() {
    let story = Story::start().await;
    story.emit_many_in_vain(6).await;
    let undigested: Vec<String> = (0..6).map(|n| format!("job-{n}")).collect();
    story.world.clock.advance_ms(MINUTE_MS + 1);
    for event_id in &undigested {
        cannot_digest(&story, event_id).await;
    }
    // All that there is: Stripe may as well be down.
    for _ in 0..2 {
        assert_eq!(story.run().await.pending, 6);
    }
    story.emit_in_vain("late", 2).await;
    story.world.clock.advance_ms(MINUTE_MS + 1);
    for event_id in &undigested {
        cannot_digest(&story, event_id).await;
    }
    let report = story.run().await;
    assert_eq!((report.delivered, report.pending), (1, 6), "{report:?}");
    assert_eq!(story.in_stripe().await, (1, 2));
    story.world.repair_stripe().await;
    let report = story.run().await;
    assert_eq!((report.delivered, report.pending), (6, 0), "{report:?}");
    assert_eq!(story.in_stripe().await, (7, 8));
}
