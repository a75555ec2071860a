//! Many events in one call, each with its own outcome.

use std::pin::pin;
use std::time::Duration;

use meterline_client::testing::RecordedUsage;
use meterline_client::{Emit, EmitError, Recorded, Status, Usage};
use tempfile::TempDir;

use crate::support::{Scripted, Step, answer, begin, problem_body};

fn usage(n: u64) -> Usage {
    Usage::new("cus_1", "page_read").event_id(format!("event-{n}"))
}

fn usages(count: u64) -> Vec<Usage> {
    (1..=count).map(usage).collect()
}

/// How many events each request had.
fn sizes(meterline: &Scripted) -> Vec<usize> {
    meterline.requests().iter().map(Vec::len).collect()
}

fn is_refused(outcome: &Result<Recorded, EmitError>) -> bool {
    matches!(outcome, Err(EmitError::Refused { .. }))
}

#[tokio::test]
async fn many_events_go_a_hundred_a_request_and_are_answered_in_their_order() {
    let meterline = Scripted::start([]).await;
    meterline.refuse("event-7");
    let mut usages = usages(250);
    usages.insert(0, usage(0).quantity(0));
    let outcomes = meterline.client().emit_many(usages).await;
    assert_eq!(sizes(&meterline), [100, 100, 50]);
    assert_eq!(outcomes.len(), 251);
    for (n, outcome) in outcomes.iter().enumerate() {
        match n {
            0 => assert!(matches!(outcome, Err(EmitError::Invalid(_)))),
            7 => assert!(is_refused(outcome), "{outcome:?}"),
            n => assert_eq!(outcome.as_ref().unwrap().event_id, format!("event-{n}")),
        }
    }
    assert_eq!(meterline.recorded().len(), 249);
}

#[tokio::test]
async fn the_outcomes_of_none_are_none() {
    let meterline = Scripted::start([]).await;
    assert!(meterline.client().emit_many(Vec::new()).await.is_empty());
    assert!(meterline.requests().is_empty());
}

/// The second hundred was not answered, nor was it the third's turn.
#[tokio::test]
async fn what_has_no_clear_answer_is_asked_for_again_and_billed_once() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    meterline.follow([Step::RecordAndVanish, answer(503, "unavailable")]);
    let outcomes = client.emit_many(usages(250)).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(sizes(&meterline), [100, 100, 100, 100, 50]);
    let duplicates = outcomes.iter().flatten().filter(|it| it.duplicate);
    assert_eq!(duplicates.count(), 100);
    assert_eq!(meterline.recorded().len(), 250);
}

#[tokio::test]
async fn the_rest_of_a_refused_batch_is_asked_for_again_once_the_api_falls_silent() {
    let script = [answer(413, "body-too-large"), answer(503, "unavailable")];
    let meterline = Scripted::start(script).await;
    let outcomes = meterline.client().emit_many(usages(10)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(sizes(&meterline), [10, 1, 10]);
}

/// A hundred requests to somebody who says nothing would only take time.
#[tokio::test]
async fn the_time_for_retries_is_that_of_the_whole_call() {
    let later = Step::Answer(429, problem_body(429, "rate-limited"), Some(3_600));
    let meterline = Scripted::start([later]).await;
    let outcomes = meterline.client().emit_many(usages(250)).await;
    assert_eq!(sizes(&meterline), [100]);
    for (n, outcome) in (1..).zip(outcomes) {
        let error = outcome.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(error.event_id(), Some(format!("event-{n}").as_str()));
    }
}

/// Those of the first request may be recorded; those behind it were not tried, so that the
/// refused key is the whole truth about them.
#[tokio::test]
async fn a_refused_key_after_a_lost_answer_is_doubtful_for_those_alone_that_were_sent() {
    let meterline = Scripted::start([Step::RecordAndVanish]).await;
    meterline.always(Some(answer(401, "unauthorized")));
    let outcomes = meterline.client().emit_many(usages(150)).await;
    let (sent, untried) = outcomes.split_at(100);
    assert!(sent.iter().all(|outcome| matches!(
        outcome,
        Err(EmitError::PerhapsRecorded {
            http_status: Some(401),
            ..
        })
    )));
    assert!(untried.iter().all(is_refused));
}

#[tokio::test]
async fn many_events_outlive_the_network_in_the_spool() {
    let (meterline, folder) = (Scripted::start([]).await, TempDir::new().unwrap());
    let builder = meterline.builder().spool(folder.path());
    let client = builder.retry_budget(Duration::ZERO).build().unwrap();
    meterline.always(Some(Step::Vanish));
    client.emit(usage(1).quantity(2)).await.unwrap();
    let outcomes = client.emit_many(usages(20)).await;
    // Its id is in the spool with another quantity.
    assert!(is_refused(&outcomes[0]));
    for outcome in &outcomes[1..] {
        assert_eq!(outcome.as_ref().unwrap().status, Status::Spooled);
    }
    meterline.always(None);
    assert_eq!(client.flush().await.unwrap().waiting, 0);
    assert_eq!(meterline.recorded().len(), 20);
    let again = client.emit_many(usages(20)).await;
    assert!(is_refused(&again[0]));
    assert!(again[1..].iter().flatten().all(|it| it.duplicate));
    assert_eq!(again.iter().flatten().count(), 19);
}

#[tokio::test]
async fn a_call_that_is_dropped_has_recorded_all_of_them() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    {
        let mut dropped = pin!(client.emit_many(usages(150)));
        begin(dropped.as_mut()).await;
    }
    client.close().await;
    assert_eq!(meterline.recorded().len(), 150);
}

#[tokio::test]
async fn a_closed_client_sends_none_of_them() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    client.clone().close().await;
    let outcomes = client.emit_many(usages(3)).await;
    assert_eq!(outcomes, vec![Err(EmitError::Closed); 3]);
    assert!(meterline.requests().is_empty());
}

#[tokio::test]
async fn the_meter_for_the_tests_of_others_takes_many_too() {
    let meter = RecordedUsage::new();
    let outcomes = meter.emit_many(vec![usage(1), usage(1), usage(2)]).await;
    let duplicates: Vec<bool> = outcomes.iter().flatten().map(|it| it.duplicate).collect();
    assert_eq!(duplicates, [false, true, false]);
    assert_eq!(meter.units("cus_1"), 2);
}
