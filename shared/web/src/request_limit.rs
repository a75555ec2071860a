//! The limit of each key's requests, of which an environment leases some and
//! spends them in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use billing::Timestamp;
use ledger::{ApiKeyRow, LeaseStep, Ledger, RATE_WINDOW_MS, RequestRate, rate_window};

/// How long requests are let in uncounted where the counter does not answer: a
/// limit that cannot be asked about must not stop who keeps to it, and the wait
/// for an answer is not to come with every request.
const UNCOUNTED_MS: i64 = RATE_WINDOW_MS;
/// The least that is leased, as a share of the window: small enough that a
/// thousand environments may each hold one without the others going short.
const LEAST_SHARE: u64 = 1_000;
/// That share at most: what is enough for any environment to begin with.
const LEAST_MAX: u64 = 100;
/// What is leased beyond that, as a share of what was spent in the window.
const SPENT_SHARE: u64 = 4;
/// Keys counted at once.
const KEYS_MAX: usize = 10_000;

/// Counts requests by key, together with all other environments.
pub(crate) struct RequestLimiter {
    ledger: Ledger,
    /// For keys that have no rate of their own.
    default_rate: RequestRate,
    keys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Allowance>>>>,
}

/// A request over the limit of its key: how long its caller is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverLimit {
    pub(crate) wait_ms: i64,
}

/// What this environment may still let in for one key.
#[derive(Debug, Default)]
struct Allowance {
    /// None before the first lease.
    window_end: Option<Timestamp>,
    left: u64,
    /// In this window, by this environment.
    spent: u64,
    /// In the window before.
    spent_before: u64,
    /// All environments together have used the window up.
    is_used_up: bool,
    /// What the first lease of the last window was got by.
    first_step: LeaseStep,
    /// Until when nothing is counted, because the counter did not answer.
    uncounted_until: Option<Timestamp>,
}

impl RequestLimiter {
    pub(crate) fn new(ledger: Ledger, default_rate: RequestRate) -> Self {
        Self {
            ledger,
            default_rate,
            keys: Mutex::default(),
        }
    }

    /// The rate of keys that have none of their own.
    pub(crate) const fn default_rate(&self) -> RequestRate {
        self.default_rate
    }

    /// Counts a request with `key` at `now`.
    pub(crate) async fn count(&self, key: &ApiKeyRow, now: Timestamp) -> Result<(), OverLimit> {
        let allowance = self.allowance(&key.key_id);
        // One lease at a time: who waits here finds what the first has leased.
        let mut allowance = allowance.lock().await;
        if allowance.uncounted_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        allowance.enter_window(now);
        if allowance.left == 0 && !allowance.is_used_up {
            self.lease(key, &mut allowance, now).await;
            if allowance.uncounted_until.is_some() {
                return Ok(());
            }
        }
        allowance.spend(now)
    }

    async fn lease(&self, key: &ApiKeyRow, allowance: &mut Allowance, now: Timestamp) {
        let rate = key.requests_per_second.unwrap_or(self.default_rate);
        let wanted = allowance.wanted(rate);
        let key_id = key.key_id.as_str();
        let lease = self
            .ledger
            .lease_requests(key_id, rate, wanted, now, allowance.step());
        match lease.await {
            Ok(lease) => {
                allowance.uncounted_until = None;
                if allowance.window_end.is_none() {
                    allowance.first_step = lease.step;
                }
                allowance.window_end = Some(lease.window_end);
                allowance.left = lease.requests;
                allowance.is_used_up = lease.requests == 0;
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(tracing::field::debug);
                tracing::warn!(key_id, %error, source, "requests are not counted");
                allowance.uncounted_until = Some(now.plus_ms(UNCOUNTED_MS));
            }
        }
    }

    fn allowance(&self, key_id: &str) -> Arc<tokio::sync::Mutex<Allowance>> {
        let mut keys = self.keys();
        if let Some(allowance) = keys.get(key_id) {
            return Arc::clone(allowance);
        }
        if keys.len() >= KEYS_MAX {
            // What is held back by a request stays with that request.
            keys.clear();
        }
        Arc::clone(keys.entry(key_id.to_owned()).or_default())
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<Allowance>>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allowance {
    /// Begins anew where the window of the last lease is over.
    fn enter_window(&mut self, now: Timestamp) {
        let Some(end) = self.window_end.filter(|end| *end <= now) else {
            return;
        };
        let was_just_now = now < end.plus_ms(RATE_WINDOW_MS);
        *self = Self {
            spent_before: if was_just_now { self.spent } else { 0 },
            first_step: self.first_step,
            ..Self::default()
        };
    }

    /// What the next lease is to be tried with first.
    const fn step(&self) -> LeaseStep {
        match self.window_end {
            Some(_) => LeaseStep::Join,
            None => self.first_step,
        }
    }

    /// How many requests to lease. First as many as were needed in the window
    /// before, so that a steady environment leases once a window; then a share of
    /// what was spent, so that what is left over at the end, and lost to the other
    /// environments, stays a small part.
    fn wanted(&self, rate: RequestRate) -> u64 {
        let least = rate.per_window().div_ceil(LEAST_SHARE).min(LEAST_MAX);
        let wanted = if self.spent == 0 {
            self.spent_before
        } else {
            self.spent / SPENT_SHARE
        };
        wanted.max(least)
    }

    fn spend(&mut self, now: Timestamp) -> Result<(), OverLimit> {
        if self.left == 0 {
            let end = self
                .window_end
                .unwrap_or_else(|| rate_window(now).plus_ms(RATE_WINDOW_MS));
            return Err(OverLimit {
                wait_ms: end.ms_since(now),
            });
        }
        self.left -= 1;
        self.spent = self.spent.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:00:00Z, where a window begins.
    const NOON: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn rate(requests_per_second: u32) -> RequestRate {
        RequestRate::new(requests_per_second).unwrap()
    }

    fn leased(requests: u64) -> Allowance {
        Allowance {
            window_end: Some(NOON.plus_ms(RATE_WINDOW_MS)),
            left: requests,
            ..Allowance::default()
        }
    }

    #[test]
    fn a_lease_is_spent_and_then_the_window_is_waited_for() {
        let mut allowance = leased(2);
        assert_eq!(allowance.spend(NOON), Ok(()));
        assert_eq!(allowance.spend(NOON), Ok(()));
        let late = NOON.plus_ms(9_400);
        assert_eq!(allowance.spend(late), Err(OverLimit { wait_ms: 600 }));
    }

    #[test]
    fn what_is_left_of_a_window_ends_with_it() {
        let mut allowance = leased(5);
        allowance.enter_window(NOON.plus_ms(RATE_WINDOW_MS - 1));
        assert_eq!(allowance.left, 5);
        allowance.enter_window(NOON.plus_ms(RATE_WINDOW_MS));
        assert_eq!((allowance.left, allowance.window_end), (0, None));
    }

    #[test]
    fn a_steady_environment_leases_what_it_spends_and_a_new_one_little() {
        assert_eq!(Allowance::default().wanted(rate(1)), 1);
        assert_eq!(Allowance::default().wanted(rate(1_000)), 10);
        assert_eq!(Allowance::default().wanted(RequestRate::UNLIMITED), 100);
        let mut busy = Allowance {
            spent: 400,
            ..leased(0)
        };
        assert_eq!(busy.wanted(rate(1_000)), 100);
        busy.enter_window(NOON.plus_ms(RATE_WINDOW_MS));
        assert_eq!(busy.wanted(rate(1_000)), 400);

        let mut rested = Allowance {
            spent: 400,
            ..leased(0)
        };
        rested.enter_window(NOON.plus_ms(2 * RATE_WINDOW_MS));
        assert_eq!(rested.wanted(rate(1_000)), 10);
    }
}
