//! How Stripe's refusals, and answers that are none of Stripe's, are told.

use std::error::Error as _;

use serde_json::json;
use stripe::{Error, MeterEvent, MeterEventStream, RequestOptions};

use crate::support::{Answer, KEY, Scripted};

/// The error, and what its whole chain says.
async fn refused(answer: Answer) -> (Error, String) {
    let stripe = Scripted::start(move |_| answer.clone()).await;
    let error = stripe
        .client()
        .pay_invoice("in_1", &RequestOptions::new())
        .await
        .unwrap_err();
    let mut told = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        told.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    (error, told)
}

#[tokio::test]
async fn a_declined_card_is_told_in_full() {
    let body = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.", "param": "payment_method",
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "charge": "ch_1", "payment_intent": { "id": "pi_1" },
    } });
    let (error, _) = refused(Answer::status(402, &body).header("request-id", "req_1")).await;
    assert!(error.is_card_error() && !error.is_transient() && !error.is_not_found());
    assert_eq!(error.status(), Some(402));
    assert_eq!(error.code(), Some("card_declined"));
    assert_eq!(error.request_id(), Some("req_1"));
    assert_eq!(
        error.to_string(),
        "Stripe answered 402 card_error (card_declined): Your card has insufficient funds."
    );
    let error = error.api().unwrap();
    assert_eq!(error.decline_code.as_deref(), Some("insufficient_funds"));
    assert_eq!(error.param.as_deref(), Some("payment_method"));
    assert!(error.doc_url.as_deref().unwrap().ends_with("card-declined"));
}

#[tokio::test]
async fn kinds_of_refusal_are_told_apart() {
    let missing = Answer::error(404, "invalid_request_error", "resource_missing");
    assert!(refused(missing).await.0.is_not_found());
    let missing_param = Answer::error(400, "invalid_request_error", "resource_missing");
    assert!(refused(missing_param).await.0.is_not_found());
    let key = Answer::error(401, "invalid_request_error", "api_key_expired");
    assert!(refused(key).await.0.is_unauthorized());
    let reused = Answer::error(400, "idempotency_error", "");
    assert!(refused(reused).await.0.is_key_of_another_request());
    let in_use = Answer::error(409, "idempotency_error", "idempotency_key_in_use");
    let in_use = refused(in_use).await.0;
    assert!(!in_use.is_key_of_another_request() && in_use.is_transient());
}

#[tokio::test]
async fn a_proxys_page_is_an_error_too() {
    for body in ["<html>Bad Gateway</html>", "", "[]", r#"{"error": "no"}"#] {
        let (error, _) = refused(Answer::text(502, body)).await;
        assert_eq!(error.status(), Some(502), "{body:?}");
        assert_eq!(error.api().unwrap().error_type, "unknown_error", "{body:?}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_not_asked_for_again() {
    let stripe = Scripted::start(|_| Answer::text(200, "{}").header("request-id", "req_1")).await;
    let error = stripe
        .client()
        .retrieve_customer("cus_1")
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::UnreadableAnswer { status: 200, .. }),
        "{error}"
    );
    assert_eq!(error.request_id(), Some("req_1"));
    assert!(!error.is_transient());
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_not_taken_in() {
    let endless = Answer::text(200, " ".repeat(17 * 1024 * 1024));
    let stripe = Scripted::start(move |_| endless.clone()).await;
    let error = stripe
        .client()
        .retrieve_customer("cus_1")
        .await
        .unwrap_err();
    let told = "no answer from Stripe: the answer is larger than 16777216 bytes";
    assert_eq!(error.to_string(), told);
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn the_key_does_not_follow_a_redirect() {
    let elsewhere = Scripted::with([]).await;
    for status in [301, 302, 307, 308] {
        let there = Answer::text(status, "").header("location", elsewhere.url.clone());
        let (error, _) = refused(there).await;
        assert_eq!(error.status(), Some(status));
    }
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn no_error_says_the_key_or_the_address() {
    let echo = json!({ "error": {
        "type": "invalid_request_error", "message": format!("Invalid API Key provided: {KEY}"),
    } });
    let echo = refused(Answer::status(401, &echo)).await.1;
    assert!(
        echo.contains("Invalid API Key provided: [redacted]"),
        "{echo}"
    );
    let vanished = refused(Answer::Vanish).await.1;
    for told in [echo, vanished] {
        assert!(!told.contains(KEY), "{told}");
        assert!(!told.contains("in_1"), "{told}");
    }
}

#[tokio::test]
async fn no_error_says_a_sessions_token() {
    let stripe = Scripted::start(|received| match received.path.as_str() {
        "/v2/billing/meter_event_session" => Answer::ok(&json!({
            "authentication_token": "token-1",
            "created": "2026-01-31T12:00:00Z",
            "expires_at": "2026-01-31T12:15:00Z",
        })),
        _ => Answer::status(
            403,
            &json!({ "error": {
            "type": "invalid_request_error", "message": received.header("authorization"),
        } }),
        ),
    })
    .await;
    let stream = MeterEventStream::new(stripe.client());
    let event = MeterEvent::new("id-1", "documents", 0, "cus_1", 1);
    let error = stream
        .send(&[event], &RequestOptions::new())
        .await
        .unwrap_err();
    assert_eq!(error.api().unwrap().message, "Bearer [redacted]");
    assert!(!format!("{stream:?} {error:?}").contains("token-1"));
}
