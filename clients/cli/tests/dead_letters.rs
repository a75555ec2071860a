//! `meterline dead-letters`, the program itself: what Lambda gave up is listed, done
//! again, and gone.

use billing::UsageStatus;
use serde_json::{Value, json};

use crate::queues::Queues;
use crate::story::{MINUTE_S, Story};

const NAMES: [&str; 3] = ["redelivery", "rollup", "webhook"];

fn failed_run(at: &str) -> Value {
    json!({
        "version": "1.0", "timestamp": at,
        "requestContext": { "condition": "RetriesExhausted" },
        "responsePayload": { "errorMessage": "the outbox cannot be read" },
    })
}

fn failed_batch() -> Value {
    json!({
        "version": "1.0", "timestamp": "2026-07-20T00:00:00Z",
        "requestContext": { "condition": "RetryAttemptsExhausted" },
        "DDBStreamBatchInfo": {
            "shardId": "shardId-1", "startSequenceNumber": "100",
            "endSequenceNumber": "199", "batchSize": 50,
        },
    })
}

async fn dead_letters(story: &Story, queues: &Queues, does: &str) -> (Option<i32>, String, String) {
    let urls = NAMES.map(|name| queues.queue_url(name));
    let variables = NAMES.map(|name| format!("{}_DEAD_LETTERS_URL", name.to_uppercase()));
    let mut more: Vec<(&str, &str)> = vec![("AWS_ENDPOINT_URL_SQS", &queues.url)];
    more.extend(
        variables
            .iter()
            .zip(&urls)
            .map(|(name, url)| (name.as_str(), url.as_str())),
    );
    story.meterline_with(&["dead-letters", does], &more).await
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_stays() {
    let story = Story::start().await;
    let queues = Queues::start().await;
    for n in 0..23 {
        queues.put(
            "redelivery",
            &failed_run(&format!("2026-07-20T00:00:{n:02}Z")),
        );
    }
    queues.put("rollup", &failed_batch());
    let (status, out, err) = dead_letters(&story, &queues, "list").await;
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out.lines().count(), 24, "{out}");
    let run = "2026-07-20T00:00:22Z  redelivery  RetriesExhausted  the outbox cannot be read";
    assert!(out.contains(run), "{out}");
    assert!(
        out.contains("50 records of shard shardId-1, 100 to 199"),
        "{out}"
    );
    assert_eq!(queues.count("redelivery"), (23, 23));
    assert_eq!(queues.count("rollup"), (1, 1));
}

#[tokio::test]
async fn redelivery_runs_once_for_all_of_its_letters() {
    let story = Story::start().await;
    let queues = Queues::start().await;
    story.strike("error_before").await;
    assert_eq!(story.emit("a", 3).await, "pending");
    story.heal().await;
    story.pump().await;
    for second in ["01", "02"] {
        queues.put(
            "redelivery",
            &failed_run(&format!("2026-07-20T00:00:{second}Z")),
        );
    }
    story.clock.advance_s(2 * MINUTE_S);
    let (status, out, err) = dead_letters(&story, &queues, "redrive").await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(err.contains("2 settled and deleted, 0 left"), "{err}");
    assert_eq!(queues.count("redelivery"), (0, 0));
    // The program lives in the machine's time, long after the send window.
    assert_eq!(story.row("a").await.status, UsageStatus::Quarantined);
}

#[tokio::test]
async fn what_the_rollup_never_saw_is_rebuilt() {
    let story = Story::start().await;
    let queues = Queues::start().await;
    story.emit("a", 3).await;
    story.pump().await;
    queues.put("rollup", &failed_batch());
    let (status, out, err) = dead_letters(&story, &queues, "redrive").await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(queues.count("rollup"), (0, 0));
    assert_eq!(story.totals().await, (3, 0));
}

#[tokio::test]
async fn a_sweep_is_settled_once_a_later_one_came_further() {
    let story = Story::start().await;
    let queues = Queues::start().await;
    let at = story.now().to_string();
    queues.put("webhook", &failed_run(&at));
    let (status, out, err) = dead_letters(&story, &queues, "redrive").await;
    assert_eq!(status, Some(1), "{out}{err}");
    assert!(
        out.contains("left: no sweep has come that far since"),
        "{out}"
    );
    assert_eq!(queues.count("webhook"), (1, 1));

    story.clock.advance_s(60 * MINUTE_S);
    story.system.sweep().await.unwrap();
    let (status, out, err) = dead_letters(&story, &queues, "redrive").await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert_eq!(queues.count("webhook"), (0, 0));
}

#[tokio::test]
async fn without_a_queue_it_says_what_to_set() {
    let story = Story::start().await;
    let (status, _, err) = story.meterline(&["dead-letters", "list"]).await;
    assert_ne!(status, Some(0));
    assert!(err.contains("REDELIVERY_DEAD_LETTERS_URL"), "{err}");
}
