//! Which request fails, and how: decided by the seed and the request's number
//! among those of its kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::random::{hash, mix};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nobody listens for a while: connections are refused.
    Refused,
    /// The request is lost; the caller waits until its limit.
    TimedOut,
    /// The work is done; the caller waits until its limit.
    TimedOutAfterCommit,
    /// The caller gives up, and then the request arrives all the same.
    Late,
    /// The work is done, and the connection closes without an answer.
    AnswerLost,
    /// The connection is reset before the request is passed on.
    Reset,
    /// The work is done; the connection is reset in the middle of the answer.
    ResetMidAnswer,
    /// 429.
    TooManyRequests,
    /// 429, asking for a wait.
    TooManyRequestsRetryAfter,
    /// 500 in place of the work.
    InternalError,
    /// 500 although the work is done.
    InternalErrorAfterCommit,
    /// 503.
    Unavailable,
    /// DynamoDB: the table's or the account's pace is exceeded.
    Throttled,
    /// DynamoDB: another transaction is at the same item.
    TransactionConflict,
    /// Stripe refuses the request for one of its events.
    BadRequest,
    /// Stripe has forgotten the session.
    SessionExpired,
    /// Everything takes longer, within the limit.
    Slow,
    /// The functions' process is killed with all that it has begun.
    Killed,
    /// The time steps over the send window.
    ClockOverSendWindow,
    /// The time steps over the end of a period.
    ClockOverPeriodEnd,
    /// A batch of the stream comes again.
    StreamRepeated,
    /// A batch of the stream comes in two parts, the first of them twice.
    StreamSplit,
    /// Two calls with one batch run at once.
    StreamTwoAtOnce,
    /// A shard ends, and others take its place.
    ShardSplit,
    /// Two redeliveries run at once.
    RedeliveryTwoAtOnce,
    /// A webhook is not taken, and comes again behind later ones.
    WebhookRefused,
    /// A webhook is dealt with, and Stripe hears a 500.
    WebhookAnswerLost,
    /// A webhook comes twice at once.
    WebhookTwiceAtOnce,
    /// The agent never hears the answer.
    AgentDeaf,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed out, lost",
            Self::TimedOutAfterCommit => "timed out, done",
            Self::Late => "timed out, arrives later",
            Self::AnswerLost => "answer lost after commit",
            Self::Reset => "reset",
            Self::ResetMidAnswer => "reset in mid-answer",
            Self::TooManyRequests => "429",
            Self::TooManyRequestsRetryAfter => "429 with Retry-After",
            Self::InternalError => "500",
            Self::InternalErrorAfterCommit => "500 after commit",
            Self::Unavailable => "503",
            Self::Throttled => "throttled",
            Self::TransactionConflict => "transaction conflict",
            Self::BadRequest => "400 for one event",
            Self::SessionExpired => "session expired",
            Self::Slow => "slow",
            Self::Killed => "process killed",
            Self::ClockOverSendWindow => "clock over the send window",
            Self::ClockOverPeriodEnd => "clock over a period's end",
            Self::StreamRepeated => "stream batch repeated",
            Self::StreamSplit => "stream batch split",
            Self::StreamTwoAtOnce => "stream batch twice at once",
            Self::ShardSplit => "shard split",
            Self::RedeliveryTwoAtOnce => "two redeliveries at once",
            Self::WebhookRefused => "webhook refused, late",
            Self::WebhookAnswerLost => "webhook's answer lost",
            Self::WebhookTwiceAtOnce => "webhook twice at once",
            Self::AgentDeaf => "answer lost to the agent",
        })
    }
}

/// What may happen to a request, each with its weight.
type Menu = &'static [(Fault, u64)];

const DYNAMODB: Menu = &[
    (Fault::TimedOut, 1),
    (Fault::TimedOutAfterCommit, 1),
    (Fault::Late, 1),
    (Fault::AnswerLost, 8),
    (Fault::Reset, 4),
    (Fault::ResetMidAnswer, 4),
    (Fault::InternalError, 4),
    (Fault::InternalErrorAfterCommit, 6),
    (Fault::Unavailable, 3),
    (Fault::Throttled, 8),
    (Fault::Slow, 6),
];

const DYNAMODB_TRANSACTION: Menu = &[
    (Fault::TimedOutAfterCommit, 1),
    (Fault::Late, 1),
    (Fault::AnswerLost, 8),
    (Fault::ResetMidAnswer, 4),
    (Fault::InternalErrorAfterCommit, 6),
    (Fault::Throttled, 4),
    (Fault::TransactionConflict, 12),
];

const STRIPE: Menu = &[
    (Fault::TimedOut, 1),
    (Fault::Late, 1),
    (Fault::AnswerLost, 4),
    (Fault::Reset, 3),
    (Fault::TooManyRequests, 4),
    (Fault::InternalError, 4),
    (Fault::Unavailable, 3),
    (Fault::Slow, 4),
];

const STRIPE_STREAM: Menu = &[
    (Fault::TimedOut, 1),
    (Fault::TimedOutAfterCommit, 1),
    (Fault::Late, 2),
    (Fault::AnswerLost, 8),
    (Fault::Reset, 4),
    (Fault::ResetMidAnswer, 4),
    (Fault::TooManyRequests, 4),
    (Fault::TooManyRequestsRetryAfter, 4),
    (Fault::InternalError, 4),
    (Fault::InternalErrorAfterCommit, 4),
    (Fault::Unavailable, 3),
    (Fault::BadRequest, 2),
    (Fault::SessionExpired, 3),
    (Fault::Slow, 4),
];

const WEBHOOK: Menu = &[
    (Fault::WebhookRefused, 4),
    (Fault::WebhookAnswerLost, 3),
    (Fault::WebhookTwiceAtOnce, 3),
];

/// Kinds of requests that fail alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    DynamoDb,
    DynamoDbTransaction,
    Stripe,
    StripeStream,
    Webhook,
}

impl Class {
    /// The faults, and of 10,000 requests how many fail where one in a hundred
    /// of DynamoDB's does. Few requests carry much: they fail more often.
    const fn menu(self) -> (Menu, u64) {
        match self {
            Self::DynamoDb => (DYNAMODB, 100),
            Self::DynamoDbTransaction => (DYNAMODB_TRANSACTION, 600),
            Self::Stripe => (STRIPE, 800),
            Self::StripeStream => (STRIPE_STREAM, 2_000),
            Self::Webhook => (WEBHOOK, 2_500),
        }
    }
}

/// Decides on faults and counts them.
#[derive(Clone, Debug)]
pub(crate) struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seed: u64,
    is_on: AtomicBool,
    /// Requests so far, by what they are for.
    requests: Mutex<BTreeMap<String, u64>>,
    struck: Mutex<BTreeMap<Fault, u64>>,
    #[cfg(test)]
    forced: Option<Fault>,
}

impl Faults {
    /// The faults of `seed`, none until they are switched on.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            seed,
            is_on: AtomicBool::new(false),
            requests: Mutex::default(),
            struck: Mutex::default(),
            #[cfg(test)]
            forced: None,
        }))
    }

    /// `fault`, at every request.
    #[cfg(test)]
    pub(crate) fn forcing(fault: Fault) -> Self {
        let mut faults = Self::new(0);
        if let Some(shared) = Arc::get_mut(&mut faults.0) {
            shared.forced = Some(fault);
        }
        faults
    }

    /// Switches them on or off.
    pub(crate) fn switch(&self, is_on: bool) {
        self.0.is_on.store(is_on, Ordering::SeqCst);
    }

    /// What happens to the next request for `purpose`, with a number that
    /// settles the details; mostly nothing.
    pub(crate) fn decide(&self, class: Class, purpose: &str) -> Option<(Fault, u64)> {
        #[cfg(test)]
        if let Some(fault) = self.0.forced {
            return Some((fault, 0));
        }
        let number = {
            let requests = self.0.requests.lock();
            let mut requests = requests.unwrap_or_else(PoisonError::into_inner);
            match requests.get_mut(purpose) {
                Some(number) => {
                    *number += 1;
                    *number
                }
                None => {
                    requests.insert(purpose.to_owned(), 0);
                    0
                }
            }
        };
        if !self.0.is_on.load(Ordering::SeqCst) {
            return None;
        }
        let chance = mix(self.0.seed ^ mix(hash(purpose) ^ number));
        let (menu, per_10_000) = class.menu();
        if chance % 10_000 >= per_10_000 {
            return None;
        }
        let detail = mix(chance);
        let fault = choose(menu, detail)?;
        self.count(fault);
        Some((fault, mix(detail)))
    }

    /// Counts a fault that the runner makes.
    pub(crate) fn count(&self, fault: Fault) {
        let mut struck = self.0.struck.lock().unwrap_or_else(PoisonError::into_inner);
        *struck.entry(fault).or_default() += 1;
    }

    /// How often each fault struck.
    pub(crate) fn struck(&self) -> BTreeMap<Fault, u64> {
        let struck = self.0.struck.lock();
        struck.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn choose(menu: Menu, detail: u64) -> Option<Fault> {
    let all: u64 = menu.iter().map(|(_, weight)| weight).sum();
    let mut left = detail.checked_rem(all)?;
    for (fault, weight) in menu {
        if left < *weight {
            return Some(*fault);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(seed: u64) -> Vec<Option<(Fault, u64)>> {
        let faults = Faults::new(seed);
        faults.switch(true);
        let decide = |_| faults.decide(Class::StripeStream, "send");
        (0..200).map(decide).collect()
    }

    #[test]
    fn a_seed_decides_and_another_decides_otherwise() {
        assert_eq!(decisions(1), decisions(1));
        assert_ne!(decisions(1), decisions(2));
    }

    #[test]
    fn every_fault_on_a_menu_strikes_in_time() {
        for class in [
            Class::DynamoDb,
            Class::DynamoDbTransaction,
            Class::Stripe,
            Class::StripeStream,
            Class::Webhook,
        ] {
            let faults = Faults::new(7);
            faults.switch(true);
            for _ in 0..100_000 {
                faults.decide(class, "call");
            }
            let struck: Vec<Fault> = faults.struck().into_keys().collect();
            let mut menu: Vec<Fault> = class.menu().0.iter().map(|(fault, _)| *fault).collect();
            menu.sort_unstable();
            assert_eq!(struck, menu, "{class:?}");
        }
    }

    #[test]
    fn in_peace_nothing_strikes() {
        let faults = Faults::new(1);
        for _ in 0..1_000 {
            assert_eq!(faults.decide(Class::StripeStream, "send"), None);
        }
        assert_eq!(faults.struck(), BTreeMap::new());
    }
}
