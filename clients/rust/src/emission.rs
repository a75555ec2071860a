//! What an agent's code asks of a meter: the real one, or the one of its tests.

use std::future::Future;

use crate::access::{Access, AccessQuery};
use crate::answer::Recorded;
use crate::error::{AccessError, EmitError, ReservationError};
use crate::metered::{self, Metered, MeteredError};
use crate::reservation::{Reservation, ReservationRequest, ReservationStatus};
use crate::usage::Usage;

pub(crate) mod sealed {
    /// What only this crate's own meters are.
    pub trait Sealed {}
}

/// Records billable actions. [`Meterline`](crate::Meterline) does so for real,
/// [`testing::RecordedUsage`](crate::testing::RecordedUsage) in a test. There is no other
/// meter: what a meter answers may grow.
pub trait Emit: Sync + sealed::Sealed {
    /// Records `usage`. `Ok` means durable: it will count once. Anything else
    /// must not be taken for recorded. Dropping the future takes nothing back:
    /// [`Meterline`](crate::Meterline) goes on recording what has happened, and its
    /// `flush` and `close` wait for it.
    ///
    /// # Errors
    /// An [`EmitError`], which says whether the same call may succeed later.
    fn emit(&self, usage: Usage) -> impl Future<Output = Result<Recorded, EmitError>> + Send;

    /// Records many at once, and says of each, in order, what [`emit`](Self::emit) would.
    /// One that cannot be recorded is in no other's way.
    /// [`Meterline`](crate::Meterline) sends up to a hundred with one request, without
    /// waiting for others; the time for retries is that of the whole call.
    fn emit_many(
        &self,
        usages: Vec<Usage>,
    ) -> impl Future<Output = Vec<Result<Recorded, EmitError>>> + Send {
        async move {
            let mut outcomes = Vec::with_capacity(usages.len());
            for usage in usages {
                outcomes.push(self.emit(usage).await);
            }
            outcomes
        }
    }

    /// Whether a customer may act: the one of this id, or what an [`AccessQuery`] asks
    /// besides.
    ///
    /// # Errors
    /// An [`AccessError`] where Meterline does not say.
    fn access(
        &self,
        query: impl Into<AccessQuery> + Send,
    ) -> impl Future<Output = Result<Access, AccessError>> + Send;

    /// Holds units of a customer's limit before an action. Usage that names the
    /// reservation settles it.
    ///
    /// # Errors
    /// A [`ReservationError`]. Only where it [may succeed
    /// later](ReservationError::is_retryable) are the units perhaps held.
    fn reserve(
        &self,
        request: ReservationRequest,
    ) -> impl Future<Output = Result<Reservation, ReservationError>> + Send;

    /// Gives a reservation back, and says where it stands now: one that has ended stays
    /// as it is.
    ///
    /// # Errors
    /// A [`ReservationError`].
    fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> impl Future<Output = Result<ReservationStatus, ReservationError>> + Send;

    /// Runs `action` and records `usage`, in this order: no bill without a
    /// result, and no result without a bill. With [`Usage::reserve`], what the action
    /// may use is held before. A future that is dropped drops the action; once that has
    /// run, its usage is recorded all the same.
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

    /// The same, after asking whether the customer may act; what is held is held after
    /// that.
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
