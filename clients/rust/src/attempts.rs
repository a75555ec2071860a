//! One call, from its first attempt to its last.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::outcome::{Attempt, Failed, unsure_because};
use crate::retry::Budget;
use crate::wire::WireEvent;

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
    let mut doubt = Doubt::default();
    loop {
        let failed = match doubt.weigh(attempt().await, certain) {
            ControlFlow::Break(answer) => return answer,
            ControlFlow::Continue(failed) => failed,
        };
        let Some(wait) = budget.next_wait(failed.retry_after()) else {
            return Err(failed);
        };
        tracing::debug!(id, ?failed, ?wait, "Meterline is asked again");
        tokio::time::sleep(wait).await;
    }
}

/// The same for `events` that go together, with an outcome for each, in order. The time
/// is that of all of them, and an attempt is at those alone whose answer is not clear.
pub(crate) async fn until_all_clear<A>(
    events: &[WireEvent],
    budget: Duration,
    attempt: impl Fn(Vec<WireEvent>) -> A,
) -> Vec<Attempt>
where
    A: Future<Output = Vec<Attempt>>,
{
    let mut budget = Budget::of(budget);
    // By their place among the events.
    let mut outcomes = BTreeMap::new();
    let mut open: Vec<(usize, Doubt)> = (0..events.len())
        .map(|place| (place, Doubt::default()))
        .collect();
    loop {
        let sent = open.iter().filter_map(|(place, _)| events.get(*place));
        let attempts = attempt(sent.cloned().collect()).await;
        let mut asked = None;
        let mut again = Vec::new();
        for ((place, mut doubt), attempt) in open.into_iter().zip(attempts) {
            let outcome = match doubt.weigh(attempt, OF_THE_EVENT) {
                ControlFlow::Break(answer) => answer,
                ControlFlow::Continue(failed) => {
                    asked = asked.max(failed.retry_after());
                    again.push((place, doubt));
                    Err(failed)
                }
            };
            outcomes.insert(place, outcome);
        }
        open = again;
        match budget.next_wait(asked) {
            Some(wait) if !open.is_empty() => {
                tracing::debug!(events = open.len(), ?wait, "Meterline is asked again");
                tokio::time::sleep(wait).await;
            }
            _ => return outcomes.into_values().collect(),
        }
    }
}

/// What earlier attempts at a request leave open.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    is_perhaps_done: bool,
}

impl Doubt {
    /// The answer, if an attempt has brought a clear one; else why there is to be another.
    fn weigh<T>(
        &mut self,
        attempt: Attempt<T>,
        certain: &[u16],
    ) -> ControlFlow<Attempt<T>, Failed> {
        match attempt {
            Err(Failed::Refused {
                http_status,
                problem,
            }) if self.is_perhaps_done && !certain.contains(&http_status) => {
                ControlFlow::Break(Err(unsure_because(http_status, &problem)))
            }
            Err(failed @ Failed::Unsure { .. }) => {
                self.is_perhaps_done |= failed.is_perhaps_done();
                ControlFlow::Continue(failed)
            }
            answer => ControlFlow::Break(answer),
        }
    }
}
