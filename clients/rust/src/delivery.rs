//! From a call to its answer: on the disk first, where there is a spool, then to the API
//! until its answer is clear.

use std::time::Duration;

use tokio::time::timeout;

use crate::access::{Access, AccessQuery};
use crate::answer::{Recorded, Status};
use crate::attempts::{
    OF_THE_EVENT, OF_THE_RELEASE, OF_THE_RESERVATION, until_all_clear, until_clear,
};
use crate::buffer::Buffer;
use crate::checks;
use crate::error::{AccessError, EmitError, ReservationError};
use crate::http::Api;
use crate::outcome::unsure;
use crate::reservation::{Reservation, ReservationStatus, WireReservation};
use crate::spool::{Kept, SetAside, Spool};
use crate::telemetry::{self, traced};
use crate::wire::WireEvent;

/// What the calls of a client share.
pub(crate) struct Delivery {
    pub(crate) api: Api,
    pub(crate) buffer: Option<Buffer>,
    pub(crate) spool: Option<Spool>,
    pub(crate) retry_budget: Duration,
}

impl Delivery {
    pub(crate) async fn access(&self, query: &AccessQuery) -> Result<Access, AccessError> {
        let ask = || self.api.access(query);
        let access = until_clear(&query.customer_id, self.retry_budget, &[], ask).await;
        access.map_err(AccessError::of)
    }

    pub(crate) async fn reserve(
        &self,
        wanted: &WireReservation,
    ) -> Result<Reservation, ReservationError> {
        let reserve = || self.api.reserve(wanted);
        let (id, budget) = (&wanted.reservation_id, self.retry_budget);
        let held = until_clear(id, budget, OF_THE_RESERVATION, reserve).await;
        held.map_err(|failed| ReservationError::of(id.clone(), failed))
    }

    /// After `time_max` the caller waits no longer, whatever the time for retries is.
    pub(crate) async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
        retry_budget: Duration,
        time_max: Duration,
    ) -> Result<ReservationStatus, ReservationError> {
        checks::customer_id(customer_id)?;
        checks::reservation_id(reservation_id)?;
        let release = || self.api.release(customer_id, reservation_id);
        let released = until_clear(reservation_id, retry_budget, OF_THE_RELEASE, release);
        let in_time = async {
            let released = timeout(time_max, released).await.unwrap_or_else(|_| {
                Err(unsure(
                    None,
                    "no answer in the time that there is".to_owned(),
                ))
            });
            released.map_err(|failed| ReservationError::of(reservation_id.to_owned(), failed))
        };
        traced(telemetry::of_release(customer_id, reservation_id), in_time).await
    }

    pub(crate) async fn emit(&self, event: &WireEvent) -> Result<Recorded, EmitError> {
        let Some(spool) = &self.spool else {
            return self.deliver(event).await;
        };
        let kept = spool.keep(event).await?;
        if spool.is_api_silent() {
            kept.leave();
            return Ok(spooled(event));
        }
        settled(spool, kept, event, self.deliver(event).await).await
    }

    /// The same for many, with an outcome for each, in order.
    pub(crate) async fn emit_many(&self, events: &[WireEvent]) -> Vec<Result<Recorded, EmitError>> {
        let Some(spool) = &self.spool else {
            return self.deliver_many(events).await;
        };
        let (mut written, mut on_disk) = (Vec::new(), Vec::new());
        for event in events {
            let kept = spool.keep(event).await;
            on_disk.extend(kept.is_ok().then(|| event.clone()));
            written.push(kept);
        }
        let mut delivered = match spool.is_api_silent() {
            true => Vec::new(),
            false => self.deliver_many(&on_disk).await,
        }
        .into_iter();
        let mut outcomes = Vec::with_capacity(events.len());
        for (event, kept) in events.iter().zip(written) {
            outcomes.push(match kept {
                Err(error) => Err(error),
                Ok(kept) => match delivered.next() {
                    Some(delivered) => settled(spool, kept, event, delivered).await,
                    None => {
                        kept.leave();
                        Ok(spooled(event))
                    }
                },
            });
        }
        outcomes
    }

    /// Tries until the event's fate is known, or the time for retries is over.
    async fn deliver(&self, event: &WireEvent) -> Result<Recorded, EmitError> {
        let emit = || async {
            match &self.buffer {
                Some(buffer) => buffer.emit(event).await,
                None => self.api.emit(event).await,
            }
        };
        let (id, budget) = (&event.event_id, self.retry_budget);
        let recorded = until_clear(id, budget, OF_THE_EVENT, emit).await;
        recorded.map_err(|failed| EmitError::of(id.clone(), failed))
    }

    /// Together as they are, without waiting for others.
    async fn deliver_many(&self, events: &[WireEvent]) -> Vec<Result<Recorded, EmitError>> {
        let emit = |events: Vec<WireEvent>| async move { self.api.emit_all(&events).await };
        let attempts = until_all_clear(events, self.retry_budget, emit).await;
        let outcomes = events.iter().zip(attempts);
        outcomes
            .map(|(event, attempt)| {
                attempt.map_err(|failed| EmitError::of(event.event_id.clone(), failed))
            })
            .collect()
    }
}

/// What becomes of an event that is on the disk, after its delivery.
async fn settled(
    spool: &Spool,
    kept: Kept,
    event: &WireEvent,
    delivered: Result<Recorded, EmitError>,
) -> Result<Recorded, EmitError> {
    match delivered {
        Err(EmitError::PerhapsRecorded { reason, .. }) => {
            spool.note_silence(event, &reason);
            kept.leave();
            Ok(spooled(event))
        }
        // What was promised to be safe stays safe, and is told so again.
        Err(error) => match kept.set_aside(&error).await {
            SetAside::Promised => Ok(spooled(event)),
            SetAside::Done => Err(error),
        },
        Ok(recorded) => {
            kept.remove().await;
            Ok(recorded)
        }
    }
}

/// The event is on the disk alone.
fn spooled(event: &WireEvent) -> Recorded {
    Recorded {
        event_id: event.event_id.clone(),
        status: Status::Spooled,
        duplicate: false,
        quantity: event.quantity,
        stripe_record_id: None,
        customer_status: None,
        reservation: None,
    }
}
