//! Events that go together, and are answered for one by one.

use std::time::Duration;

use meterline_client::{
    BufferSettings, Emit, EmitError, Meterline, Recorded, ReservationOutcome, ReservationRequest,
    Usage,
};
use tokio::task::JoinSet;

use crate::support::{Scripted, Step, answer, problem_body};

/// Sends nothing before it is full or flushed.
fn client(meterline: &Scripted) -> Meterline {
    let when_full = BufferSettings::default().events_max(10);
    let when_full = when_full.wait(Duration::from_secs(3_600));
    meterline.builder().buffer(when_full).build().unwrap()
}

/// Emits so many events at once: number `n` has `n + 1` units.
async fn emit(client: &Meterline, count: u64) -> Vec<Result<Recorded, EmitError>> {
    let mut calls = JoinSet::new();
    for n in 0..count {
        let client = client.clone();
        let usage = Usage::new("cus_1", "operation");
        let usage = usage.event_id(format!("event-{n}")).quantity(n + 1);
        calls.spawn(async move { (n, client.emit(usage).await) });
    }
    let mut outcomes = calls.join_all().await;
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn one_bad_event_spoils_no_other_and_each_caller_has_its_own_answer() {
    let meterline = Scripted::start([]).await;
    meterline.refuse("event-0");
    let outcomes = emit(&client(&meterline), 10).await;
    assert_eq!(meterline.requests().len(), 1);
    let (bad, good) = outcomes.split_first().unwrap();
    let problem = bad.as_ref().unwrap_err().problem().unwrap().clone();
    assert_eq!(problem.kind(), "invalid-field");
    for (n, outcome) in good.iter().enumerate() {
        let recorded = outcome.as_ref().unwrap();
        assert_eq!(recorded.event_id, format!("event-{}", n + 1));
        assert_eq!(recorded.quantity, n as u64 + 2);
    }
}

/// One is too large, say, or all of them together.
#[tokio::test]
async fn a_batch_that_is_refused_refuses_no_event() {
    for (status, kind) in [(413, "body-too-large"), (400, "invalid-request")] {
        let meterline = Scripted::start([answer(status, kind)]).await;
        meterline.refuse("event-0");
        let outcomes = emit(&client(&meterline), 10).await;
        let (bad, good) = outcomes.split_first().unwrap();
        assert!(bad.is_err());
        assert!(good.iter().all(Result::is_ok), "{good:?}");
        assert_eq!(meterline.requests().len(), 11);
    }
}

/// Nine more requests to somebody who says nothing would only take time.
#[tokio::test]
async fn what_was_not_tried_has_the_answer_of_what_was() {
    let later = Step::Answer(429, problem_body(429, "rate-limited"), Some(3_600));
    let script = [answer(413, "body-too-large"), later];
    let meterline = Scripted::start(script).await;
    for outcome in emit(&client(&meterline), 10).await {
        let error = outcome.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(error.problem().unwrap().kind(), "rate-limited");
    }
    assert_eq!(meterline.requests().len(), 2);
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_is_billed_once() {
    let script = [Step::RecordAndVanish, answer(503, "unavailable")];
    let meterline = Scripted::start(script).await;
    let settings = BufferSettings::default();
    let client = meterline.builder().buffer(settings).build().unwrap();
    let outcomes = emit(&client, 50).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(
        meterline.recorded().into_values().sum::<u64>(),
        (1..=50_u64).sum::<u64>()
    );
}

#[tokio::test]
async fn a_flush_sends_what_is_gathered_and_waits_for_its_answers() {
    let meterline = Scripted::start([]).await;
    let client = client(&meterline);
    let emitting = tokio::spawn({
        let client = client.clone();
        async move { emit(&client, 4).await }
    });
    while meterline.requests().concat().len() < 4 {
        client.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(emitting.await.unwrap().len(), 4);
}

#[tokio::test]
async fn each_event_of_a_batch_settles_its_own_reservation() {
    let meterline = Scripted::start([]).await;
    let client = client(&meterline);
    let mut calls = JoinSet::new();
    for n in 0..10 {
        let id = format!("run-{n}");
        let request = ReservationRequest::new("cus_1", "operation", 2);
        let request = request.reservation_id(&id);
        client.reserve(request).await.unwrap();
        let client = client.clone();
        let usage = Usage::new("cus_1", "operation").reservation_id(id);
        calls.spawn(async move { client.emit(usage).await });
    }
    let settled = Some(ReservationOutcome::Settled);
    for recorded in calls.join_all().await {
        assert_eq!(recorded.unwrap().reservation, settled);
    }
    assert_eq!(meterline.held_units(), 0);
}
