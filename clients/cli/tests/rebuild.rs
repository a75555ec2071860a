//! Totals and outbox against the audit log, after a history of all kinds.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod story;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::UsageStatus;
use metering::Voider;
use meterline_cli::rebuild::Difference;
use meterline_cli::{RebuildError, RebuildReport, Rebuilder};
use stack::connection::Connection;
use stack::tables::names;
use story::Story;

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

    fn tables(&self) -> aws_sdk_dynamodb::Client {
        Connection::embedded(self.system.dynamodb_url()).client()
    }

    async fn items(&self, table: &str) -> Vec<Item> {
        let scanned = self.tables().scan().table_name(table).send().await.unwrap();
        scanned.items.unwrap_or_default()
    }

    /// Forty events that end in every state there is; what is random is seeded.
    async fn history(&self, seed: u64) {
        let mut random = seed;
        let mut next = move |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for number in 0..40 {
            let event_id = format!("event-{seed}-{number}");
            let quantity = next(9) + 1;
            let in_vain = next(3) == 0;
            if in_vain {
                self.strike("error_before").await;
            }
            self.emit(&event_id, quantity).await;
            self.heal().await;
            match (in_vain, next(4)) {
                (false, 0) => {
                    let (ledger, stripe) = (self.system.ledger(), self.system.stripe());
                    let voider = Voider::new(ledger.clone(), stripe.clone(), self.clock.clone());
                    let identifier = self.identifier(&event_id);
                    voider.void(&identifier, None).await.unwrap();
                }
                (false, 1) => {
                    self.move_row(&event_id, UsageStatus::Delivered, UsageStatus::Rejected)
                        .await;
                }
                (true, 0) => {
                    self.move_row(&event_id, UsageStatus::Pending, UsageStatus::Quarantined)
                        .await;
                }
                _ => {}
            }
            self.clock.advance_s(i64::try_from(next(4_000)).unwrap());
            if next(5) == 0 {
                self.pump().await;
            }
        }
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
        assert_eq!((report.events, report.differences), (40, vec![]));
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

#[tokio::test]
async fn a_change_while_it_reads_is_seen() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.pump().await;
    // Recorded and even rolled up between the two looks.
    let mut report = Box::pin(story.rebuilder_with_delay());
    let refused = tokio::select! {
        biased;
        refused = &mut report => refused,
        () = async {
            story.emit("b", 5).await;
            story.pump().await;
            std::future::pending::<()>().await;
        } => unreachable!("pending for ever"),
    };
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, RebuildError::NotAtRest { .. }),
        "{refused}"
    );
    drop(report);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn planted_differences_are_found_and_set_right() {
    let story = Story::start().await;
    story.history(3).await;
    story.pump().await;
    let (delivered, pending) = story.totals().await;
    assert!(delivered > 0 && pending > 0);
    story.plant().await;
    assert_eq!(story.totals().await.0, delivered + 5);

    let found = story.check().await;
    let kinds =
        |wanted: fn(&Difference) -> bool| found.differences.iter().filter(|it| wanted(it)).count();
    assert_eq!(found.differences.len(), 3, "{found:?}");
    assert_eq!(kinds(|it| matches!(it, Difference::Total { .. })), 1);
    assert_eq!(kinds(|it| matches!(it, Difference::NotInOutbox(_))), 1);
    assert_eq!(kinds(|it| matches!(it, Difference::NotPending(_))), 1);

    assert_eq!(story.rebuild().await, found);
    assert_eq!(story.check().await.differences, vec![]);
    assert_eq!(story.rebuild().await.differences, vec![]);
    assert_eq!(story.totals().await, (delivered, pending));

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
    let totals = story.totals().await;
    story.lose_totals().await;
    assert_eq!(story.totals().await, (0, 0));
    story.rebuild().await;
    assert_eq!(story.totals().await, totals);
    assert_eq!(story.check().await.differences, vec![]);
    story.system.stop().await.unwrap();
}

impl Story {
    fn rebuilder_with_delay(
        &self,
    ) -> impl Future<Output = Result<RebuildReport, RebuildError>> + use<> {
        let delay = Duration::from_millis(1_500);
        let rebuilder = self.rebuilder().with_stream_delay(delay);
        async move { rebuilder.check(|_| {}).await }
    }

    /// Five units too many, an entry of the outbox lost, and one too many.
    async fn plant(&self) {
        let tables = self.tables();
        let totals = self.items(&names().usage_totals).await;
        let cell = totals
            .into_iter()
            .find(|item| item.contains_key("delivered_units"))
            .unwrap();
        tables
            .update_item()
            .table_name(names().usage_totals)
            .key("customer_id", cell["customer_id"].clone())
            .key("total_key", cell["total_key"].clone())
            .update_expression("ADD delivered_units :five")
            .expression_attribute_values(":five", AttributeValue::N("5".to_owned()))
            .send()
            .await
            .unwrap();
        let outbox = self.items(&names().outbox).await;
        let entry = outbox
            .into_iter()
            .find(|item| item.contains_key("identifier"))
            .unwrap();
        let place = |outbox_key: AttributeValue| {
            HashMap::from([
                ("bucket".to_owned(), entry["bucket"].clone()),
                ("outbox_key".to_owned(), outbox_key),
            ])
        };
        tables
            .delete_item()
            .table_name(names().outbox)
            .set_key(Some(place(entry["outbox_key"].clone())))
            .send()
            .await
            .unwrap();
        let mut stale = place(AttributeValue::S("0000000000001#stale".to_owned()));
        stale.insert("identifier".to_owned(), entry["identifier"].clone());
        let put = tables.put_item().table_name(names().outbox);
        put.set_item(Some(stale)).send().await.unwrap();
    }

    /// Somebody deletes all totals, and leaves the checkpoints.
    async fn lose_totals(&self) {
        for item in self.items(&names().usage_totals).await {
            let customer_id = item["customer_id"].clone();
            if customer_id.as_s().unwrap().contains('#') {
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
