//! A thousand operations, a server that vanishes, and the journal in between.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use agent::job::Job;
use agent::journal::{Entry, Journal, Outcome};
use agent::operations::{Operations, OperationsError, Summary};

use crate::support::{Scripted, Step, problem};

const COUNT: u64 = 200;

fn operations() -> Operations {
    Operations {
        customer_id: "cus_1".to_owned(),
        subscription_item_id: None,
        action_type: "document_processed".to_owned(),
        job: Job::parse("load").unwrap(),
        count: COUNT,
        concurrency: NonZeroUsize::new(16).unwrap(),
    }
}

async fn run(meterline: &Scripted, journal: &Path, retry_for_ms: u64) -> Summary {
    let (journal, entries) = Journal::resume(journal).unwrap();
    let clients = meterline.clients(Duration::from_millis(retry_for_ms));
    operations().run(clients, journal, &entries).await.unwrap()
}

fn entries(journal: &Path) -> Vec<Entry> {
    Journal::resume(journal).unwrap().1
}

fn ids(entries: &[Entry], outcome: Outcome) -> BTreeSet<String> {
    let of_outcome = entries.iter().filter(|entry| entry.outcome == outcome);
    of_outcome.map(|entry| entry.event_id.clone()).collect()
}

#[tokio::test]
async fn every_operation_is_recorded_and_journalled_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let meterline = Scripted::start([], Step::Record).await;
    let summary = run(&meterline, &journal, 60_000).await;
    assert!(summary.is_complete());
    assert_eq!((summary.acknowledged, summary.duplicates), (COUNT, 0));
    assert!(summary.first_answer_unix_ms.unwrap() <= summary.last_answer_unix_ms.unwrap());
    let expected: BTreeSet<String> = (1..=COUNT).map(|n| format!("load-op-{n}")).collect();
    assert_eq!(meterline.recorded(), expected);
    assert_eq!(ids(&entries(&journal), Outcome::Acknowledged), expected);
    let line = std::fs::read_to_string(&journal).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(line["outcome"], "acknowledged");
    assert_eq!(line["status"], "delivered");
    assert_eq!(line["duplicate"], false);
}

#[tokio::test]
async fn what_a_vanished_server_left_unknown_is_emitted_again_under_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut script = vec![Step::Record; 50];
    script.extend(vec![Step::RecordAndVanish; 10]);
    let meterline = Scripted::start(script, Step::Vanish).await;
    let summary = run(&meterline, &journal, 100).await;
    assert!(!summary.is_complete());
    assert_eq!(summary.acknowledged, 50);
    assert_eq!(summary.unknown, COUNT - 50);
    let acknowledged = ids(&entries(&journal), Outcome::Acknowledged);
    let emitted_before = meterline.requests().len();

    meterline.then_always(Step::Record);
    let summary = run(&meterline, &journal, 60_000).await;
    assert!(summary.is_complete());
    assert_eq!(summary.acknowledged_before, 50);
    assert_eq!(summary.acknowledged, COUNT - 50);
    assert!(
        (1..=10).contains(&summary.duplicates),
        "recorded, but the answer was lost: {summary:?}"
    );
    let emitted_again: BTreeSet<String> = meterline
        .requested_ids()
        .split_off(emitted_before)
        .into_iter()
        .collect();
    assert!(emitted_again.is_disjoint(&acknowledged));
    assert_eq!(meterline.recorded().len() as u64, COUNT);

    let summary = run(&meterline, &journal, 60_000).await;
    assert_eq!(summary.acknowledged_before, COUNT);
    assert_eq!(
        (summary.acknowledged, summary.last_answer_unix_ms),
        (0, None)
    );
}

#[tokio::test]
async fn a_short_silence_is_ridden_out() {
    let folder = tempfile::tempdir().unwrap();
    let meterline = Scripted::start(vec![Step::Vanish; 40], Step::Record).await;
    let summary = run(&meterline, &folder.path().join("journal"), 60_000).await;
    assert_eq!(summary.acknowledged, COUNT);
}

#[tokio::test]
async fn refusals_are_journalled_with_their_reason_and_owed_still() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let refusal = problem(404, "No such customer", "cus_1");
    let meterline = Scripted::start(vec![refusal; 3], Step::Record).await;
    let summary = run(&meterline, &journal, 60_000).await;
    assert_eq!((summary.acknowledged, summary.refused), (COUNT - 3, 3));
    let refused = ids(&entries(&journal), Outcome::Refused);
    let reason = entries(&journal).into_iter().find_map(|entry| entry.reason);
    assert_eq!(reason.as_deref(), Some("No such customer: cus_1"));
    let emitted_before = meterline.requests().len();
    assert!(run(&meterline, &journal, 60_000).await.is_complete());
    let again = meterline.requested_ids().split_off(emitted_before);
    assert_eq!(BTreeSet::from_iter(again), refused);
}

#[tokio::test]
async fn a_journal_is_not_resumed_for_another_customer_or_job() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let meterline = Scripted::start([], Step::Record).await;
    run(&meterline, &path, 60_000).await;
    let mut other_customer = operations();
    other_customer.customer_id = "cus_2".to_owned();
    let mut other_job = operations();
    other_job.job = Job::parse("other").unwrap();
    for other in [other_customer, other_job] {
        let (journal, entries) = Journal::resume(&path).unwrap();
        let clients = meterline.clients(Duration::ZERO);
        let refused = other.run(clients, journal, &entries).await;
        assert!(matches!(refused, Err(OperationsError::OtherRun { .. })));
    }
    assert_eq!(meterline.requests().len() as u64, COUNT);
}
