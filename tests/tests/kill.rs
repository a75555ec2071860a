//! `kill -9` in the middle of a thousand operations, and a start on what is
//! left: the agent, a process of its own, notes every answer on disk.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use billing::{CustomerId, Timestamp};
use ledger::Ledger;
use serde_json::{Value, json};
use stack::connection::Connection;
use support::{LocalProcess, free_ports, until};

const OPERATIONS: usize = 1_000;
/// Lines of the journal after which the system is killed.
const KILL_AFTER: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports();
    let journal = folder.path().join("journal.jsonl");
    let mut local = LocalProcess::start(folder.path(), ports).await;
    let customer = local.onboard("killed").await;

    let mut agent = local.agent(&customer, &journal, OPERATIONS, false);
    let mut agent = agent.spawn().unwrap();
    until("the journal", async || {
        (lines_of(&journal).len() >= KILL_AFTER).then_some(())
    })
    .await;
    assert!(agent.try_wait().unwrap().is_none(), "the agent ended early");
    local.kill().await;
    let acknowledged_before_the_kill = acknowledged(&journal).len();
    assert!(acknowledged_before_the_kill < OPERATIONS);

    let local = LocalProcess::start(folder.path(), ports).await;
    agent.wait().await.unwrap();
    // What the journal does not show as acknowledged is emitted again.
    let resumed = local.agent(&customer, &journal, OPERATIONS, true).status();
    assert!(resumed.await.unwrap().success());
    let acknowledged = acknowledged(&journal);
    assert_eq!(acknowledged.len(), OPERATIONS);

    local.report_reaches(&customer, OPERATIONS).await;
    assert_eq!(audit_log(&local, &customer).await, acknowledged);
    assert_eq!(
        local.identifiers_in_stripe(&customer).await.len(),
        OPERATIONS
    );
    assert_eq!(local.units_in_stripe(&customer).await, OPERATIONS as u64);
    local.stop().await;
}

fn lines_of(journal: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The ids of the events that the agent was told are recorded.
fn acknowledged(journal: &Path) -> BTreeSet<String> {
    lines_of(journal)
        .iter()
        .filter(|entry| entry["outcome"] == json!("acknowledged"))
        .filter_map(|entry| entry["event_id"].as_str().map(str::to_owned))
        .collect()
}

/// The ids of the events in the audit log.
async fn audit_log(local: &LocalProcess, customer: &str) -> BTreeSet<String> {
    let client = Connection::elsewhere(local.variable("AWS_ENDPOINT_URL_DYNAMODB")).client();
    let names = stack::tables::create_tables(&client).await.unwrap();
    let ledger = Ledger::new(client, names);
    let customer = CustomerId::parse(customer).unwrap();
    let (from, to) = (
        Timestamp::from_unix_s(946_684_800),
        Timestamp::from_unix_s(4_102_444_800),
    );
    let events = ledger
        .usage_events_of_customer(&customer, from, to)
        .await
        .unwrap();
    assert_eq!(events.len(), OPERATIONS);
    events
        .into_iter()
        .map(|event| event.event_id.as_str().to_owned())
        .collect()
}
