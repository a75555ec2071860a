//! The client: one call for one billable action.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tracing::Span;

use crate::access::{Access, AccessQuery};
use crate::answer::Recorded;
use crate::buffer::Flush;
use crate::builder::Builder;
use crate::calls::Calls;
use crate::delivery::Delivery;
use crate::emission::{Emit, sealed::Sealed};
use crate::error::{AccessError, EmitError, InvalidUsage, ReservationError, SettingsError};
use crate::metered::{self, Metered, MeteredError};
use crate::outcome::unsure;
use crate::reservation::{Reservation, ReservationRequest, ReservationStatus};
use crate::spool::{Refused, Spool};
use crate::telemetry::{self, Outcome, traced};
use crate::usage::Usage;
use crate::wire::WireEvent;

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
    /// on its way by now has its answer, whatever comes meanwhile; then sends what waits
    /// in the spool, within the time for retries. Metered actions that still run are not
    /// waited for.
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

    /// Sends in a task of its own: what has happened is recorded, though its caller is
    /// dropped. The error says why the task has ended.
    async fn send<T: Outcome + Send + 'static>(
        &self,
        span: Span,
        sending: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let under_way = self.calls.sending();
        let sending = async move {
            let _under_way = under_way;
            traced(span, sending).await
        };
        let sent = tokio::spawn(sending).await;
        sent.map_err(|error| format!("the client's task has ended: {error}"))
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

    async fn emit_many(&self, usages: Vec<Usage>) -> Vec<Result<Recorded, EmitError>> {
        let Some(_call) = self.calls.let_in() else {
            return vec![Err(EmitError::Closed); usages.len()];
        };
        WithinCall(self).emit_many(usages).await
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
        let (budget, time_max) = (delivery.retry_budget, Duration::MAX);
        delivery
            .release(customer_id, reservation_id, budget, time_max)
            .await
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
        let Self(meterline) = self;
        let event = usage.wire_event()?;
        let event_id = event.event_id.clone();
        let delivery = Arc::clone(&meterline.delivery);
        let span = telemetry::of_event(&event);
        let sent = meterline.send(span, async move { delivery.emit(&event).await });
        let ended = |reason| Err(EmitError::of(event_id, unsure(None, reason)));
        sent.await.unwrap_or_else(ended)
    }

    async fn emit_many(&self, usages: Vec<Usage>) -> Vec<Result<Recorded, EmitError>> {
        let Self(meterline) = self;
        let wanted: Vec<_> = usages.iter().map(Usage::wire_event).collect();
        let events: Vec<_> = wanted.iter().flatten().cloned().collect();
        let delivery = Arc::clone(&meterline.delivery);
        let span = telemetry::of_events(events.len());
        let sent = meterline.send(span, async move { delivery.emit_many(&events).await });
        let (sent, ended) = match sent.await {
            Ok(sent) => (sent, String::new()),
            Err(reason) => (Vec::new(), reason),
        };
        let mut sent = sent.into_iter();
        let outcome = |wanted: Result<WireEvent, InvalidUsage>| {
            let event = wanted?;
            let unknown = || Err(EmitError::of(event.event_id, unsure(None, ended.clone())));
            sent.next().unwrap_or_else(unknown)
        };
        wanted.into_iter().map(outcome).collect()
    }

    async fn access(&self, query: impl Into<AccessQuery> + Send) -> Result<Access, AccessError> {
        let query = query.into().checked()?;
        let span = telemetry::of_access(&query);
        traced(span, self.0.delivery.access(&query)).await
    }

    async fn reserve(&self, request: ReservationRequest) -> Result<Reservation, ReservationError> {
        let wanted = request.wire()?;
        let span = telemetry::of_reserve(&wanted);
        traced(span, self.0.delivery.reserve(&wanted)).await
    }

    /// In one short attempt: an action has failed, and its caller waits for the error.
    async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> Result<ReservationStatus, ReservationError> {
        let Self(Meterline { delivery, .. }) = self;
        let (budget, time_max) = (Duration::ZERO, RELEASE_TIMEOUT);
        delivery
            .release(customer_id, reservation_id, budget, time_max)
            .await
    }
}
