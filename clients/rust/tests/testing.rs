//! The meter for the tests of others does what Meterline does.

use meterline_client::testing::RecordedUsage;
use meterline_client::{
    AccessQuery, Emit, MeteredError, ReservationError, ReservationOutcome, ReservationRequest,
    ReservationStatus, Usage,
};

fn request(units: u64) -> ReservationRequest {
    ReservationRequest::new("cus_1", "document_processed", units)
}

fn usage() -> Usage {
    Usage::new("cus_1", "document_processed")
}

#[tokio::test]
async fn agents_together_do_not_overrun_a_limit() {
    let meter = RecordedUsage::new();
    meter.limit("cus_1", 10);
    let mut summaries = 0;
    for _ in 0..5 {
        let summarise = async || {
            summaries += 1;
            Ok::<_, String>(())
        };
        let metered = meter
            .metered(usage().quantity(3).reserve(4), summarise)
            .await;
        assert!(matches!(
            metered,
            Ok(_)
                | Err(MeteredError::NotReserved(
                    ReservationError::LimitReached { .. }
                ))
        ));
    }
    assert_eq!((summaries, meter.units("cus_1")), (3, 9));
    let failing = async || Err::<(), _>("no paper");
    let failed = meter.metered(usage().reserve(1), failing).await;
    assert!(matches!(failed, Err(MeteredError::Action("no paper"))));
    assert_eq!(meter.held_units("cus_1"), 0);
}

#[tokio::test]
async fn one_reservation_id_has_one_content_and_is_held_once() {
    let meter = RecordedUsage::new();
    meter.limit("cus_1", 10);
    for _ in 0..2 {
        let request = request(8).reservation_id("a");
        let held = meter.reserve(request).await.unwrap();
        assert_eq!((held.status, held.quantity), (ReservationStatus::Held, 8));
    }
    assert_eq!(meter.held_units("cus_1"), 8);
    let error = meter.reserve(request(2).reservation_id("a")).await;
    assert_eq!(error.unwrap_err().problem().unwrap().kind(), "conflict");
    let error = meter.reserve(request(3)).await.unwrap_err();
    assert_eq!(error.problem().unwrap().left_units, Some(2));
    for _ in 0..2 {
        let released = meter.release("cus_1", "a").await;
        assert_eq!(released, Ok(ReservationStatus::Released));
    }
    let ended = meter.reserve(request(8).reservation_id("a")).await;
    assert_eq!(ended.unwrap_err().problem().unwrap().kind(), "conflict");
    let unknown = meter.release("cus_1", "b").await.unwrap_err();
    assert_eq!(unknown.problem().unwrap().kind(), "not-found");
}

#[tokio::test]
async fn usage_is_recorded_whatever_becomes_of_its_reservation() {
    let meter = RecordedUsage::new();
    for id in ["used", "released", "expired"] {
        meter.reserve(request(5).reservation_id(id)).await.unwrap();
    }
    let settle = async |event_id: &str, id: &str| {
        let usage = usage().event_id(event_id).reservation_id(id);
        meter.emit(usage).await.unwrap().reservation.unwrap()
    };
    assert_eq!(settle("1", "used").await, ReservationOutcome::Settled);
    // A repeat says what it said, and settles nothing twice.
    assert_eq!(settle("1", "used").await, ReservationOutcome::Settled);
    assert_eq!(settle("2", "used").await, ReservationOutcome::SettledBefore);
    meter.release("cus_1", "released").await.unwrap();
    assert_eq!(settle("3", "released").await, ReservationOutcome::Released);
    meter.expire("cus_1");
    assert_eq!(settle("4", "expired").await, ReservationOutcome::Expired);
    assert_eq!(settle("5", "none").await, ReservationOutcome::Unknown);
    assert_eq!(meter.units("cus_1"), 5);
}

#[tokio::test]
async fn what_is_held_is_left_to_nobody_else() {
    let meter = RecordedUsage::new();
    meter.limit("cus_1", 10);
    meter.emit(usage().quantity(4)).await.unwrap();
    meter.reserve(request(3)).await.unwrap();
    let asked = |units| AccessQuery::new("cus_1").units(units);
    let access = meter.access(asked(3)).await.unwrap();
    assert!(access.allowed);
    let limit = access.spending_limit.unwrap();
    assert_eq!((limit.used_units, limit.held_units), (4, 3));
    assert_eq!((limit.left_units, limit.used_percent), (Some(3), Some(40)));
    assert!(!meter.access(asked(4)).await.unwrap().allowed);
    meter.reserve(request(3)).await.unwrap();
    assert!(!meter.access("cus_1").await.unwrap().allowed);
    assert!(meter.access("cus_2").await.unwrap().allowed);
}

#[tokio::test]
async fn a_reservation_fails_as_it_was_told() {
    let meter = RecordedUsage::new();
    let unavailable = ReservationError::Unavailable {
        reservation_id: "a".to_owned(),
        http_status: Some(503),
        reason: "as the test says".to_owned(),
        problem: None,
    };
    meter.fail_next_reservation(unavailable.clone());
    assert_eq!(meter.reserve(request(1)).await, Err(unavailable));
    assert_eq!(meter.held_units("cus_1"), 0);
    meter.reserve(request(1)).await.unwrap();
}
