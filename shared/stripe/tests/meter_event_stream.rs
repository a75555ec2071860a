//! The stream's session: opened when needed, renewed once for everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use stripe::{
    EVENTS_PER_REQUEST_MAX, Error, IdempotencyKey, InvalidRequest, MeterEvent, MeterEventOutcome,
    MeterEventStream, RequestOptions, STRIPE_VERSION,
};
use tokio::sync::Barrier;
use tokio::time::Instant;

use crate::support::{Answer, KEY, Received, Scripted};

const SESSION: &str = "/v2/billing/meter_event_session";
const STREAM: &str = "/v2/billing/meter_event_stream";

/// The session number `number`, good for fifteen minutes.
fn session(number: usize) -> Answer {
    Answer::ok(&json!({
        "id": "mes_1",
        "object": "v2.billing.meter_event_session",
        "authentication_token": format!("token-{number}"),
        "created": "2026-01-31T12:00:00Z",
        "expires_at": "2026-01-31T12:15:00Z",
        "livemode": false,
    }))
}

fn expired() -> Answer {
    let code = "billing_meter_event_session_expired";
    Answer::error(401, "temporary_session_expired", code)
}

fn event(identifier: &str) -> MeterEvent {
    MeterEvent::new(identifier, "documents", 1_769_860_800_005, "cus_1", 7)
}

/// A Stripe that opens sessions, and takes events as `judge` says.
async fn stripe(mut judge: impl FnMut(&Received) -> Answer + Send + 'static) -> Scripted {
    let mut sessions = 0;
    Scripted::start(move |received| {
        if received.path == SESSION {
            sessions += 1;
            session(sessions)
        } else {
            judge(received)
        }
    })
    .await
}

fn taken() -> Answer {
    Answer::ok(&json!({}))
}

fn count(stripe: &Scripted, path: &str) -> usize {
    stripe
        .received()
        .iter()
        .filter(|received| received.path == path)
        .count()
}

#[tokio::test]
async fn the_first_events_open_a_session_that_the_next_ones_use() {
    let stripe = stripe(|_| taken()).await;
    let stream = MeterEventStream::new(stripe.client());
    let options = RequestOptions::new().idempotency_key(IdempotencyKey::new("batch-1"));
    stream
        .send(&[event("id-1"), event("id-2")], &options)
        .await
        .unwrap();
    stream
        .clone()
        .send(&[event("id-3")], &RequestOptions::new())
        .await
        .unwrap();

    let received = stripe.received();
    let paths: Vec<&str> = received
        .iter()
        .map(|received| received.path.as_str())
        .collect();
    assert_eq!(paths, [SESSION, STREAM, STREAM]);
    assert_eq!(received[0].header("authorization"), format!("Bearer {KEY}"));
    assert_ne!(received[0].header("idempotency-key"), "batch-1");
    assert_eq!(received[1].header("authorization"), "Bearer token-1");
    assert_eq!(received[1].header("idempotency-key"), "batch-1");
    assert_eq!(received[1].header("stripe-version"), STRIPE_VERSION);
    let payload = json!({ "stripe_customer_id": "cus_1", "value": "7" });
    let sent = |identifier: &str| {
        json!({
            "identifier": identifier, "event_name": "documents",
            "timestamp": "2026-01-31T12:00:00.005Z", "payload": payload,
        })
    };
    assert_eq!(
        received[1].json(),
        json!({ "events": [sent("id-1"), sent("id-2")] })
    );
}

#[tokio::test]
async fn a_success_without_a_readable_body_is_one() {
    for answer in [Answer::text(200, ""), Answer::text(202, "taken")] {
        let again = answer.clone();
        let stripe = stripe(move |_| again.clone()).await;
        let stream = MeterEventStream::new(stripe.client());
        let options = RequestOptions::new();
        stream.send(&[event("id-1")], &options).await.unwrap();
        assert_eq!(count(&stripe, STREAM), 1);
        let client = Scripted::with([answer]).await.client();
        let created = client.create_meter_event(&event("id-1"), &options).await;
        assert_eq!(created.unwrap(), MeterEventOutcome::Created);
    }
}

#[tokio::test]
async fn a_session_is_replaced_a_minute_before_its_end() {
    let stripe = stripe(|_| taken()).await;
    let stream = MeterEventStream::new(stripe.client());
    let send = || async {
        stream
            .send(&[event("id-1")], &RequestOptions::new())
            .await
            .unwrap()
    };
    let pass = |seconds| async move {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    send().await;
    // The test's own seconds are far fewer than the twenty to spare.
    pass(14 * 60 - 20).await;
    send().await;
    assert_eq!(count(&stripe, SESSION), 1);
    pass(20).await;
    send().await;
    assert_eq!(count(&stripe, SESSION), 2);
    assert_eq!(
        stripe.received().last().unwrap().header("authorization"),
        "Bearer token-2"
    );
}

#[tokio::test]
async fn twenty_refused_senders_renew_the_session_once() {
    const SENDERS: usize = 20;
    let revoked = Arc::new(AtomicBool::new(false));
    // All twenty are refused before any of them hears of it.
    let all_refused = Arc::new(Barrier::new(SENDERS));
    let is_revoked = Arc::clone(&revoked);
    let stripe = stripe(move |received| {
        if received.header("authorization") == "Bearer token-1" && is_revoked.load(Ordering::SeqCst)
        {
            Answer::Together(Arc::clone(&all_refused), Box::new(expired()))
        } else {
            taken()
        }
    })
    .await;
    let stream = MeterEventStream::new(stripe.client());
    stream
        .send(&[event("first")], &RequestOptions::new())
        .await
        .unwrap();
    revoked.store(true, Ordering::SeqCst);

    let events: Vec<MeterEvent> = (0..SENDERS).map(|n| event(&format!("id-{n}"))).collect();
    let options = RequestOptions::new();
    let sends = events
        .iter()
        .map(|event| stream.send(std::slice::from_ref(event), &options));
    for sent in join_all(sends).await {
        sent.unwrap();
    }
    assert_eq!(
        count(&stripe, SESSION),
        2,
        "the first session, and one for all that were refused"
    );
    assert_eq!(count(&stripe, STREAM), 1 + 2 * SENDERS);
    let renewed = stripe.received().into_iter().skip(1 + 1 + SENDERS + 1);
    for received in renewed {
        assert_eq!(received.header("authorization"), "Bearer token-2");
    }
}

#[tokio::test]
async fn an_event_keeps_its_key_in_the_new_session() {
    let mut answers = [expired(), taken()].into_iter();
    let stripe = stripe(move |_| answers.next().unwrap()).await;
    let stream = MeterEventStream::new(stripe.client());
    stream
        .send(&[event("id-1")], &RequestOptions::new())
        .await
        .unwrap();
    let received = stripe.received();
    let keys: Vec<&str> = received
        .iter()
        .filter(|received| received.path == STREAM)
        .map(|received| received.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_new_session_that_is_refused_too_is_an_error() {
    let stripe = stripe(|_| expired()).await;
    let stream = MeterEventStream::new(stripe.client());
    let error = stream
        .send(&[event("id-1")], &RequestOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert_eq!(error.code(), Some("billing_meter_event_session_expired"));
    let paths = [
        "POST /v2/billing/meter_event_session",
        "POST /v2/billing/meter_event_stream",
    ];
    assert_eq!(stripe.calls(), [paths, paths].concat());
}

#[tokio::test]
async fn no_session_no_events() {
    let stripe = Scripted::start(|_| Answer::error(403, "invalid_request_error", "")).await;
    let stream = MeterEventStream::new(stripe.client());
    let error = stream
        .send(&[event("id-1")], &RequestOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(403));
    assert_eq!(count(&stripe, STREAM), 0);
}

#[tokio::test]
async fn whoever_waits_for_a_session_waits_until_the_deadline_only() {
    let stripe = Scripted::start(|_| Answer::Silence).await;
    let stream = MeterEventStream::new(stripe.client());
    let opening = stream.clone();
    let opens =
        tokio::spawn(async move { opening.send(&[event("id-1")], &RequestOptions::new()).await });
    while stripe.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let options = RequestOptions::until(Instant::now() + Duration::from_millis(50));
    let error = stream.send(&[event("id-2")], &options).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineOver), "{error}");
    opens.abort();
}

#[tokio::test]
async fn a_request_takes_a_hundred_events_and_nothing_takes_none() {
    let stripe = stripe(|_| taken()).await;
    let stream = MeterEventStream::new(stripe.client());
    let events = vec![event("id-1"); EVENTS_PER_REQUEST_MAX + 1];
    let options = RequestOptions::new();
    let error = stream.send(&events, &options).await.unwrap_err();
    let too_many = InvalidRequest::TooManyMeterEvents {
        events: 101,
        max: 100,
    };
    assert!(matches!(error, Error::InvalidRequest(reason) if reason == too_many));
    stream.send(&[], &options).await.unwrap();
    assert!(stripe.calls().is_empty());
    stream.send(&events[1..], &options).await.unwrap();
    let sent = stripe.received()[1].json()["events"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(sent, 100);
}
