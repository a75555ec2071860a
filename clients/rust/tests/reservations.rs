//! Units that are held before an action: once, whatever becomes of the answers, and no
//! longer than for it.

use std::time::{Duration, UNIX_EPOCH};

use meterline_client::{
    AccessQuery, Emit, MeteredError, ReservationError, ReservationOutcome, ReservationRequest,
    ReservationStatus, Usage,
};
use serde_json::json;

use crate::support::{Scripted, Step, answer, problem_body};

fn request(units: u64) -> ReservationRequest {
    ReservationRequest::new("cus_1", "document_processed", units)
}

fn usage() -> Usage {
    Usage::new("cus_1", "document_processed")
        .event_id("event-1")
        .quantity(3)
}

async fn is_not_run() -> Result<(), String> {
    unreachable!("it is run")
}

#[tokio::test]
async fn a_lost_answer_holds_nothing_twice() {
    let lost = [
        Step::RecordAndVanish,
        Step::Vanish,
        answer(503, "unavailable"),
    ];
    let meterline = Scripted::start(lost).await;
    let held = meterline.client().reserve(request(40)).await.unwrap();
    assert_eq!((held.status, held.quantity), (ReservationStatus::Held, 40));
    let expires_at = UNIX_EPOCH + Duration::from_secs(1_769_861_100);
    assert_eq!(held.expires_at, expires_at);
    assert_eq!(meterline.held_units(), 40);
    let ids = meterline.requests().concat();
    assert_eq!(ids, vec![held.reservation_id; 4]);
}

#[tokio::test]
async fn two_reservations_without_an_id_are_two() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    for _ in 0..2 {
        client.reserve(request(40)).await.unwrap();
    }
    assert_eq!(meterline.held_units(), 80);
}

#[tokio::test]
async fn more_than_what_is_left_is_not_held_and_not_asked_for_again() {
    let meterline = Scripted::start([]).await;
    meterline.limit_units(10);
    let client = meterline.client();
    client.reserve(request(8)).await.unwrap();
    let second = request(3).reservation_id("second");
    let error = client.reserve(second).await.unwrap_err();
    let ReservationError::LimitReached { problem, .. } = &error else {
        unreachable!("{error}");
    };
    assert_eq!((problem.left_units, &problem.left_amount), (Some(2), &None));
    assert_eq!(error.reservation_id(), Some("second"));
    assert!(!error.is_retryable());
    assert_eq!(meterline.requests().len(), 2);
}

#[tokio::test]
async fn what_is_left_of_a_limit_in_money_is_told_in_money() {
    let mut problem = problem_body(402, "limit-reached");
    problem["left_units"] = json!(null);
    problem["left_amount"] = json!("0.40");
    let meterline = Scripted::start([Step::Answer(402, problem, None)]).await;
    let error = meterline.client().reserve(request(1)).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(problem.left_amount.as_deref(), Some("0.40"));
}

#[tokio::test]
async fn without_a_clear_answer_the_error_has_the_id_to_go_on_with() {
    let later = Step::Answer(429, problem_body(429, "rate-limited"), Some(3_600));
    let meterline = Scripted::start([Step::RecordAndVanish, later]).await;
    let client = meterline.client();
    let error = client.reserve(request(7)).await.unwrap_err();
    assert!(
        matches!(error, ReservationError::Unavailable { .. }) && error.is_retryable(),
        "{error}"
    );
    assert_eq!(error.problem().unwrap().kind(), "rate-limited");
    let again = request(7).reservation_id(error.reservation_id().unwrap());
    client.reserve(again).await.unwrap();
    assert_eq!(meterline.held_units(), 7);
}

/// The first attempt may hold the units; a key that is revoked by now says nothing
/// about them. A conflict does, and a limit that is reached.
#[tokio::test]
async fn a_refusal_after_a_lost_answer_counts_where_it_speaks_of_the_reservation() {
    for (status, kind, is_retryable) in [
        (401, "unauthorized", true),
        (404, "customer-not-found", true),
        (409, "conflict", false),
        (402, "limit-reached", false),
    ] {
        let meterline = Scripted::start([Step::RecordAndVanish, answer(status, kind)]).await;
        let error = meterline.client().reserve(request(1)).await.unwrap_err();
        assert_eq!(error.is_retryable(), is_retryable, "{error}");
        assert!(error.reservation_id().is_some());
    }
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again() {
    for (status, kind) in [
        (400, "invalid-field"),
        (402, "card-declined"),
        (403, "forbidden"),
        (409, "conflict"),
    ] {
        let meterline = Scripted::start([answer(status, kind)]).await;
        let error = meterline.client().reserve(request(1)).await.unwrap_err();
        assert!(matches!(error, ReservationError::Refused { .. }), "{error}");
        assert_eq!(error.problem().unwrap().kind(), kind);
        assert_eq!(meterline.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_about_another_reservation_proves_nothing() {
    let told = |customer_id: &str, id: &str, status: &str| {
        let told = json!({
            "reservation_id": id, "customer_id": customer_id, "status": status, "quantity": 1,
            "expires_at": "2026-01-31T12:05:00Z",
        });
        Step::Answer(200, told, None)
    };
    let meterline = Scripted::start([
        told("cus_1", "other", "held"),
        told("cus_2", "mine", "held"),
        told("cus_1", "mine", "settled"),
    ])
    .await;
    let client = meterline.client();
    let held = client.reserve(request(1).reservation_id("mine")).await;
    assert_eq!(held.unwrap().reservation_id, "mine");
    assert_eq!(meterline.requests(), vec![vec!["mine".to_owned()]; 4]);
}

#[tokio::test]
async fn a_release_says_what_had_become_of_the_reservation() {
    let lost = [Step::Vanish, Step::RecordAndVanish];
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    for id in ["given-back", "used"] {
        client.reserve(request(3).reservation_id(id)).await.unwrap();
    }
    let settled = client.emit(usage().reservation_id("used")).await.unwrap();
    assert_eq!(settled.reservation, Some(ReservationOutcome::Settled));
    meterline.follow(lost);
    let release = async |id: &str| client.release("cus_1", id).await;
    assert_eq!(release("given-back").await, Ok(ReservationStatus::Released));
    assert_eq!(release("used").await, Ok(ReservationStatus::Settled));
    meterline.follow([Step::Vanish]);
    let error = release("unheard-of").await.unwrap_err();
    assert!(matches!(
        error,
        ReservationError::Refused {
            http_status: 404,
            ..
        }
    ));
}

#[tokio::test]
async fn a_metered_action_holds_what_it_may_use_and_bills_what_it_used() {
    let meterline = Scripted::start([]).await;
    meterline.limit_units(10);
    let client = meterline.client();
    let action = async || {
        assert_eq!(meterline.held_units(), 9);
        Ok::<_, String>("summary")
    };
    let metered = client.metered(usage().reserve(9), action).await.unwrap();
    let settled = Some(ReservationOutcome::Settled);
    assert_eq!(metered.recorded.reservation, settled);
    assert_eq!(meterline.recorded(), [("event-1".to_owned(), 3)].into());
    assert_eq!(meterline.held_units(), 0);
}

#[tokio::test]
async fn an_action_for_which_nothing_is_held_is_not_run() {
    let meterline = Scripted::start([]).await;
    meterline.limit_units(10);
    let client = meterline.client();
    let refused = client.metered(usage().reserve(11), is_not_run).await;
    let Err(MeteredError::NotReserved(error)) = refused else {
        unreachable!("there is less left");
    };
    assert!(matches!(error, ReservationError::LimitReached { .. }));
    meterline.always(Some(Step::Vanish));
    let impatient = meterline.builder().retry_budget(Duration::ZERO);
    let client = impatient.build().unwrap();
    let unknown = client.metered(usage().reserve(1), is_not_run).await;
    let Err(MeteredError::NotReserved(error)) = unknown else {
        unreachable!("nobody answers");
    };
    assert!(error.is_retryable());
}

#[tokio::test]
async fn an_action_that_fails_gives_back_what_it_held() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let failing = async || Err::<(), _>("no paper");
    let failed = client.metered(usage().reserve(9), failing).await;
    assert!(matches!(failed, Err(MeteredError::Action("no paper"))));
    let reservation_id = &meterline.requests()[0][0];
    assert_eq!(meterline.reservation(reservation_id), Some("released"));
    assert!(meterline.recorded().is_empty());
}

/// It is the action that failed, and what is not given back expires.
#[tokio::test]
async fn a_release_that_fails_changes_nothing_of_the_error_and_is_tried_once() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let failing = async || {
        meterline.always(Some(answer(503, "unavailable")));
        Err::<(), _>("no paper")
    };
    let failed = client.metered(usage().reserve(9), failing).await;
    assert!(matches!(failed, Err(MeteredError::Action("no paper"))));
    assert_eq!(meterline.requests().len(), 2);
}

/// What is withheld may be recorded yet, and settles what is held for it.
#[tokio::test]
async fn a_result_that_is_withheld_keeps_its_units() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let action = async || {
        meterline.always(Some(answer(401, "unauthorized")));
        Ok::<_, String>("summary")
    };
    let withheld = client.metered(usage().reserve(9), action).await;
    let Err(MeteredError::Withheld(withheld)) = withheld else {
        unreachable!("it is not recorded");
    };
    assert_eq!(meterline.held_units(), 9);
    meterline.always(None);
    let recorded = withheld.record(&client).await.unwrap().recorded;
    assert_eq!(recorded.reservation, Some(ReservationOutcome::Settled));
    assert_eq!(meterline.held_units(), 0);
}

/// No event will settle it.
#[tokio::test]
async fn usage_that_is_refused_for_good_gives_back_what_was_held() {
    let meterline = Scripted::start([]).await;
    meterline.refuse("a");
    let client = meterline.client();
    let action = async || Ok::<_, String>("summary");
    let withheld = client.metered(usage().event_id("a").reserve(9), action);
    let Err(MeteredError::Withheld(withheld)) = withheld.await else {
        unreachable!("it is refused");
    };
    assert_eq!(meterline.held_units(), 0);
    // It names no reservation any more, should it be recorded after all.
    meterline.refuse("another");
    let recorded = withheld.record(&client).await.unwrap().recorded;
    assert_eq!(recorded.reservation, None);
}

#[tokio::test]
async fn nothing_is_held_for_a_customer_who_may_not_act() {
    let meterline = Scripted::start([]).await;
    meterline.deny("payments have failed for too long");
    let client = meterline.client();
    let usage = usage().reserve(9);
    let denied = client.metered_if_allowed(usage.clone(), is_not_run).await;
    assert!(matches!(denied, Err(MeteredError::Denied(_))));
    assert!(meterline.requests().is_empty());
    let meterline = Scripted::start([]).await;
    let action = async || Ok::<_, String>(());
    let metered = meterline.client().metered_if_allowed(usage, action).await;
    let settled = Some(ReservationOutcome::Settled);
    assert_eq!(metered.unwrap().recorded.reservation, settled);
}

#[tokio::test]
async fn what_cannot_be_held_is_found_before_anything_is_sent() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let wrong = |id: &str| request(1).reservation_id(id);
    for wrong in [
        request(0),
        request(1_000_000_001),
        wrong(""),
        wrong("."),
        wrong(".."),
        wrong("a/b"),
        wrong("ä"),
        wrong(&"x".repeat(129)),
        request(1).expires_in(Duration::ZERO),
        request(1).expires_in(Duration::from_secs(3_601)),
        request(1).expires_in(Duration::from_millis(1_500)),
        ReservationRequest::new("cus/1", "document_processed", 1),
        ReservationRequest::new("cus_1", "two words", 1),
    ] {
        let refused = client.reserve(wrong.clone()).await;
        assert!(
            matches!(refused, Err(ReservationError::Invalid(_))),
            "{wrong:?}"
        );
    }
    for wrong in [
        usage().reserve(0),
        usage().reserve(1).reservation_id("mine"),
        usage().reservation_id(".."),
    ] {
        let refused = client.metered(wrong, is_not_run).await;
        assert!(matches!(refused, Err(MeteredError::Invalid(_))));
    }
    assert!(client.emit(usage().reserve(1)).await.is_err());
    assert!(client.release("cus_1", "a/b").await.is_err());
    assert!(client.release("cus/1", "a").await.is_err());
    assert!(meterline.requests().is_empty());
}

#[tokio::test]
async fn a_closed_client_holds_nothing() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    client.clone().close().await;
    let closed = ReservationError::Closed;
    assert_eq!(client.reserve(request(1)).await, Err(closed.clone()));
    assert_eq!(client.release("cus_1", "a").await, Err(closed));
    assert!(meterline.requests().is_empty());
}

#[tokio::test]
async fn who_asks_for_access_says_how_much_is_wanted() {
    let meterline = Scripted::start([]).await;
    let client = meterline.client();
    let query = AccessQuery::new("cus_1").units(40);
    client.access(query.action_type("page_read")).await.unwrap();
    client.access("cus_1").await.unwrap();
    client
        .access(AccessQuery::new("cus_1").units(0))
        .await
        .unwrap_err();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let asked = [pair("units", "40"), pair("action_type", "page_read")];
    assert_eq!(meterline.questions(), [asked.into(), [].into()]);
}
