//! The client: one call for one billable action.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tracing::Instrument;

use crate::access::Access;
use crate::answer::{Problem, Recorded, Status};
use crate::buffer::{Buffer, Flush};
use crate::builder::Builder;
use crate::calls::Calls;
use crate::emission::Emit;
use crate::error::{EmitError, SettingsError};
use crate::http::{Api, Attempt, WireEvent};
use crate::metered::{self, Metered, MeteredError};
use crate::retry::Budget;
use crate::spool::{Refused, SetAside, Spool};
use crate::usage::Usage;

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

impl Emit for Meterline {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let _call = self.calls.let_in().ok_or(EmitError::Closed)?;
        WithinCall(self).emit(usage).await
    }

    async fn access(&self, customer_id: &str) -> Result<Access, EmitError> {
        let _call = self.calls.let_in().ok_or(EmitError::Closed)?;
        WithinCall(self).access(customer_id).await
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

impl Emit for WithinCall<'_> {
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let Self(Meterline { delivery, calls }) = self;
        let event = usage.wire_event()?;
        let span = tracing::info_span!(
            "meterline.emit",
            otel.kind = "client",
            event_id = event.event_id,
            action_type = event.action_type,
        );
        let _sending = calls.sending();
        delivery.emit(&event).instrument(span).await
    }

    async fn access(&self, customer_id: &str) -> Result<Access, EmitError> {
        self.0.delivery.access(customer_id).await
    }
}

impl Delivery {
    async fn access(&self, customer_id: &str) -> Result<Access, EmitError> {
        let mut trying = Trying::new("", self.retry_budget);
        loop {
            let path = ["v1", "customers", customer_id, "access"];
            let attempt = match self.api.get(&path).await {
                Ok(body) => match serde_json::from_slice(&body) {
                    Ok(access) => return Ok(access),
                    Err(error) => Attempt::Unsure {
                        http_status: Some(200),
                        reason: format!("an answer that cannot be read: {error}"),
                        retry_after: None,
                        perhaps_recorded: false,
                    },
                },
                Err(attempt) => attempt,
            };
            trying.wait_after(attempt).await?;
        }
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
        let mut trying = Trying::new(&event.event_id, self.retry_budget);
        loop {
            let attempt = match &self.buffer {
                Some(buffer) => buffer.emit(event).await,
                None => self.api.emit(event).await,
            };
            if let Attempt::Recorded(recorded) = attempt {
                return Ok(recorded);
            }
            trying.wait_after(attempt).await?;
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
    }
}

/// One call, from its first attempt to its last.
struct Trying<'a> {
    event_id: &'a str,
    budget: Budget,
    /// Whether an attempt may have been recorded.
    perhaps_recorded: bool,
}

impl<'a> Trying<'a> {
    fn new(event_id: &'a str, budget: Duration) -> Self {
        Self {
            event_id,
            budget: Budget::of(budget),
            perhaps_recorded: false,
        }
    }

    /// Waits until the next attempt after `attempt`, where there may be one.
    async fn wait_after(&mut self, attempt: Attempt) -> Result<(), EmitError> {
        let event_id = self.event_id.to_owned();
        match attempt {
            Attempt::Recorded(_) => Ok(()),
            Attempt::Refused {
                http_status,
                problem,
            } => Err(refused(
                event_id,
                http_status,
                problem,
                self.perhaps_recorded,
            )),
            Attempt::Unsure {
                http_status,
                reason,
                retry_after,
                perhaps_recorded,
            } => {
                self.perhaps_recorded |= perhaps_recorded;
                let Some(wait) = self.budget.next_wait(retry_after) else {
                    return Err(EmitError::PerhapsRecorded {
                        event_id,
                        http_status,
                        reason,
                    });
                };
                tracing::debug!(event_id, reason, ?wait, "Meterline is asked again");
                tokio::time::sleep(wait).await;
                Ok(())
            }
        }
    }
}

/// A refusal, unless an earlier attempt may have been recorded and this answer
/// does not speak of the event itself: a key that was revoked in between says
/// nothing about what happened before. 409 and 422 come from the ledger.
fn refused(
    event_id: String,
    http_status: u16,
    problem: Problem,
    perhaps_recorded: bool,
) -> EmitError {
    if perhaps_recorded && !matches!(http_status, 409 | 422) {
        return EmitError::PerhapsRecorded {
            event_id,
            http_status: Some(http_status),
            reason: problem.to_string(),
        };
    }
    EmitError::Refused {
        event_id,
        http_status,
        problem: Box::new(problem),
    }
}
