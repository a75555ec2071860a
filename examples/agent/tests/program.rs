//! The program itself: its command line, output and exit status.

use std::process::{Command, Output};

use crate::support::{BICYCLE_CHAIN_EVENT_ID, KEY, Scripted, Step, problem, start_anthropic};

use serde_json::Value;

/// Runs the program off the threads that serve it.
async fn agent(meterline: &Scripted, anthropic_url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command
        .args(arguments)
        .args([
            "--customer",
            "cus_1",
            "--job",
            "monday",
            "--retry-for-ms",
            "50",
        ])
        .env("METERLINE_URL", &meterline.url)
        .env("METERLINE_API_KEY", KEY)
        .env("ANTHROPIC_BASE_URL", anthropic_url)
        .env("ANTHROPIC_API_KEY", "key");
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

const DOCUMENTS: [&str; 3] = [
    "documents",
    "--dir",
    concat!(env!("CARGO_MANIFEST_DIR"), "/../documents"),
];

fn json_lines(output: &Output) -> Vec<Value> {
    let text = str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_prints_a_line_for_each() {
    let anthropic = start_anthropic().await;
    let meterline = Scripted::start([], Step::Record).await;
    let output = agent(&meterline, &anthropic, &DOCUMENTS).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 5);
    assert!(
        text.lines().all(|line| line.ends_with(" … [delivered]")),
        "{text}"
    );

    let again = agent(&meterline, &anthropic, &DOCUMENTS).await;
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(
        text.lines()
            .all(|line| line.ends_with(" … [billed before]")),
        "{text}"
    );

    let mut json = DOCUMENTS.to_vec();
    json.push("--json");
    let lines = json_lines(&agent(&meterline, &anthropic, &json).await);
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["document"], "caring-for-a-bicycle-chain.txt");
    assert_eq!(lines[0]["event_id"], BICYCLE_CHAIN_EVENT_ID);
    assert_eq!(lines[0]["duplicate"], true);
    assert_eq!(lines[0]["quantity"], 1);
    assert!(lines[0]["summary"].as_str().unwrap().len() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_names_a_subscription_item_only_if_it_is_given_one() {
    let anthropic = start_anthropic().await;
    let meterline = Scripted::start([], Step::Record).await;
    let named = [&DOCUMENTS[..], &["--subscription-item", "si_1"]].concat();
    for (arguments, item) in [(&DOCUMENTS[..], None), (&named[..], Some("si_1"))] {
        let sent_before = meterline.requests().len();
        let output = agent(&meterline, &anthropic, arguments).await;
        assert!(output.status.success(), "{output:?}");
        let sent = meterline.requests().split_off(sent_before);
        assert_eq!(sent.len(), 5);
        for event in sent {
            assert_eq!(event["subscription_item_id"].as_str(), item);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_stops_where_it_cannot_bill() {
    let anthropic = start_anthropic().await;
    let meterline = Scripted::start([Step::Record], problem(401, "Unauthorized", "")).await;
    let output = agent(&meterline, &anthropic, &DOCUMENTS).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("summary withheld"), "{complaint}");
    assert!(!complaint.contains(KEY));
    assert_eq!(meterline.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_fails_until_everything_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let arguments = [
        "operations",
        "--count",
        "30",
        "--json",
        "--journal",
        journal.to_str().unwrap(),
    ];
    let resume = [&arguments[..], &["--resume"]].concat();
    let meterline = Scripted::start(vec![Step::Record; 10], Step::Vanish).await;

    let output = agent(&meterline, "http://127.0.0.1:9", &arguments).await;
    assert_eq!(output.status.code(), Some(1));
    let summary = &json_lines(&output)[0];
    assert_eq!(
        (&summary["acknowledged"], &summary["unknown"]),
        (&10.into(), &20.into())
    );
    assert!(summary["last_answer_unix_ms"].is_u64());

    meterline.then_always(Step::Record);
    let again = agent(&meterline, "http://127.0.0.1:9", &arguments).await;
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("has entries: resume it")
    );
    let output = agent(&meterline, "http://127.0.0.1:9", &resume).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json_lines(&output)[0]["acknowledged"], 20);
    assert_eq!(meterline.recorded().len(), 30);
}
