//! Totals and outbox against the audit log, after a history of all kinds.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use billing::UsageStatus;
use metering::Voider;
use meterline_cli::rebuild::Difference;
use meterline_cli::{RebuildError, RebuildReport, Rebuilder};
use serde_json::json;
use stack::connection::Connection;
use stack::tables::names;
use stripe::UsageApi;
use tokio::runtime::Handle;

use crate::story::Story;
use crate::story::catalog::{DOCUMENTS, TOKENS};

type Item = HashMap<String, AttributeValue>;

impl Story {
    fn rebuilder(&self) -> Rebuilder {
        let connection = Connection::embedded(self.system.dynamodb_url());
        Rebuilder::new(self.system.ledger().clone(), connection.streams_client())
            .with_stream_delay(Duration::ZERO)
    }

    async fn check(&self) -> RebuildReport {
        self.rebuilder().check(|_| {}).await.unwrap()
    }

    async fn rebuild(&self) -> RebuildReport {
        self.rebuilder().rebuild(|_| {}).await.unwrap()
    }

    /// Billable units, as the report adds them up.
    async fn total_units(&self) -> u64 {
        self.caller.total_units(self.customer_id.as_str()).await
    }

    fn tables(&self) -> aws_sdk_dynamodb::Client {
        Connection::embedded(self.system.dynamodb_url()).client()
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let scanned = self.tables().scan().table_name(table).send().await.unwrap();
        scanned.items.unwrap_or_default()
    }

    /// Sixty events that end in every state there is; what is random is seeded.
    async fn history(&self, seed: u64) {
        let mut random = Random(seed);
        for batch in 0..6 {
            let in_vain = batch % 3 == 2;
            let ids: Vec<_> = (0..10).map(|n| format!("{seed}-{batch}-{n}")).collect();
            self.emit_batch(&ids, in_vain, &mut random).await;
            if random.below(2) == 0 {
                self.pump().await;
            }
            for event_id in &ids {
                self.live_on(event_id, in_vain, random.below(4)).await;
            }
            let seconds = i64::try_from(random.below(9_000)).unwrap();
            self.clock.advance_s(seconds);
        }
    }

    async fn emit_batch(&self, ids: &[String], in_vain: bool, random: &mut Random) {
        let event = |event_id: &String| {
            json!({
                "event_id": event_id, "customer_id": self.customer_id,
                "quantity": random.below(9) + 1, "action_type": "document_processed",
            })
        };
        let events: Vec<_> = ids.iter().map(event).collect();
        if in_vain {
            self.strike("error_before").await;
        }
        let batch = json!({ "events": events });
        let (status, answer) = self.caller.post("/v1/usage/batch", batch).await;
        assert_eq!(status, 200, "{answer}");
        self.heal().await;
    }

    async fn live_on(&self, event_id: &str, in_vain: bool, fate: u64) {
        use UsageStatus::{Delivered, Pending, Quarantined, Rejected};
        match (in_vain, fate) {
            (_, 0) => {
                let (ledger, stripe) = (self.system.ledger(), self.system.stripe());
                let voider = Voider::new(ledger.clone(), stripe.clone(), self.clock.clone());
                let identifier = self.identifier(event_id);
                voider.void(&identifier, None).await.unwrap();
            }
            (false, 1) => self.move_row(event_id, Delivered, Rejected).await,
            (true, 1) => self.move_row(event_id, Pending, Quarantined).await,
            _ => {}
        }
    }
}

/// Knuth's generator: the same history for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[tokio::test]
async fn a_history_of_all_kinds_leaves_no_difference() {
    for seed in [7, 11] {
        println!("seed {seed}");
        let story = Story::start().await;
        story.history(seed).await;
        story.pump().await;
        let report = story.check().await;
        assert_eq!((report.events, report.differences), (60, vec![]));
        story.system.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_under_way_is_never_taken_for_a_difference() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    let refused = story.rebuilder().check(|_| {}).await.unwrap_err();
    assert!(
        matches!(refused, RebuildError::NotAtRest { .. }),
        "{refused}"
    );
    let refused = story.rebuilder().rebuild(|_| {}).await.unwrap_err();
    assert!(
        matches!(refused, RebuildError::NotAtRest { .. }),
        "{refused}"
    );
    story.pump().await;
    assert_eq!(story.check().await.differences, vec![]);
    assert_eq!(story.totals().await, (3, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_while_it_reads_is_seen() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.pump().await;
    for (event_id, is_rolled_up) in [("b", false), ("c", true)] {
        let rebuilder = story.rebuilder();
        // In the middle of the reading, whether the rollup gets to it or not.
        let meddle = |_| {
            tokio::task::block_in_place(|| {
                Handle::current().block_on(async {
                    story.emit(event_id, 5).await;
                    if is_rolled_up {
                        story.pump().await;
                    }
                });
            });
        };
        let refused = rebuilder.check(meddle).await.unwrap_err();
        assert!(
            matches!(refused, RebuildError::NotAtRest { .. }),
            "{refused}"
        );
        story.pump().await;
        assert_eq!(story.check().await.differences, vec![]);
    }
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn planted_differences_are_found_and_set_right() {
    let story = Story::start().await;
    story.history(3).await;
    story.pump().await;
    let units = story.total_units().await;
    story.plant().await;
    assert_eq!(story.total_units().await, units + 5);

    let found = story.check().await;
    let kinds =
        |wanted: fn(&Difference) -> bool| found.differences.iter().filter(|it| wanted(it)).count();
    assert_eq!(found.differences.len(), 2, "{found:?}");
    assert_eq!(kinds(|it| matches!(it, Difference::Total { .. })), 1);
    assert_eq!(kinds(|it| matches!(it, Difference::NotInOutbox { .. })), 1);

    assert_eq!(story.rebuild().await, found);
    assert_eq!(story.check().await.differences, vec![]);
    assert_eq!(story.rebuild().await.differences, vec![]);
    assert_eq!(story.total_units().await, units);

    // The rollup counts on, on top of what was set right.
    story.history(4).await;
    story.pump().await;
    assert_eq!(story.check().await.differences, vec![]);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn totals_that_are_gone_are_made_anew() {
    let story = Story::start().await;
    story.history(5).await;
    story.pump().await;
    let units = story.total_units().await;
    assert_ne!(units, 0);
    story.lose_totals().await;
    assert_eq!(story.total_units().await, 0);
    story.rebuild().await;
    assert_eq!(story.total_units().await, units);
    assert_eq!(story.check().await.differences, vec![]);
    story.system.stop().await.unwrap();
}

/// The meters whose totals differ.
fn meters(report: &RebuildReport) -> Vec<&str> {
    let differences = report.differences.iter();
    differences
        .map(|difference| match difference {
            Difference::Total { key, .. } => key.meter_event_name.as_str(),
            _ => "no total",
        })
        .collect()
}

#[tokio::test]
async fn totals_are_rebuilt_meter_by_meter() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit("a", 3).await;
    story.emit_tokens("b", 700).await;
    story.pump().await;
    // Tokens are counted with documents from now on, within the same hour.
    story
        .store_catalog(&[(DOCUMENTS, "llm.*"), (TOKENS, "document_processed")])
        .await;
    story.emit("c", 5).await;
    story.emit_tokens("d", 50).await;
    story.pump().await;
    assert_eq!(story.check().await.differences, vec![]);

    for meter in [DOCUMENTS, TOKENS] {
        story.lose_totals_of(meter).await;
        let found = story.check().await;
        // An action each.
        assert_eq!(meters(&found), [meter, meter]);
        let told = found.differences[0].to_string();
        assert!(told.contains(meter), "{told}");
        assert_eq!(story.rebuild().await, found);
        assert_eq!(story.check().await.differences, vec![]);
        assert_eq!(story.totals().await, (758, 0));
    }
    story.system.stop().await.unwrap();
}

impl Story {
    /// Five units too many, and something pending that the outbox does not list.
    async fn plant(&self) {
        let tables = self.tables();
        let totals = self.items(&names().usage_totals).await;
        // The units that were delivered in some hour, such as `d07u`.
        let units_of = |item: &Item| {
            let mut names = item.keys();
            let units = names.find(|name| name.starts_with('d') && name.ends_with('u'));
            units.cloned()
        };
        let mut with_units = totals.iter().filter_map(|it| Some((it, units_of(it)?)));
        let (cell, units) = with_units.next().unwrap();
        tables
            .update_item()
            .table_name(names().usage_totals)
            .key("customer_id", cell["customer_id"].clone())
            .key("total_key", cell["total_key"].clone())
            .update_expression(format!("ADD {units} :five"))
            .expression_attribute_values(":five", AttributeValue::N("5".to_owned()))
            .send()
            .await
            .unwrap();
        let log = self.items(&names().usage_events).await;
        let is_pending = |item: &&Item| item["status"].as_s().unwrap() == "pending";
        let pending = log.iter().find(is_pending).unwrap();
        let pending = hex::decode(pending["identifier"].as_s().unwrap()).unwrap();
        let pending = Blob::new(pending);
        for entry in self.items(&names().outbox).await {
            let lists = |set: &AttributeValue| set.as_bs().unwrap().contains(&pending);
            if !entry.get("identifiers").is_some_and(lists) {
                continue;
            }
            tables
                .update_item()
                .table_name(names().outbox)
                .key("bucket", entry["bucket"].clone())
                .key("outbox_key", entry["outbox_key"].clone())
                .update_expression("DELETE identifiers :lost")
                .expression_attribute_values(":lost", AttributeValue::Bs(vec![pending.clone()]))
                .send()
                .await
                .unwrap();
        }
    }

    /// Somebody deletes all totals, and leaves the checkpoints.
    async fn lose_totals(&self) {
        self.lose_totals_of("").await;
    }

    /// The same, of those whose key names `meter`.
    async fn lose_totals_of(&self, meter: &str) {
        for item in self.items(&names().usage_totals).await {
            let customer_id = item["customer_id"].clone();
            let is_total = !customer_id.as_s().unwrap().contains('#');
            if !is_total || !item["total_key"].as_s().unwrap().contains(meter) {
                continue;
            }
            self.tables()
                .delete_item()
                .table_name(names().usage_totals)
                .key("customer_id", customer_id)
                .key("total_key", item["total_key"].clone())
                .send()
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_reserved_is_the_sum_of_its_reservations() {
    let story = Story::start().await;
    for (id, quantity) in [("run-1", 10), ("run-2", 20), ("run-3", 40)] {
        let body = json!({
            "reservation_id": id, "customer_id": story.customer_id, "quantity": quantity,
            "action_type": "document_processed",
        });
        let (status, held) = story.caller.post("/v1/usage/reservations", body).await;
        assert_eq!(status, 201, "{held}");
    }
    // One is settled with fewer units, one expires, one is held.
    let event = json!({
        "event_id": "job-1", "customer_id": story.customer_id, "quantity": 7,
        "action_type": "document_processed", "reservation_id": "run-1",
    });
    let (_, settled) = story.caller.post("/v1/usage", event).await;
    assert_eq!(settled["reservation"], "settled");
    story.pump().await;
    assert_eq!(story.check().await.differences, []);

    let table = &story.system.ledger().tables().usage_totals;
    let rows = story.items(table).await;
    let ends_with = |item: &Item, end: &str| item["total_key"].as_s().unwrap().ends_with(end);
    let sum = rows.iter().find(|item| ends_with(item, "#reserved"));
    let settled = rows.iter().find(|item| {
        item.keys()
            .any(|name| name.len() == 4 && name.starts_with('s'))
    });
    let (sum, settled) = (sum.unwrap(), settled.unwrap());
    assert_eq!(sum["reserved_units"], AttributeValue::N("70".to_owned()));
    let mut wrong = sum.clone();
    wrong.insert(
        "reserved_units".to_owned(),
        AttributeValue::N("3".to_owned()),
    );
    let mut less = settled.clone();
    less.retain(|name, _| name.len() != 4 || !name.starts_with('s'));
    for item in [wrong, less] {
        let put = story.tables().put_item().table_name(table);
        put.set_item(Some(item)).send().await.unwrap();
    }
    let found = story.rebuild().await.differences;
    let is_sum = |it: &&Difference| matches!(it, Difference::Reserved { .. });
    let is_total = |it: &&Difference| matches!(it, Difference::Total { .. });
    assert_eq!(found.iter().filter(is_sum).count(), 1, "{found:?}");
    assert_eq!(found.iter().filter(is_total).count(), 1, "{found:?}");
    assert_eq!(story.check().await.differences, []);
    let again = story.items(table).await;
    let again = again.iter().find(|item| ends_with(item, "#reserved"));
    for figure in ["reserved_units", "reserved_by_meter"] {
        assert_eq!(again.unwrap()[figure], sum[figure]);
    }
    story.system.stop().await.unwrap();
}
