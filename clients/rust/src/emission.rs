//! What an agent's code asks of a meter: the real one, or the one of its tests.

use std::future::Future;

use crate::access::Access;
use crate::answer::Recorded;
use crate::error::EmitError;
use crate::metered::{self, Metered, MeteredError};
use crate::usage::Usage;

/// Records billable actions. [`Meterline`](crate::Meterline) does so for real,
/// [`testing::RecordedUsage`](crate::testing::RecordedUsage) in a test.
pub trait Emit: Sync {
    /// Records `usage`. `Ok` means durable: it will count once. Anything else
    /// must not be taken for recorded.
    ///
    /// # Errors
    /// An [`EmitError`], which says whether the same call may succeed later.
    fn emit(&self, usage: Usage) -> impl Future<Output = Result<Recorded, EmitError>> + Send;

    /// Whether `customer_id` may act.
    ///
    /// # Errors
    /// An [`EmitError`] where Meterline does not say.
    fn access(&self, customer_id: &str) -> impl Future<Output = Result<Access, EmitError>> + Send;

    /// Runs `action` and records `usage`, in this order: no bill without a
    /// result, and no result without a bill.
    ///
    /// # Errors
    /// A [`MeteredError`]. Where the action failed nothing is billed; where the
    /// recording failed the result is withheld in it.
    fn metered<T, E, F>(
        &self,
        usage: Usage,
        action: F,
    ) -> impl Future<Output = Result<Metered<T>, MeteredError<T, E>>>
    where
        F: AsyncFnOnce() -> Result<T, E>,
        Self: Sized,
    {
        metered::run(self, usage, action)
    }

    /// The same, after asking whether the customer may act.
    ///
    /// # Errors
    /// As [`Emit::metered`]; and [`MeteredError::Denied`] before anything is run.
    fn metered_if_allowed<T, E, F>(
        &self,
        usage: Usage,
        action: F,
    ) -> impl Future<Output = Result<Metered<T>, MeteredError<T, E>>>
    where
        F: AsyncFnOnce() -> Result<T, E>,
        Self: Sized,
    {
        metered::run_if_allowed(self, usage, action)
    }
}
