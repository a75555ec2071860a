//! One call, from its first attempt to its last.

use std::future::Future;
use std::time::Duration;

use crate::http::{Attempt, Failed, unsure};
use crate::retry::Budget;

/// Refusals that speak of the event itself: they come from the ledger.
pub(crate) const OF_THE_EVENT: &[u16] = &[409, 422];
/// The same of a reservation: what is held under its id is never found to be too much.
pub(crate) const OF_THE_RESERVATION: &[u16] = &[402, 409, 422];
/// The same of a release: what was given back is known for a week.
pub(crate) const OF_THE_RELEASE: &[u16] = &[404];

/// Makes attempts until one has a clear answer, or the time for retries is over;
/// `id` is what they are about.
///
/// Once one of them may have done its work, only refusals of a `certain` status are
/// clear: a key that was revoked in between says nothing about what happened before.
pub(crate) async fn until_clear<T, A>(
    id: &str,
    budget: Duration,
    certain: &[u16],
    attempt: impl Fn() -> A,
) -> Attempt<T>
where
    A: Future<Output = Attempt<T>>,
{
    let mut budget = Budget::of(budget);
    let mut is_perhaps_done = false;
    loop {
        let failed = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let wait = match &failed {
            Failed::Refused {
                http_status,
                problem,
            } if is_perhaps_done && !certain.contains(http_status) => {
                return Err(unsure(Some(*http_status), problem.to_string()));
            }
            Failed::Refused { .. } => return Err(failed),
            Failed::Unsure {
                reason,
                retry_after,
                perhaps_done,
                ..
            } => {
                is_perhaps_done |= perhaps_done;
                let Some(wait) = budget.next_wait(*retry_after) else {
                    return Err(failed);
                };
                tracing::debug!(id, reason, ?wait, "Meterline is asked again");
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}
