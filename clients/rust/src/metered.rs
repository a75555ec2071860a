//! An action and its bill, as one.

use std::fmt;

use crate::access::Access;
use crate::answer::Recorded;
use crate::emission::Emit;
use crate::error::{EmitError, InvalidUsage};
use crate::usage::Usage;

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
#[derive(Debug, thiserror::Error)]
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
    Denied(Access),
    /// Meterline does not say whether the customer may act. Nothing was run.
    #[error("whether the customer may act is unknown: {0}")]
    AccessUnknown(EmitError),
    /// The action failed. Nothing is billed.
    #[error("the action failed: {0}")]
    Action(E),
    /// The action has a result, and its usage is not certainly recorded.
    #[error("the result is withheld: {}", .0.error)]
    Withheld(Withheld<T>),
}

/// A result that is not handed out, because it is not certainly billed.
pub struct Withheld<T> {
    output: T,
    usage: Usage,
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
    // What would be refused is found before the work is done; and the id is kept
    // with the result, for whoever records it later.
    let usage = usage.named();
    usage.wire_event()?;
    let output = action().await.map_err(MeteredError::Action)?;
    match meter.emit(usage.clone()).await {
        Ok(recorded) => Ok(Metered { output, recorded }),
        Err(error) => Err(MeteredError::Withheld(Withheld {
            output,
            usage,
            error,
        })),
    }
}

pub(crate) async fn run_if_allowed<T, E, F>(
    meter: &impl Emit,
    usage: Usage,
    action: F,
) -> Result<Metered<T>, MeteredError<T, E>>
where
    F: AsyncFnOnce() -> Result<T, E>,
{
    usage.wire_event()?;
    let access = meter.access(&usage.customer_id).await;
    let access = access.map_err(MeteredError::AccessUnknown)?;
    if !access.allowed {
        return Err(MeteredError::Denied(access));
    }
    run(meter, usage, action).await
}
