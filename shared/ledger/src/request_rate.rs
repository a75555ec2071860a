//! How many requests a second a key may make, over all functions and all their
//! environments. HTTP APIs of API Gateway have no usage plans, so that the
//! functions count by themselves (Amazon API Gateway Developer Guide: "Choose
//! between REST APIs and HTTP APIs").
//!
//! No request writes: an environment leases requests of a window from the key's
//! counter, many at once, and spends them in memory. What is leased is never
//! more than the rate times the window, so what is spent is not either.

use std::num::NonZeroU32;
use std::str::FromStr;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use billing::Timestamp;
use serde::{Deserialize, Serialize};

use crate::items::{Item, number, text};
use crate::{Ledger, LedgerError};

/// What a window lasts. In each, a key may make its rate times this many
/// seconds: all of them at once, if it likes.
pub const RATE_WINDOW_MS: i64 = 10_000;
const RATE_WINDOW_S: u64 = 10;

/// What the key of a counter begins with; the key's id follows. Beside the keys'
/// own rows, so that counting never meets a change of one, and costs one write
/// unit however long the list of a key's customers is.
pub(crate) const COUNTER_PREFIX: &str = "counter#";

/// A counter that is further ahead of a reader's clock than this was moved by a
/// clock that is wrong: it is set back, lest the key wait for its time to come.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;

/// Tries of one lease. Each that fails has seen that others leased meanwhile, and
/// asks for half of what is left at most: one that fails again has seen them take
/// the other half, which cannot go on for as many times as this.
const TRIES: u32 = 32;

/// Requests a second, averaged over a window: 1 to [`RequestRate::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct RequestRate(NonZeroU32);

/// The number is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {} requests a second", RequestRate::MAX)]
pub struct InvalidRequestRate;

impl RequestRate {
    /// More than any key makes: in effect no limit.
    pub const MAX: u32 = 1_000_000;

    /// The rate [`MAX`](Self::MAX).
    pub const UNLIMITED: Self = match NonZeroU32::new(Self::MAX) {
        Some(rate) => Self(rate),
        None => Self(NonZeroU32::MIN),
    };

    /// `requests_per_second`.
    ///
    /// # Errors
    /// [`InvalidRequestRate`] for 0 and for more than [`MAX`](Self::MAX).
    pub fn new(requests_per_second: u32) -> Result<Self, InvalidRequestRate> {
        NonZeroU32::new(requests_per_second)
            .filter(|rate| rate.get() <= Self::MAX)
            .map(Self)
            .ok_or(InvalidRequestRate)
    }

    /// Requests a second.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Requests of a window.
    pub fn per_window(self) -> u64 {
        u64::from(self.get()).saturating_mul(RATE_WINDOW_S)
    }
}

impl TryFrom<u32> for RequestRate {
    type Error = InvalidRequestRate;

    fn try_from(requests_per_second: u32) -> Result<Self, InvalidRequestRate> {
        Self::new(requests_per_second)
    }
}

impl From<RequestRate> for u32 {
    fn from(rate: RequestRate) -> Self {
        rate.get()
    }
}

impl FromStr for RequestRate {
    type Err = InvalidRequestRate;

    fn from_str(text: &str) -> Result<Self, InvalidRequestRate> {
        text.parse().map_or(Err(InvalidRequestRate), Self::new)
    }
}

/// The start of the window that holds `now`. All environments have the same ones.
pub const fn rate_window(now: Timestamp) -> Timestamp {
    now.plus_ms(-now.unix_ms().rem_euclid(RATE_WINDOW_MS))
}

/// Requests that may be made until the window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLease {
    /// When the window ends, and what is left of the lease with it.
    pub window_end: Timestamp,
    /// How many. None where the window is used up.
    pub requests: u64,
    /// How it was come by: what the next one is to be tried with first.
    pub step: LeaseStep,
}

/// How requests are leased. A step that does not fit costs a write unit too, so
/// that it matters which one is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseStep {
    /// As the first of the window.
    #[default]
    Open,
    /// From a window that is open.
    Join,
}

impl Ledger {
    /// Leases up to `wanted` requests of the window that holds `now` for
    /// `key_id`, of which all environments together get `rate` times the
    /// window's seconds. Notes at the same time that the key was used.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps leased, and then lost.
    pub async fn lease_requests(
        &self,
        key_id: &str,
        rate: RequestRate,
        wanted: u64,
        now: Timestamp,
        first_step: LeaseStep,
    ) -> Result<RequestLease, LedgerError> {
        let limit = rate.per_window();
        let mut attempt = Attempt {
            counter_key: format!("{COUNTER_PREFIX}{key_id}"),
            window_start: rate_window(now),
            requests: wanted.clamp(1, limit),
            limit,
            step: first_step,
            now,
        };
        let mut tries = 1;
        loop {
            let Err(error) = self.try_lease(&attempt).await else {
                return Ok(attempt.lease(attempt.requests));
            };
            let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                error.as_service_error()
            else {
                return Err(unavailable(error));
            };
            if tries >= TRIES {
                return Err(unavailable(error));
            }
            tries += 1;
            if attempt.learn(failed.item()) == 0 {
                return Ok(attempt.lease(0));
            }
        }
    }

    async fn try_lease(&self, attempt: &Attempt) -> Result<(), SdkError<UpdateItemError>> {
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.api_keys)
            .key("key_id", text(&attempt.counter_key))
            .expression_attribute_values(":window", number(attempt.window_start.unix_ms()))
            .expression_attribute_values(":requests", number(attempt.requests))
            .expression_attribute_values(":now", number(attempt.now.unix_ms()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = match attempt.step {
            LeaseStep::Open => update
                .update_expression(
                    "SET window_start = :window, leased = :requests, last_used_at = :now",
                )
                .condition_expression(
                    "attribute_not_exists(key_id) OR window_start < :window OR window_start > :wrong",
                )
                .expression_attribute_values(":wrong", number(attempt.latest_window().unix_ms())),
            LeaseStep::Join => update
                .update_expression("SET leased = leased + :requests, last_used_at = :now")
                .condition_expression("window_start = :window AND leased <= :room")
                .expression_attribute_values(
                    ":room",
                    number(attempt.limit.saturating_sub(attempt.requests)),
                ),
        };
        update.send().await.map(|_| ())
    }
}

fn unavailable(error: SdkError<UpdateItemError>) -> LedgerError {
    LedgerError::unavailable("lease requests")(error)
}

/// One try at a lease.
struct Attempt {
    counter_key: String,
    window_start: Timestamp,
    requests: u64,
    limit: u64,
    step: LeaseStep,
    now: Timestamp,
}

impl Attempt {
    /// Takes in what the counter holds, which the last try did not expect:
    /// how many requests to try for now, none where the window is used up.
    fn learn(&mut self, counter: Option<&Item>) -> u64 {
        let counted = |name| counter.and_then(|item| whole_number(item.get(name)?));
        let window_start = counted("window_start").map(Timestamp::from_unix_ms);
        match window_start {
            Some(open) if self.window_start <= open && open <= self.latest_window() => {
                let is_short = self.step == LeaseStep::Join && self.window_start == open;
                // Perhaps a later one than this clock knows of: others' clocks say so.
                self.window_start = open;
                self.step = LeaseStep::Join;
                let leased = counted("leased").and_then(|leased| u64::try_from(leased).ok());
                let left = self.limit.saturating_sub(leased.unwrap_or(0));
                let most = if is_short { left.div_ceil(2) } else { left };
                self.requests = self.requests.min(most);
            }
            _ => self.step = LeaseStep::Open,
        }
        self.requests
    }

    /// The latest window that a clock that is right can have opened.
    const fn latest_window(&self) -> Timestamp {
        rate_window(self.now).plus_ms(CLOCK_AHEAD_MS_MAX)
    }

    const fn lease(&self, requests: u64) -> RequestLease {
        RequestLease {
            window_end: self.window_start.plus_ms(RATE_WINDOW_MS),
            requests,
            step: self.step,
        }
    }
}

fn whole_number(value: &AttributeValue) -> Option<i64> {
    value.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:00:00Z, where a window begins.
    const NOON: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn attempt(now: Timestamp) -> Attempt {
        Attempt {
            counter_key: "counter#1".to_owned(),
            window_start: rate_window(now),
            requests: 10,
            limit: 30,
            step: LeaseStep::Open,
            now,
        }
    }

    fn counter(window_start: Timestamp, leased: u64) -> Item {
        Item::from([
            ("window_start".to_owned(), number(window_start.unix_ms())),
            ("leased".to_owned(), number(leased)),
        ])
    }

    #[test]
    fn a_rate_is_one_to_a_million() {
        for text in ["", "0", "-1", "1.5", "1000001", "many"] {
            assert_eq!(text.parse::<RequestRate>(), Err(InvalidRequestRate));
        }
        let rate: RequestRate = "1000000".parse().unwrap();
        assert_eq!(rate, RequestRate::UNLIMITED);
        assert_eq!(RequestRate::new(5).unwrap().per_window(), 50);
    }

    #[test]
    fn windows_are_the_same_for_everybody() {
        assert_eq!(rate_window(NOON), NOON);
        assert_eq!(rate_window(NOON.plus_ms(9_999)), NOON);
        assert_eq!(rate_window(NOON.plus_ms(-1)), NOON.plus_ms(-RATE_WINDOW_MS));
    }

    #[test]
    fn what_is_left_of_an_open_window_is_leased() {
        let mut attempt = attempt(NOON);
        assert_eq!(attempt.learn(Some(&counter(NOON, 25))), 5);
        assert_eq!(attempt.step, LeaseStep::Join);
        // Of what others are after, too, half.
        assert_eq!(attempt.learn(Some(&counter(NOON, 27))), 2);
        assert_eq!(attempt.learn(Some(&counter(NOON, 30))), 0);
        // The limit was lowered meanwhile.
        assert_eq!(attempt.learn(Some(&counter(NOON, 80))), 0);
    }

    #[test]
    fn a_slow_clock_joins_the_others_and_a_wrong_one_is_overruled() {
        let mut slow = attempt(NOON.plus_ms(-1));
        slow.learn(Some(&counter(NOON, 0)));
        assert_eq!((slow.step, slow.window_start), (LeaseStep::Join, NOON));

        let mut right = attempt(NOON);
        right.step = LeaseStep::Join;
        right.learn(Some(&counter(NOON.plus_ms(3_600_000), 30)));
        assert_eq!((right.step, right.window_start), (LeaseStep::Open, NOON));
    }
}
