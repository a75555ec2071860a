//! One call, one event: whatever becomes of the answers.

use std::error::Error;
use std::pin::pin;
use std::time::{Duration, UNIX_EPOCH};

use meterline_client::{
    AccessError, BufferSettings, Emit, EmitError, MeteredError, Status, Usage, event_id_of_job,
};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::support::{Scripted, Step, answer, begin, problem_body};

fn usage() -> Usage {
    Usage::new("cus_1", "document_processed").quantity(3)
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_id() {
    let lost = [
        Step::RecordAndVanish,
        Step::Vanish,
        answer(503, "unavailable"),
    ];
    let meterline = Scripted::start(lost).await;
    let recorded = meterline.client().emit(usage()).await.unwrap();
    assert!(recorded.duplicate && recorded.status == Status::Delivered);
    let ids: Vec<String> = meterline.requests().concat();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == recorded.event_id), "{ids:?}");
    assert_eq!(meterline.recorded().into_values().sum::<u64>(), 3);
}

#[tokio::test]
async fn two_calls_without_an_id_are_two_events() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    for _ in 0..2 {
        assert!(!client.emit(usage()).await.unwrap().duplicate);
    }
    assert_eq!(meterline.recorded().len(), 2);
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again() {
    for (status, kind) in [
        (400, "invalid-field"),
        (401, "unauthorized"),
        (409, "conflict"),
    ] {
        let meterline = Scripted::start([answer(status, kind)]).await;
        let error = meterline.client().emit(usage()).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(error.problem().unwrap().kind(), kind);
        assert_eq!(meterline.requests().len(), 1);
    }
}

/// The first attempt may have been recorded; that the key is revoked by now
/// says nothing about it. A conflict does.
#[tokio::test]
async fn a_refused_key_does_not_say_that_an_earlier_attempt_was_not_recorded() {
    let meterline = Scripted::start([Step::RecordAndVanish, answer(401, "unauthorized")]).await;
    let error = meterline.client().emit(usage()).await.unwrap_err();
    assert!(
        matches!(
            &error,
            EmitError::PerhapsRecorded {
                http_status: Some(401),
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable() && error.event_id().is_some());
    assert_eq!(error.problem().unwrap().kind(), "unauthorized");

    let meterline = Scripted::start([Step::Vanish, answer(409, "conflict")]).await;
    let error = meterline.client().emit(usage()).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn when_time_is_over_the_error_has_the_id_to_go_on_with() {
    let later = Step::Answer(429, problem_body(429, "rate-limited"), Some(3_600));
    let meterline = Scripted::start([later]).await;
    let client = meterline.client();
    let error = client.emit(usage()).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.problem().unwrap().kind(), "rate-limited");
    let recorded = client.emit(usage().event_id(error.event_id().unwrap()));
    let recorded = recorded.await.unwrap();
    assert_eq!(Some(recorded.event_id.as_str()), error.event_id());
    assert_eq!(meterline.recorded().len(), 1);
}

#[tokio::test]
async fn an_answer_about_another_event_proves_nothing() {
    let other = serde_json::json!({
        "event_id": "other", "status": "delivered", "duplicate": false, "quantity": 3,
    });
    let meterline = Scripted::start([Step::Answer(200, other, None)]).await;
    meterline.client().emit(usage()).await.unwrap();
    assert_eq!(meterline.requests().len(), 2);
}

#[tokio::test]
async fn no_bill_without_a_result_and_no_result_without_a_bill() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let failed = client
        .metered(usage(), async || Err::<(), _>("no paper"))
        .await;
    assert!(matches!(failed, Err(MeteredError::Action("no paper"))));
    assert_eq!(meterline.recorded().len(), 0);

    let meterline = Scripted::start([answer(401, "unauthorized")]).await;
    let client = meterline.client();
    let mut runs = 0;
    let withheld = client.metered(usage(), async || {
        runs += 1;
        Ok::<_, String>("summary")
    });
    let Err(MeteredError::Withheld(withheld)) = withheld.await else {
        unreachable!("it is not recorded");
    };
    assert!(!format!("{withheld:?}").contains("summary"));
    let why = withheld.source().unwrap().downcast_ref();
    assert_eq!(why, Some(withheld.error()));
    let summary = withheld.record(&client).await.unwrap().output;
    assert_eq!((summary, runs), ("summary", 1));
    let requests = meterline.requests();
    assert_eq!(requests[0], requests[1], "one action has one id");
}

#[tokio::test]
async fn a_job_that_runs_twice_is_billed_once() {
    let meterline = Scripted::start([]).await;
    for _ in 0..2 {
        let client = meterline.client();
        let usage = usage().job("job-7");
        client
            .metered(usage, async || Ok::<_, String>(()))
            .await
            .unwrap();
    }
    let id = event_id_of_job("job-7", "document_processed");
    assert_eq!(meterline.recorded(), [(id, 3)].into());
}

#[tokio::test]
async fn what_cannot_be_an_event_is_found_before_the_work_is_done() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    for wrong in [
        usage().quantity(0),
        usage().quantity(1_000_000_001),
        usage().event_id(""),
        usage().event_id("x".repeat(256)),
        usage().job(""),
        usage().job("a").event_id("b"),
        Usage::new("cus/1", "document_processed"),
        Usage::new("cus_1", "two words"),
        usage().subscription_item(""),
        usage().subscription_item("si/1"),
        usage().subscription_item("s".repeat(65)),
    ] {
        let refused = client.emit(wrong.clone()).await.unwrap_err();
        assert!(!refused.is_retryable(), "{refused}");
        let refused = client.metered(wrong, async || -> Result<(), String> {
            unreachable!("it is run")
        });
        assert!(matches!(refused.await, Err(MeteredError::Invalid(_))));
    }
    assert!(meterline.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_run_for_a_customer_who_may_not_act() {
    let meterline = Scripted::start([]).await;
    meterline.deny("payments have failed for too long");
    let client = meterline.client();
    let denied = client.metered_if_allowed(usage(), async || -> Result<(), String> {
        unreachable!("it is run")
    });
    let Err(MeteredError::Denied(access)) = denied.await else {
        unreachable!("nobody may act");
    };
    assert_eq!(
        access.reason.as_deref(),
        Some("payments have failed for too long")
    );
}

#[test]
fn without_a_runtime_only_a_plain_client_is_built() {
    let builder = || meterline_client::Meterline::builder("http://127.0.0.1:1", "key");
    assert!(builder().build().is_ok());
    let buffered = builder().buffer(BufferSettings::default());
    assert!(buffered.build().is_err());
    let none = BufferSettings::default().events_max(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    assert!(builder().buffer(none).build().is_err());
}

/// A gateway that has lost its way to Meterline, say, or a proxy.
#[tokio::test]
async fn who_is_not_meterline_refuses_nothing() {
    let strangers = [
        Step::Answer(404, json!({ "message": "Not Found" }), None),
        Step::Answer(407, json!("who are you?"), None),
        Step::Answer(302, json!(null), None),
    ];
    let meterline = Scripted::start(strangers).await;
    let recorded = meterline.client().emit(usage().event_id("a")).await;
    assert_eq!(recorded.unwrap().event_id, "a");
    assert_eq!(meterline.requests(), vec![["a"]; 4]);
}

/// Whoever looks for what is wrong sees their words.
#[tokio::test]
async fn an_error_shows_what_a_stranger_said() {
    let lost = Step::Answer(404, json!({ "message": "no such route" }), None);
    let meterline = Scripted::start([lost]).await;
    let impatient = meterline.builder().retry_budget(Duration::ZERO);
    let error = impatient.build().unwrap().emit(usage()).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("no such route"), "{error}");
    assert_eq!(error.problem(), None, "it is no problem of Meterline's");
}

#[tokio::test]
async fn a_call_that_is_dropped_has_recorded_its_usage() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let action = async || Ok::<_, String>("summary");
    let metered = client.metered(usage().event_id("a"), action);
    // Looked at once: the action has run, and there is no answer yet.
    let dropped = timeout(Duration::ZERO, metered).await;
    assert!(dropped.is_err());
    client.close().await;
    assert_eq!(meterline.recorded(), [("a".to_owned(), 3)].into());
}

/// What comes after it is of no concern to it: a client that is never idle is flushed, too.
#[tokio::test]
async fn a_flush_waits_for_what_is_on_its_way_and_not_for_what_comes_later() {
    let meterline = Scripted::start([]).await;
    meterline.put_off("later");
    let client = meterline.client();
    let mut before = pin!(client.emit(usage().event_id("before")));
    begin(before.as_mut()).await;
    let mut flush = pin!(client.flush());
    begin(flush.as_mut()).await;
    let mut later = pin!(client.emit(usage().event_id("later")));
    begin(later.as_mut()).await;
    tokio::select! {
        flushed = flush => flushed.unwrap(),
        given_up = later => unreachable!("the flush waits for what came later: {given_up:?}"),
    };
    assert_eq!(meterline.recorded(), [("before".to_owned(), 3)].into());
}

/// The usual slip: milliseconds for seconds.
#[tokio::test]
async fn a_time_that_no_calendar_holds_is_refused_and_no_wait_is_too_long() {
    let meterline = Scripted::start([]).await;
    let builder = meterline.builder().retry_budget(Duration::MAX);
    let buffered = BufferSettings::default().events_max(1).wait(Duration::MAX);
    let client = builder.buffer(buffered).build().unwrap();
    for seconds in [1_769_860_800_000, 0, 4_102_444_801] {
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        let refused = client.emit(usage().occurred_at(at)).await;
        assert!(matches!(refused, Err(EmitError::Invalid(_))), "{refused:?}");
    }
    client.emit(usage()).await.unwrap();
}

/// Whatever stands in for the API: its words do not fill the memory.
#[tokio::test]
async fn an_answer_that_is_too_long_is_none() {
    let flood = serde_json::json!({
        "event_id": "a", "status": "delivered", "duplicate": false, "quantity": 3,
        "stripe_record_id": "x".repeat(5 * 1024 * 1024),
    });
    let meterline = Scripted::start([Step::Answer(200, flood, None)]).await;
    meterline
        .client()
        .emit(usage().event_id("a"))
        .await
        .unwrap();
    assert_eq!(meterline.requests().len(), 2);
}

/// The client that closes lets in nothing more, and waits for what was let in.
#[tokio::test]
async fn a_client_that_closes_waits_for_the_action_that_runs() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let (begun, has_begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let running = tokio::spawn({
        let client = client.clone();
        async move {
            let action = async || {
                begun.send(()).unwrap();
                ended.await
            };
            client.metered(usage(), action).await
        }
    });
    has_begun.await.unwrap();
    // It waits for what is sent, and not for the action, which may be its caller.
    client.flush().await.unwrap();
    let mut closing = Box::pin(client.clone().close());
    tokio::select! {
        biased;
        () = &mut closing => panic!("closed while an action ran"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(client.emit(usage()).await, Err(EmitError::Closed));
    assert_eq!(client.access("cus_1").await, Err(AccessError::Closed));
    let refused = client.metered(usage(), async || Err::<(), _>("it ran"));
    assert!(matches!(refused.await, Err(MeteredError::Closed)));
    end.send("summary").unwrap();
    closing.await;
    assert_eq!(meterline.recorded().into_values().sum::<u64>(), 3);
    assert_eq!(running.await.unwrap().unwrap().output, "summary");
}
