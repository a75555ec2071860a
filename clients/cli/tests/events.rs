//! `meterline events`: a customer's audit log, listed, followed and written to a
//! file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use audit::{EventFilter, ExportFormat};
use billing::UsageStatus;
use meterline_cli::events::{Export, ExportError, Follower};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::story::{MINUTE_S, Story};

/// Events of several pages: one has 2,000.
const EVENTS: u32 = 4_500;

fn ids(lines: &str) -> Vec<String> {
    let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let id = |line: &str| event(line)["event_id"].as_str().unwrap().to_owned();
    lines.lines().map(id).collect()
}

impl Story {
    fn export_to(&self, path: &Path) -> Export {
        Export {
            customer_id: self.customer_id.clone(),
            filter: EventFilter::default(),
            format: ExportFormat::Jsonl,
            path: path.to_owned(),
            replace: false,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Records so many events, a millisecond or so apart, without sending any.
    async fn record_many(&self, count: u32) {
        let customer = self.system.ledger().customer(&self.customer_id).await;
        let meter = customer.unwrap().unwrap().item.meter_event_name;
        let calls = (0..count).map(|n| self.record(n, &meter)).collect();
        metering::in_order(calls, 32).await;
    }

    async fn record(&self, n: u32, meter: &str) {
        use billing::{ActionType, BillingTime, EventId, Quantity, UsageEvent};
        let at = self.now().plus_ms(-i64::from(n / 3));
        let event = UsageEvent {
            event_id: EventId::parse(&format!("event {n}")).unwrap(),
            customer_id: self.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(u64::from(n % 7 + 1)).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: Some(at),
            source: None,
        };
        let billed = BillingTime::Billable {
            billed_at: at,
            period_start: self.now(),
            carried_over: false,
        };
        let row = ledger::UsageEventRow::new(&event, at, billed, meter, n.to_string(), at);
        let ledger = self.system.ledger();
        ledger.record_usage_event(&row, at, 0).await.unwrap();
    }
}

/// What ends a process in the midst of a page: its future is dropped.
async fn cut_off(export: &Export, ledger: &ledger::Ledger, after_pages: usize) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let run = export.run(ledger, |_| tell.send(()).unwrap());
    let enough = async {
        for _ in 0..after_pages {
            told.recv().await.unwrap();
        }
    };
    tokio::select! {
        biased;
        () = enough => {}
        ended = run => panic!("it ran through: {ended:?}"),
    }
}

#[tokio::test]
async fn an_export_that_is_cut_short_goes_on_and_ends_as_the_same_file() {
    let story = Story::start().await;
    story.record_many(EVENTS).await;
    let ledger = story.system.ledger();
    let (whole, resumed) = (story.file("whole.jsonl"), story.file("resumed.jsonl"));
    let summary = story.export_to(&whole).run(ledger, |_| {}).await.unwrap();
    let text = fs::read_to_string(&whole).unwrap();
    assert_eq!(summary.events, u64::from(EVENTS));
    assert_eq!(summary.bytes, text.len() as u64);
    let units: u64 = (0..EVENTS).map(|n| u64::from(n % 7 + 1)).sum();
    assert_eq!(summary.units[&UsageStatus::Pending], units);
    let mut there = ids(&text);
    there.sort();
    there.dedup();
    assert_eq!(there.len(), EVENTS as usize);

    let export = story.export_to(&resumed);
    cut_off(&export, ledger, 1).await;
    // Half a line more reached the disk.
    let half = fs::read_to_string(&resumed).unwrap() + "{\"event_id\": \"ha";
    fs::write(&resumed, half).unwrap();
    assert!(story.file("resumed.jsonl.resume").exists());
    // What is asked for now is not what was begun.
    let other = Export {
        format: ExportFormat::Csv,
        ..export.clone()
    };
    let refused = other.run(ledger, |_| {}).await.unwrap_err();
    assert!(matches!(refused, ExportError::Other(_)), "{refused}");
    cut_off(&export, ledger, 1).await;
    let mut pages = 0;
    let again = export.run(ledger, |_| pages += 1).await.unwrap();
    assert_eq!((again, pages), (summary, 1));
    assert_eq!(fs::read_to_string(&resumed).unwrap(), text);
    assert!(!story.file("resumed.jsonl.resume").exists());

    let refused = export.run(ledger, |_| {}).await.unwrap_err();
    assert!(matches!(refused, ExportError::Exists(_)), "{refused}");
    let replacing = Export {
        replace: true,
        ..export
    };
    replacing.run(ledger, |_| {}).await.unwrap();
    assert_eq!(fs::read_to_string(&resumed).unwrap(), text);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_follower_meets_each_event_once_whenever_it_is_recorded() {
    let story = Story::start().await;
    story.emit("first", 1).await;
    story.clock.advance_s(10);
    story.emit("second", 1).await;
    let ledger = story.system.ledger().clone();
    let id = story.customer_id.clone();
    let mut follower = Follower::new(ledger, id, EventFilter::default(), false);
    let event_ids = |rows: Vec<ledger::UsageEventRow>| -> Vec<String> {
        let ids = rows.iter().map(|row| row.event_id.as_str().to_owned());
        ids.collect()
    };
    let there = follower.begin(1, story.now()).await.unwrap();
    assert_eq!(event_ids(there), ["second"]);
    let none = follower.next(story.now()).await.unwrap();
    assert_eq!(event_ids(none), [""; 0]);
    let occurred_s = story.now().unix_s() - 30;
    for n in 0..3 {
        let event = serde_json::json!({
            "event_id": format!("late {n}"), "customer_id": story.customer_id, "quantity": 1,
            "action_type": "document_processed", "occurred_at": occurred_s + n,
        });
        let (status, _) = story.caller.post("/v1/usage", event).await;
        assert_eq!(status, 200);
        story.clock.advance_s(1);
        story.emit(&format!("new {n}"), 1).await;
        let met = follower.next(story.now()).await.unwrap();
        assert_eq!(event_ids(met), [format!("late {n}"), format!("new {n}")]);
    }
    // One that is told of ahead of time hides none of the present.
    let ahead = serde_json::json!({
        "event_id": "ahead", "customer_id": story.customer_id, "quantity": 1,
        "action_type": "document_processed", "occurred_at": story.now().unix_s() + 4 * MINUTE_S,
    });
    let (status, _) = story.caller.post("/v1/usage", ahead).await;
    assert_eq!(status, 200);
    assert_eq!(
        event_ids(follower.next(story.now()).await.unwrap()),
        ["ahead"]
    );
    story.emit("present", 1).await;
    assert_eq!(
        event_ids(follower.next(story.now()).await.unwrap()),
        ["present"]
    );
    assert_eq!(
        event_ids(follower.next(story.now()).await.unwrap()),
        [""; 0]
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn the_program_lists_and_writes_what_it_is_asked_for() {
    let story = Story::start().await;
    for (event_id, quantity) in [("job-1", 1), ("=1+1", 2), ("\u{1b}[31mred", 3)] {
        story.emit(event_id, quantity).await;
        story.clock.advance_s(MINUTE_S);
    }
    story.strike("error_before").await;
    story.emit("waits", 4).await;
    let id = story.customer_id.as_str();
    let (status, out, err) = story.meterline(&["events", "list", id]).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 5, "{out}");
    assert!(
        lines[1].contains("pending") && lines[1].contains("\"waits\""),
        "{out}"
    );
    assert!(
        lines[4].contains("delivered") && lines[4].contains("\"job-1\""),
        "{out}"
    );
    // Nothing of an id reaches the terminal as it is.
    assert!(!out.contains('\u{1b}'), "{out:?}");

    let filtered = [
        "events",
        "list",
        id,
        "--json",
        "--status",
        "delivered",
        "--limit",
        "2",
    ];
    let (status, out, err) = story.meterline(&filtered).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(ids(&out), ["\u{1b}[31mred", "=1+1"]);
    let oldest = [
        "events",
        "list",
        id,
        "--json",
        "--oldest-first",
        "--limit",
        "1",
    ];
    assert_eq!(ids(&story.meterline(&oldest).await.1), ["job-1"]);

    let file = story.file("events.csv");
    let path = file.to_str().unwrap();
    let export = ["events", "export", id, "--out", path];
    let (status, out, err) = story.meterline(&export).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.contains("4 events"), "{out}");
    assert!(out.contains("units: 4 pending, 6 delivered"), "{out}");
    let csv = fs::read_to_string(&file).unwrap();
    assert!(csv.contains("\r\n\"'=1+1\","), "{csv}");
    let (status, _, err) = story.meterline(&export).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("is there already"), "{err}");

    let (status, _, err) = story.meterline(&["events", "list", "cus_nobody"]).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("there is no customer cus_nobody"), "{err}");
    let (status, _, err) = story
        .meterline(&["events", "list", id, "--status", "gone"])
        .await;
    assert_eq!(status, Some(2));
    assert!(err.contains("no such status"), "{err}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn the_program_shows_what_is_known_of_a_customer() {
    let story = Story::start().await;
    story.emit("job-1", 1_000).await;
    story.emit("wrong", 7).await;
    story.void("wrong").await.unwrap();
    story.strike("error_before").await;
    story.emit("waits", 5).await;
    story.pump().await;
    let id = story.customer_id.as_str();
    let (status, out, err) = story.meterline(&["customer", "show", id]).await;
    assert_eq!(status, Some(0), "{out}{err}");
    for text in [
        &format!("{id}  active  \"first\""),
        "20.10 usd so far",
        "agent_operations  1005   5        20.10 usd",
        "7 units voided",
        "paid",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let (status, out, err) = story.meterline(&["customer", "show", id, "--json"]).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["meters"][0]["units"], 1_005);
    assert_eq!(shown["meters"][0]["pending_units"], 5);
    assert_eq!(
        (&shown["cost"], &shown["held_units"]),
        (&"20.10".into(), &0.into())
    );
    assert_eq!(shown["invoices"].as_array().unwrap().len(), 1);
    assert_eq!(shown["spending_limit"], Value::Null);
    let (status, _, err) = story.meterline(&["customer", "show", "cus_nobody"]).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("there is no customer cus_nobody"), "{err}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_customer_is_shown_with_its_limit_and_what_is_left_of_it() {
    let story = Story::start().await;
    let id = story.customer_id.as_str();
    let set = ["limit", "set", id, "--amount", "1.00", "--hard"];
    let (status, _, err) = story.meterline(&set).await;
    assert_eq!(status, Some(0), "{err}");
    story.emit("job-1", 41).await;
    story.rest().await;
    let (status, out, err) = story.meterline(&["customer", "show", id]).await;
    assert_eq!(status, Some(0), "{out}{err}");
    for text in [
        "limit     1.00 usd a period, hard",
        "used      41 units, 0.82 usd: 82 %",
        "left      0.18 usd",
        "alert     80 % since 20",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let (_, out, _) = story.meterline(&["customer", "show", id, "--json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    let path = format!("/v1/customers/{id}/spending-limit");
    let (status, of_api) = story.caller.get(&path).await;
    assert_eq!(status, 200, "{of_api}");
    assert_eq!(shown["spending_limit"], of_api["spending_limit"]);
    assert_eq!(of_api["spending_limit"]["left_amount"], "0.18");
    story.system.stop().await.unwrap();
}

/// As in `meterline events list | head`.
#[tokio::test]
async fn a_list_ends_without_a_complaint_when_nobody_reads_on() {
    let story = Story::start().await;
    story.record_many(EVENTS).await;
    let list = [
        "events",
        "list",
        story.customer_id.as_str(),
        "--json",
        "--limit",
        "4500",
    ];
    let mut command = story.meterline_command(&list);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Far less than there is: a pipe holds 64 KiB.
    let mut begun = [0; 100];
    let mut read = child.stdout.take().unwrap();
    read.read_exact(&mut begun).await.unwrap();
    drop(read);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    story.system.stop().await.unwrap();
}
