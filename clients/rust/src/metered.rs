//! An action and its bill, as one.

use std::fmt;

use crate::access::Access;
use crate::answer::Recorded;
use crate::emission::Emit;
use crate::error::{AccessError, EmitError, InvalidUsage, ReservationError};
use crate::reservation::Reservation;
use crate::usage::{Planned, Usage};

/// A result, and the record of its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metered<T> {
    /// What the action gave.
    pub output: T,
    /// What is billed for it.
    pub recorded: Recorded,
}

/// Why there is no result.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MeteredError<T, E> {
    /// It cannot be an event. Nothing was run.
    #[error(transparent)]
    Invalid(#[from] InvalidUsage),
    /// The client has been closed. Nothing was run.
    #[error("the client is closed")]
    Closed,
    /// The customer may not act. Nothing was run.
    #[error("the customer may not act: {}", .0.reason.as_deref().unwrap_or(&.0.status))]
    Denied(Box<Access>),
    /// Meterline does not say whether the customer may act. Nothing was run.
    #[error("whether the customer may act is unknown: {0}")]
    AccessUnknown(#[source] AccessError),
    /// The units that were to be reserved are not certainly held, perhaps because they
    /// are more than what is left ([`ReservationError::LimitReached`]). Nothing was run.
    #[error("the units are not held: {0}")]
    NotReserved(#[source] ReservationError),
    /// The action failed. Nothing is billed, and what was held for it is given back, or
    /// expires. Its error is shown, and is no source: so it may be a text, or one that is
    /// no [`std::error::Error`] itself.
    #[error("the action failed: {0}")]
    Action(E),
    /// The action has a result, and its usage is not certainly recorded.
    #[error(transparent)]
    Withheld(Withheld<T>),
}

// Derived, it would ask for a result that can be shown, which none of them shows.
impl<T, E: fmt::Debug> fmt::Debug for MeteredError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => f.debug_tuple("Invalid").field(error).finish(),
            Self::Closed => f.write_str("Closed"),
            Self::Denied(access) => f.debug_tuple("Denied").field(access).finish(),
            Self::AccessUnknown(error) => f.debug_tuple("AccessUnknown").field(error).finish(),
            Self::NotReserved(error) => f.debug_tuple("NotReserved").field(error).finish(),
            Self::Action(error) => f.debug_tuple("Action").field(error).finish(),
            Self::Withheld(withheld) => f.debug_tuple("Withheld").field(withheld).finish(),
        }
    }
}

/// A result that is not handed out, because it is not certainly billed.
#[derive(thiserror::Error)]
#[error("the result is withheld: {error}")]
pub struct Withheld<T> {
    output: T,
    usage: Usage,
    #[source]
    error: EmitError,
}

impl<T> Withheld<T> {
    /// Why.
    pub const fn error(&self) -> &EmitError {
        &self.error
    }

    /// Records the usage once more, under the same id, and hands the result out
    /// when it is recorded. The action is not run again.
    ///
    /// # Errors
    /// Itself, still withheld.
    pub async fn record(self, meter: &impl Emit) -> Result<Metered<T>, Self> {
        match meter.emit(self.usage.clone()).await {
            Ok(recorded) => Ok(Metered {
                output: self.output,
                recorded,
            }),
            Err(error) => Err(Self { error, ..self }),
        }
    }
}

impl<T> fmt::Debug for Withheld<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withheld")
            .field("usage", &self.usage)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

pub(crate) async fn run<T, E, F>(
    meter: &impl Emit,
    usage: Usage,
    action: F,
) -> Result<Metered<T>, MeteredError<T, E>>
where
    F: AsyncFnOnce() -> Result<T, E>,
{
    run_planned(meter, usage.planned()?, action).await
}

pub(crate) async fn run_if_allowed<T, E, F>(
    meter: &impl Emit,
    usage: Usage,
    action: F,
) -> Result<Metered<T>, MeteredError<T, E>>
where
    F: AsyncFnOnce() -> Result<T, E>,
{
    let planned = usage.planned()?;
    let access = meter.access(&planned.usage.customer_id).await;
    let access = access.map_err(MeteredError::AccessUnknown)?;
    if !access.allowed {
        return Err(MeteredError::Denied(Box::new(access)));
    }
    run_planned(meter, planned, action).await
}

/// What would be refused has been found before the work is done; and the ids are kept
/// with the result, for whoever records it later.
async fn run_planned<T, E, F>(
    meter: &impl Emit,
    Planned { usage, reserve }: Planned,
    action: F,
) -> Result<Metered<T>, MeteredError<T, E>>
where
    F: AsyncFnOnce() -> Result<T, E>,
{
    let held = match reserve {
        Some(request) => Some(
            meter
                .reserve(request)
                .await
                .map_err(MeteredError::NotReserved)?,
        ),
        None => None,
    };
    let output = match action().await {
        Ok(output) => output,
        Err(error) => {
            if let Some(held) = held {
                give_back(meter, &usage.customer_id, &held).await;
            }
            return Err(MeteredError::Action(error));
        }
    };
    match meter.emit(usage.clone()).await {
        Ok(recorded) => {
            // What was recorded before settles nothing.
            if let Some(held) = held.filter(|_| recorded.duplicate) {
                give_back(meter, &usage.customer_id, &held).await;
            }
            Ok(Metered { output, recorded })
        }
        Err(error) => {
            let held = held.filter(|_| is_of_the_event(&error));
            let usage = match held {
                Some(held) => {
                    give_back(meter, &usage.customer_id, &held).await;
                    usage.without_reservation()
                }
                None => usage,
            };
            Err(MeteredError::Withheld(Withheld {
                output,
                usage,
                error,
            }))
        }
    }
}

/// Whether the event is refused for good, so that it settles nothing. After a refused key
/// it may be recorded yet, as after no answer.
const fn is_of_the_event(error: &EmitError) -> bool {
    matches!(error, EmitError::Refused { http_status, .. } if !matches!(http_status, 401 | 403))
}

/// Whoever called wants to know of the action: what cannot be given back expires.
async fn give_back(meter: &impl Emit, customer_id: &str, held: &Reservation) {
    let Reservation { reservation_id, .. } = held;
    if let Err(error) = meter.release(customer_id, reservation_id).await {
        tracing::warn!(reservation_id, error = %error, "what an action held is not given back, and expires");
    }
}
