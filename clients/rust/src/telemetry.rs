//! What a trace shows of the calls: spans of the `tracing` crate, whose fields have the names
//! that they have in the clients of other languages. Numbers are signed, as those of
//! OpenTelemetry are: an exporter makes texts of others.

use std::collections::BTreeMap;
use std::future::Future;

use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

use crate::access::{Access, AccessQuery};
use crate::answer::Recorded;
use crate::error::{AccessError, EmitError, ReservationError};
use crate::reservation::{Reservation, ReservationStatus, WireReservation};
use crate::wire::WireEvent;

/// What a span says at its end.
pub(crate) trait Outcome {
    fn note(&self, span: &Span);
}

/// Does the work in `span`, which says at its end what the work came to.
pub(crate) async fn traced<T: Outcome>(span: Span, work: impl Future<Output = T>) -> T {
    let outcome = work.instrument(span.clone()).await;
    outcome.note(&span);
    outcome
}

pub(crate) fn of_event(event: &WireEvent) -> Span {
    info_span!(
        "meterline.emit",
        otel.kind = "client",
        otel.status_code = Empty,
        meterline.events = 1,
        meterline.customer_id = event.customer_id,
        meterline.action_type = event.action_type,
        meterline.quantity = signed(event.quantity),
        meterline.event_id = event.event_id,
        meterline.reservation_id = event.reservation_id,
        meterline.status = Empty,
        meterline.duplicates = Empty,
        meterline.reservation = Empty,
    )
}

/// A span has the fields alone that it names at its beginning: those of all outcomes.
pub(crate) fn of_events(count: usize) -> Span {
    info_span!(
        "meterline.emit",
        otel.kind = "client",
        otel.status_code = Empty,
        meterline.events = i64::try_from(count).unwrap_or(i64::MAX),
        meterline.duplicates = Empty,
        meterline.events.delivered = Empty,
        meterline.events.pending = Empty,
        meterline.events.quarantined = Empty,
        meterline.events.held = Empty,
        meterline.events.spooled = Empty,
        meterline.events.refused = Empty,
        meterline.events.perhaps_recorded = Empty,
        meterline.events.spool_failed = Empty,
    )
}

pub(crate) fn of_access(query: &AccessQuery) -> Span {
    info_span!(
        "meterline.check_access",
        otel.kind = "client",
        otel.status_code = Empty,
        meterline.customer_id = query.customer_id,
        meterline.action_type = query.action_type,
        meterline.quantity = query.units.map(signed),
        meterline.status = Empty,
    )
}

pub(crate) fn of_reserve(wanted: &WireReservation) -> Span {
    info_span!(
        "meterline.reserve",
        otel.kind = "client",
        otel.status_code = Empty,
        meterline.customer_id = wanted.customer_id,
        meterline.action_type = wanted.action_type,
        meterline.quantity = signed(wanted.quantity),
        meterline.reservation_id = wanted.reservation_id,
        meterline.status = Empty,
    )
}

pub(crate) fn of_release(customer_id: &str, reservation_id: &str) -> Span {
    info_span!(
        "meterline.release",
        otel.kind = "client",
        otel.status_code = Empty,
        meterline.customer_id = customer_id,
        meterline.reservation_id = reservation_id,
        meterline.status = Empty,
    )
}

impl Outcome for Result<Recorded, EmitError> {
    fn note(&self, span: &Span) {
        match self {
            Ok(recorded) => {
                span.record("meterline.status", recorded.status.to_string());
                span.record("meterline.duplicates", i64::from(recorded.duplicate));
                if let Some(reservation) = &recorded.reservation {
                    span.record("meterline.reservation", reservation.to_string());
                }
            }
            Err(error) => fail(span, error.kind()),
        }
    }
}

impl Outcome for Vec<Result<Recorded, EmitError>> {
    fn note(&self, span: &Span) {
        let mut counts = BTreeMap::<String, i64>::new();
        for outcome in self {
            let status = match outcome {
                Ok(recorded) => recorded.status.to_string(),
                Err(error) => error.kind().to_owned(),
            };
            *counts.entry(status).or_default() += 1;
        }
        for (status, count) in counts {
            span.record(format!("meterline.events.{status}").as_str(), count);
        }
        let duplicates = self.iter().flatten().map(|it| i64::from(it.duplicate));
        span.record("meterline.duplicates", duplicates.sum::<i64>());
        if self.iter().any(Result::is_err) {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// That the customer may not act is an answer as any other.
impl Outcome for Result<Access, AccessError> {
    fn note(&self, span: &Span) {
        if let Err(error) = self {
            fail(span, error.kind());
        }
    }
}

impl Outcome for Result<Reservation, ReservationError> {
    fn note(&self, span: &Span) {
        match self {
            Ok(held) => {
                span.record("meterline.status", held.status.to_string());
            }
            Err(error) => fail(span, error.kind()),
        }
    }
}

impl Outcome for Result<ReservationStatus, ReservationError> {
    fn note(&self, span: &Span) {
        match self {
            Ok(status) => {
                span.record("meterline.status", status.to_string());
            }
            Err(error) => fail(span, error.kind()),
        }
    }
}

fn fail(span: &Span, kind: &str) {
    span.record("meterline.status", kind);
    span.record("otel.status_code", "ERROR");
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
