//! The client: one call for one billable action.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::timeout;
use tracing::Instrument;

use crate::access::{Access, AccessQuery};
use crate::answer::{Recorded, Status};
use crate::attempts::{OF_THE_EVENT, OF_THE_RELEASE, OF_THE_RESERVATION, until_clear};
use crate::buffer::{Buffer, Flush};
use crate::builder::Builder;
use crate::calls::Calls;
use crate::checks;
use crate::emission::{Emit, sealed::Sealed};
use crate::error::{AccessError, EmitError, ReservationError, SettingsError};
use crate::http::{Api, WireEvent, unsure};
use crate::metered::{self, Metered, MeteredError};
use crate::reservation::{Reservation, ReservationRequest, ReservationStatus};
use crate::spool::{Refused, SetAside, Spool};
use crate::usage::Usage;

/// After how long a caller whose action failed waits no longer for its units to be
/// given back: they expire.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a [`Meterline::flush`] leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Events in the spool that Meterline has not answered for.
    pub waiting: usize,
    /// Events in the spool that were refused for good.
    pub set_aside: usize,
}

/// Meterline, under the key of one agent. Clones share connections, buffer and spool.
#[derive(Clone)]
pub struct Meterline {
    delivery: Arc<Delivery>,
    calls: Arc<Calls>,
}

pub(crate) struct Delivery {
    pub(crate) api: Api,
    pub(crate) buffer: Option<Buffer>,
    pub(crate) spool: Option<Spool>,
    pub(crate) retry_budget: Duration,
}

impl Meterline {
    /// Meterline at `url`, under `api_key`, with the usual settings.
    ///
    /// # Errors
    /// A [`SettingsError`] for an address or a key that
    /// cannot be used.
    pub fn connect(
        url: impl Into<String>,
        api_key: impl Into<SecretString>,
    ) -> Result<Self, SettingsError> {
        Self::builder(url, api_key).build()
    }

    /// Meterline at `METERLINE_URL`, under `METERLINE_API_KEY`, with the usual settings.
    ///
    /// # Errors
    /// A [`SettingsError`] where one is not set, or cannot be used.
    pub fn from_env() -> Result<Self, SettingsError> {
        let get =
            |variable| std::env::var(variable).map_err(|_| SettingsError::NotSet { variable });
        Self::connect(get("METERLINE_URL")?, get("METERLINE_API_KEY")?)
    }

    /// Settings for Meterline at `url`, under `api_key`.
    pub fn builder(url: impl Into<String>, api_key: impl Into<SecretString>) -> Builder {
        Builder::new(url.into(), api_key.into())
    }

    pub(crate) fn new(delivery: Arc<Delivery>) -> Self {
        Self {
            delivery,
            calls: Arc::new(Calls::new()),
        }
    }

    /// Sends what waits in the buffer at once, and waits until every event that is
    /// on its way has its answer; then sends what waits in the spool, within the
    /// time for retries. Metered actions that still run are not waited for.
    ///
    /// # Errors
    /// An [`io::Error`](std::io::Error) where nobody can say what is left in the
    /// spool, since its folder cannot be read.
    pub async fn flush(&self) -> std::io::Result<Flushed> {
        let hurry = self.hurry().await;
        self.calls.are_answered().await;
        drop(hurry);
        match &self.delivery.spool {
            Some(spool) => spool.flush().await,
            None => Ok(Flushed::default()),
        }
    }

    /// Ends the client and its clones gracefully: refuses new calls from now on
    /// ([`EmitError::Closed`]), and waits until those under way have their answer,
    /// metered actions with them. So it never ends within such an action. What
    /// waits in the spool is left to the next client.
    pub async fn close(self) {
        self.calls.close();
        let _hurry = self.hurry().await;
        self.calls.have_ended().await;
    }

    /// For as long as the answer lives, no event waits for others.
    async fn hurry(&self) -> Option<Flush<'_>> {
        match &self.delivery.buffer {
            Some(buffer) => Some(buffer.flush().await),
            None => None,
        }
    }

    /// The events that were taken into the spool and refused for good: they are
    /// not billed, and stay in its folder `refused` until somebody has seen to them.
    ///
    /// # Errors
    /// An [`io::Error`](std::io::Error) where the folder cannot be read.
    pub fn refused(&self) -> std::io::Result<Vec<Refused>> {
        let spool = self.delivery.spool.as_ref();
        spool.map_or(Ok(Vec::new()), Spool::refused)
    }
}

impl fmt::Debug for Meterline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meterline")
            .field("api", &self.delivery.api)
            .finish_non_exhaustive()
    }
}

impl Sealed for Meterline {}

impl Emit for Meterline {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let _call = self.calls.let_in().ok_or(EmitError::Closed)?;
        WithinCall(self).emit(usage).await
    }

    async fn access(&self, query: impl Into<AccessQuery> + Send) -> Result<Access, AccessError> {
        let _call = self.calls.let_in().ok_or(AccessError::Closed)?;
        WithinCall(self).access(query).await
    }

    async fn reserve(&self, request: ReservationRequest) -> Result<Reservation, ReservationError> {
        let _call = self.calls.let_in().ok_or(ReservationError::Closed)?;
        WithinCall(self).reserve(request).await
    }

    async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> Result<ReservationStatus, ReservationError> {
        let _call = self.calls.let_in().ok_or(ReservationError::Closed)?;
        let Self { delivery, .. } = self;
        let budget = delivery.retry_budget;
        delivery.release(customer_id, reservation_id, budget).await
    }

    async fn metered<T, E, F>(
        &self,
        usage: Usage,
        action: F,
    ) -> Result<Metered<T>, MeteredError<T, E>>
    where
        F: AsyncFnOnce() -> Result<T, E>,
    {
        let _call = self.calls.let_in().ok_or(MeteredError::Closed)?;
        metered::run(&WithinCall(self), usage, action).await
    }

    async fn metered_if_allowed<T, E, F>(
        &self,
        usage: Usage,
        action: F,
    ) -> Result<Metered<T>, MeteredError<T, E>>
    where
        F: AsyncFnOnce() -> Result<T, E>,
    {
        let _call = self.calls.let_in().ok_or(MeteredError::Closed)?;
        metered::run_if_allowed(&WithinCall(self), usage, action).await
    }
}

/// The client within a call that it has let in, which it does not refuse any more.
struct WithinCall<'a>(&'a Meterline);

impl Sealed for WithinCall<'_> {}

impl Emit for WithinCall<'_> {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let Self(Meterline { delivery, calls }) = self;
        let event = usage.wire_event()?;
        let span = tracing::info_span!(
            "meterline.emit",
            otel.kind = "client",
            event_id = event.event_id,
            action_type = event.action_type,
            reservation_id = event.reservation_id,
        );
        let (delivery, sending) = (Arc::clone(delivery), calls.sending());
        let event_id = event.event_id.clone();
        // In a task of its own: what has happened is recorded, though its caller is dropped.
        let emission = async move {
            let _sending = sending;
            delivery.emit(&event).await
        };
        let emitted = tokio::spawn(emission.instrument(span)).await;
        emitted.unwrap_or_else(|error| {
            let reason = format!("the client's task has ended: {error}");
            Err(EmitError::of(event_id, unsure(None, reason)))
        })
    }

    async fn access(&self, query: impl Into<AccessQuery> + Send) -> Result<Access, AccessError> {
        let query = query.into().checked()?;
        let span = tracing::info_span!("meterline.check_access", otel.kind = "client");
        self.0.delivery.access(&query).instrument(span).await
    }

    async fn reserve(&self, request: ReservationRequest) -> Result<Reservation, ReservationError> {
        let wanted = request.wire()?;
        let span = tracing::info_span!(
            "meterline.reserve",
            otel.kind = "client",
            reservation_id = wanted.reservation_id,
            action_type = wanted.action_type,
        );
        let Self(Meterline { delivery, .. }) = self;
        let reserve = || delivery.api.reserve(&wanted);
        let (id, budget) = (&wanted.reservation_id, delivery.retry_budget);
        let held = until_clear(id, budget, OF_THE_RESERVATION, reserve).instrument(span);
        let failed = |failed| ReservationError::of(id.clone(), failed);
        held.await.map_err(failed)
    }

    /// In one short attempt: an action has failed, and its caller waits for the error.
    async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> Result<ReservationStatus, ReservationError> {
        let Self(Meterline { delivery, .. }) = self;
        let release = delivery.release(customer_id, reservation_id, Duration::ZERO);
        let unanswered = |_| ReservationError::Unavailable {
            reservation_id: reservation_id.to_owned(),
            http_status: None,
            reason: "no answer in the time that a failed action has for it".to_owned(),
        };
        timeout(RELEASE_TIMEOUT, release)
            .await
            .map_err(unanswered)?
    }
}

impl Delivery {
    async fn access(&self, query: &AccessQuery) -> Result<Access, AccessError> {
        let ask = || self.api.access(query);
        let access = until_clear(&query.customer_id, self.retry_budget, &[], ask).await;
        access.map_err(AccessError::of)
    }

    async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
        budget: Duration,
    ) -> Result<ReservationStatus, ReservationError> {
        checks::customer_id(customer_id)?;
        checks::reservation_id(reservation_id)?;
        let span = tracing::info_span!("meterline.release", otel.kind = "client", reservation_id);
        let release = || self.api.release(customer_id, reservation_id);
        let released = until_clear(reservation_id, budget, OF_THE_RELEASE, release);
        let failed = |failed| ReservationError::of(reservation_id.to_owned(), failed);
        released.instrument(span).await.map_err(failed)
    }

    async fn emit(&self, event: &WireEvent) -> Result<Recorded, EmitError> {
        let Some(spool) = &self.spool else {
            return self.deliver(event).await;
        };
        let kept = spool.keep(event).await?;
        if spool.is_api_silent() {
            kept.leave();
            return Ok(spooled(event));
        }
        match self.deliver(event).await {
            Err(EmitError::PerhapsRecorded { reason, .. }) => {
                tracing::warn!(
                    event_id = event.event_id,
                    reason,
                    "Meterline does not answer: the event stays in the spool"
                );
                spool.note_silence();
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
