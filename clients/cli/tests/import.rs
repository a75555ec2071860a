//! `meterline import` on the whole system: every row once, whatever the file.

use std::path::PathBuf;

use billing::{HeldReason, UsageStatus};
use metering::{Delivered, Redriven};
use meterline_cli::import::{Format, ImportReport, Importer, Origin, Outcome, Source};
use rusqlite::Connection;
use serde_json::json;
use stripe::{Client, Config, UsageApi};

use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::{DAY_S, Story, findings};

impl Story {
    /// Imports `file` under the name of `source`.
    async fn import(&self, source: &str, file: &str) -> ImportReport {
        self.import_with(source, file, false).await
    }

    async fn import_with(&self, source: &str, file: &str, is_dry_run: bool) -> ImportReport {
        let stripe = self.system.stripe().clone();
        self.import_to(stripe, source, file, is_dry_run).await
    }

    async fn import_to(
        &self,
        stripe: Client,
        source: &str,
        file: &str,
        is_dry_run: bool,
    ) -> ImportReport {
        let path = self.path(file);
        let mut file = Source::open(&path, Format::of(&path).unwrap()).unwrap();
        let mut importer = Importer::new(
            self.system.ledger().clone(),
            stripe,
            self.clock.clone(),
            Origin::Elsewhere(source.parse().unwrap()),
            is_dry_run,
        );
        let mut report = ImportReport::default();
        importer
            .import(&mut file, &mut report, |_| {})
            .await
            .unwrap();
        report
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    /// The audit table of a home-made emitter: quantity and record id of each row.
    fn write_sqlite(&self, file: &str, rows: &[(i64, Option<&str>)]) {
        let connection = Connection::open(self.path(file)).unwrap();
        let create = "CREATE TABLE usage_events (customer_id TEXT, subscription_item_id TEXT,
            quantity INTEGER, action_type TEXT, stripe_record_id TEXT, timestamp INTEGER)";
        connection.execute(create, []).unwrap();
        for (quantity, record_id) in rows {
            let insert = "INSERT INTO usage_events VALUES (?1, NULL, ?2, 'read', ?3, ?4)";
            let customer = self.customer_id.as_str();
            let at = self.now().unix_s();
            connection
                .execute(insert, (customer, quantity, record_id, at))
                .unwrap();
        }
    }

    /// A row of JSON lines, `days` old.
    fn line(&self, id: &str, quantity: u64, days: i64) -> String {
        let row = json!({
            "id": id, "customer_id": self.customer_id, "quantity": quantity,
            "action_type": "read", "timestamp": self.now().unix_s() - days * DAY_S,
        });
        format!("{row}\n")
    }

    /// Rows of JSON lines, of now: their ids and actions, the subscription items
    /// that they name, and Stripe's ids of them.
    fn write_rows(&self, file: &str, rows: &[(&str, &str, Option<&str>, Option<&str>)]) {
        let line = |(id, action_type, item, record_id): &(_, _, _, _)| {
            let row = json!({
                "id": id, "customer_id": self.customer_id, "quantity": 3,
                "action_type": action_type, "timestamp": self.now().unix_s(),
                "subscription_item_id": item, "stripe_record_id": record_id,
            });
            format!("{row}\n")
        };
        let lines: String = rows.iter().map(line).collect();
        self.write(file, &lines);
    }

    /// By which meter each of the rows is counted.
    async fn meters_of(&self, rows: &[&str]) -> Vec<String> {
        let mut meters = Vec::new();
        for id in rows {
            let row = self.row(&format!("import:nightly:{id}")).await;
            meters.push(row.meter_event_name);
        }
        meters
    }
}

/// Outcomes, and how many rows came to each.
fn outcomes(report: &ImportReport) -> Vec<(Outcome, u64)> {
    let outcomes = report.outcomes.iter();
    outcomes
        .map(|(outcome, count)| (*outcome, count.rows))
        .collect()
}

#[tokio::test]
async fn a_second_import_adds_nothing_and_two_sources_do_not_collide() {
    let story = Story::start().await;
    let lines: String = (0..110)
        .map(|n| story.line(&format!("job-{n}"), 2, 0))
        .collect();
    story.write("a.jsonl", &lines);
    let first = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&first), [(Outcome::Delivered, 110)]);
    assert_eq!(first.count_of(Outcome::Delivered).units, 220);
    let second = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&second), [(Outcome::Duplicate, 110)]);
    assert_eq!(story.in_stripe().await, (110, 220));
    let other = story.import("weekly", "a.jsonl").await;
    assert_eq!(outcomes(&other), [(Outcome::Delivered, 110)]);
    assert_eq!(story.in_stripe().await, (220, 440));
    story.pump().await;
    assert_eq!(story.totals().await, (440, 0));
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
}

#[tokio::test]
async fn rows_of_all_formats_come_in_alike() {
    let story = Story::start().await;
    let (id, at) = (story.customer_id.as_str(), story.now());
    story.write("a.jsonl", &story.line("job-1", 3, 0));
    let header = "event_id,customer_id,quantity,action_type,timestamp,stripe_record_id";
    story.write(
        "b.csv",
        &format!(
            "{header}\njob-1,{id},5,read,{at},\n\"job, 2\", {id} ,7,read,{},\n",
            at.unix_s()
        ),
    );
    story.write_sqlite("c.db", &[(11, None), (13, None)]);
    for (file, delivered) in [("a.jsonl", 1), ("b.csv", 2), ("c.db", 2)] {
        let source = file.replace('.', "-");
        let report = story.import(&source, file).await;
        assert_eq!(
            outcomes(&report),
            [(Outcome::Delivered, delivered)],
            "{report:?}"
        );
    }
    assert_eq!(story.in_stripe().await, (5, 39));
    assert_eq!(story.row("import:b-csv:job, 2").await.quantity, 7);
    assert_eq!(story.row("import:c-db#2").await.quantity, 13);
}

#[tokio::test]
async fn what_stripe_has_already_is_noted_and_never_sent() {
    let story = Story::start().await;
    story.write_sqlite(
        "audit.db",
        &[(3, Some("mbur_1")), (5, None), (7, Some("mbur_2"))],
    );
    let report = story.import("nightly", "audit.db").await;
    assert_eq!(
        outcomes(&report),
        [(Outcome::Delivered, 1), (Outcome::AlreadyInStripe, 2)]
    );
    assert!(report.is_clean());
    let row = story.row("import:nightly#1").await;
    assert_eq!(row.status, UsageStatus::Delivered);
    assert_eq!(row.stripe_record_id.as_deref(), Some("mbur_1"));
    story.pump().await;
    assert_eq!(story.totals().await, (15, 0));
    story.clock.advance_s(2 * 60);
    story.system.redeliver().await.unwrap();
    assert_eq!(story.in_stripe().await, (1, 5));
    // A meter does not count usage records: they are set apart, not missed.
    story.rest().await;
    let reconciled = story.reconcile().await;
    assert_eq!(findings(&reconciled), []);
    assert_eq!(reconciled.usage_record_units, 10);
}

#[tokio::test]
async fn bad_rows_are_listed_and_stop_nothing() {
    let story = Story::start().await;
    let stranger = story
        .line("job-4", 1, 0)
        .replace(story.customer_id.as_str(), "cus_stranger");
    let too_long = "x".repeat(70_000);
    let lines = [
        story.line("job-1", 3, 0),
        "not json\n".to_owned(),
        story.line("job-3", 0, 0),
        stranger,
        story.line("job-5", 5, 40),
        "\n".to_owned(),
        format!("{{\"id\": \"{too_long}\"}}\n"),
        "[1]\n".to_owned(),
        story.line("job-9", 7, 1),
        story.line("job-10", 9, 0).trim_end().to_owned(),
    ];
    story.write("a.jsonl", &lines.concat());
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(report.rows, 9);
    assert_eq!(
        outcomes(&report),
        [
            (Outcome::Delivered, 2),
            (Outcome::Held, 1),
            (Outcome::TooOld, 1),
            (Outcome::UnknownCustomer, 1),
            (Outcome::Invalid, 4),
        ],
        "{report:?}"
    );
    let rows: Vec<i64> = report.issues.iter().map(|issue| issue.row).collect();
    assert_eq!(rows, [2, 3, 4, 5, 7, 8, 9]);
    assert_eq!(story.in_stripe().await, (2, 12));
    // What is not recorded leaves no trace, and can come again when it is right.
    story.write("a.jsonl", &story.line("job-5", 5, 0));
    let again = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&again), [(Outcome::Delivered, 1)]);
}

#[tokio::test]
async fn bad_records_of_csv_are_counted_by_their_lines() {
    let story = Story::start().await;
    let (id, at) = (story.customer_id.as_str(), story.now().unix_s());
    let text = format!(
        "customer_id,quantity,action_type,timestamp\n\
         {id},3,read,{at}\n\
         {id},3,read\n\
         {id},three,read,{at}\n\
         \"{id}\",5,read,{at}\n"
    );
    story.write("a.csv", &text);
    let report = story.import("nightly", "a.csv").await;
    assert_eq!(
        outcomes(&report),
        [(Outcome::Delivered, 2), (Outcome::Invalid, 2)]
    );
    let rows: Vec<i64> = report.issues.iter().map(|issue| issue.row).collect();
    assert_eq!(rows, [3, 4], "{report:?}");
    assert_eq!(story.row("import:nightly#5").await.quantity, 5);
}

#[tokio::test]
async fn a_row_that_changed_is_a_conflict_and_stays_as_it_was() {
    let story = Story::start().await;
    story.write("a.jsonl", &story.line("job-1", 3, 0));
    story.import("nightly", "a.jsonl").await;
    story.write("a.jsonl", &story.line("job-1", 4, 0));
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&report), [(Outcome::Conflict, 1)]);
    assert_eq!(report.issues[0].row, 1);
    assert_eq!(story.row("import:nightly:job-1").await.quantity, 3);
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn a_dry_run_records_nothing_and_says_what_a_run_would_do() {
    let story = Story::start().await;
    story.write_sqlite("audit.db", &[(3, Some("mbur_1")), (5, None)]);
    let dry = story.import_with("nightly", "audit.db", true).await;
    assert_eq!(
        outcomes(&dry),
        [(Outcome::ToSend, 1), (Outcome::AlreadyInStripe, 1)]
    );
    assert_eq!(story.in_stripe().await, (0, 0));
    story.pump().await;
    assert_eq!(story.totals().await, (0, 0));
    story.import("nightly", "audit.db").await;
    let dry = story.import_with("nightly", "audit.db", true).await;
    assert_eq!(outcomes(&dry), [(Outcome::Duplicate, 2)]);
}

#[tokio::test]
async fn an_import_that_was_cut_off_is_finished_by_the_next() {
    let story = Story::start().await;
    story.write(
        "a.jsonl",
        &[story.line("job-1", 3, 0), story.line("job-2", 5, 0)].concat(),
    );
    story.strike("error_before").await;
    let first = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&first), [(Outcome::Pending, 2)]);
    story.heal().await;
    let second = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&second), [(Outcome::Duplicate, 2)]);
    assert_eq!(story.in_stripe().await, (2, 8));
    let row = story.row("import:nightly:job-1").await;
    assert_eq!(row.status, UsageStatus::Delivered);
    // Long after, it is still a repeat and not too old.
    story.clock.advance_s(40 * DAY_S);
    let last = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&last), [(Outcome::Duplicate, 2)]);
}

#[tokio::test]
async fn usage_of_a_period_that_is_invoiced_is_carried_over() {
    let story = Story::start().await;
    story.write("a.jsonl", &story.line("job-1", 3, 0));
    // A month later the period that it happened in is billed for good.
    story.clock.advance_s(31 * DAY_S + 600);
    story.settle().await;
    story.clock.advance_s(DAY_S);
    story.settle().await;
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&report), [(Outcome::Delivered, 1)], "{report:?}");
    let row = story.row("import:nightly:job-1").await;
    assert!(row.carried_over);
    assert_eq!(row.billed_at, Some(story.now()));
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
}

#[tokio::test]
async fn rows_go_where_the_catalog_sends_their_actions() {
    let story = Story::start().await;
    story.sell_tokens().await;
    story.write_rows(
        "a.jsonl",
        &[
            ("document", "document_processed", None, None),
            ("token", "llm.output", None, None),
            ("other", "read", None, None),
            // Whatever it names: nothing bills it yet.
            ("named", "llm.output", Some("si_old"), None),
        ],
    );
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(
        outcomes(&report),
        [
            (Outcome::Delivered, 1),
            (Outcome::Held, 2),
            (Outcome::Invalid, 1)
        ]
    );
    let reasons: Vec<&str> = report.issues.iter().map(|it| it.reason.as_str()).collect();
    assert!(
        reasons[0].contains("`meterline catalog subscribe`"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("read is not in the catalog"),
        "{reasons:?}"
    );
    let held = story.row("import:nightly:token").await;
    assert_eq!(held.held_reason, Some(HeldReason::NoSubscriptionItem));
    assert_eq!(
        story.meters_of(&["document", "token"]).await,
        [DOCUMENTS, TOKENS]
    );
    assert_eq!(story.in_stripe().await, (1, 3));

    story.subscribe_to_tokens().await;
    // By the story's clock: to the program's, months have passed, and it would carry over.
    let redriven = story.redrive("import:nightly:token").await;
    let is_sent = matches!(redriven, Redriven::Sent(Delivered::Delivered));
    assert!(is_sent, "{redriven:?}");
    assert_eq!(story.in_stripe().await, (2, 6));
    let again = story.import("nightly", "a.jsonl").await;
    assert_eq!(
        outcomes(&again),
        [(Outcome::Duplicate, 3), (Outcome::Invalid, 1)]
    );
}

#[tokio::test]
async fn what_stripe_has_is_noted_under_the_item_that_has_it() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    let row = story.customer().await;
    let tokens = row
        .item_of_meter(TOKENS)
        .unwrap()
        .subscription_item_id
        .as_str();
    story.write_rows(
        "a.jsonl",
        &[
            // The item says more than the catalog, which is from later.
            ("named", "document_processed", Some(tokens), Some("mbur_1")),
            ("uncovered", "read", Some(tokens), Some("mbur_2")),
            // An item of another subscription says nothing.
            (
                "stranger",
                "document_processed",
                Some("si_old"),
                Some("mbur_3"),
            ),
            ("unnamed", "llm.output", None, Some("mbur_4")),
            ("nowhere", "read", None, Some("mbur_5")),
        ],
    );
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(
        outcomes(&report),
        [(Outcome::AlreadyInStripe, 4), (Outcome::Invalid, 1)]
    );
    assert_eq!(report.issues[0].row, 5);
    assert_eq!(
        story
            .meters_of(&["named", "uncovered", "stranger", "unnamed"])
            .await,
        [TOKENS, TOKENS, DOCUMENTS, TOKENS]
    );
    assert_eq!(story.in_stripe().await, (0, 0));
}

#[tokio::test]
async fn a_row_names_the_item_that_bills_its_action_or_none() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    let row = story.customer().await;
    let item = |event_name| {
        let item = row.item_of_meter(event_name).unwrap();
        Some(item.subscription_item_id.as_str())
    };
    story.write_rows(
        "a.jsonl",
        &[
            ("right", "llm.output", item(TOKENS), None),
            ("wrong", "llm.output", item(DOCUMENTS), None),
        ],
    );
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(
        outcomes(&report),
        [(Outcome::Delivered, 1), (Outcome::Invalid, 1)]
    );
    let reason = &report.issues[0].reason;
    assert!(
        reason.starts_with("subscription_item_id is not the"),
        "{reason}"
    );
}

#[tokio::test]
async fn usage_that_the_price_cannot_take_is_not_recorded() {
    let story = Story::start().await;
    story.write("a.jsonl", &story.line("job-1", 3, 0));
    let key = story.system.stripe_secret_key().clone();
    let config = Config::new(key)
        .with_api_base(story.system.stripe_url())
        .with_usage_api(UsageApi::UsageRecord);
    let stripe = Client::new(config).unwrap();
    let report = story.import_to(stripe, "nightly", "a.jsonl", false).await;
    assert_eq!(outcomes(&report), [(Outcome::Invalid, 1)]);
    let reason = &report.issues[0].reason;
    assert!(
        reason.contains("takes no usage by usage_record: set USAGE_API"),
        "{reason}"
    );
    // With the API that the price needs, it comes in.
    let report = story.import("nightly", "a.jsonl").await;
    assert_eq!(outcomes(&report), [(Outcome::Delivered, 1)]);
}
