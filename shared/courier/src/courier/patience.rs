//! When a run leaves the rest to the next one.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use billing::Timestamp;
use ledger::{Channel, Delivery};
use tokio::time::Instant;

use super::attempt::Attempt;
use crate::backoff::put_off;
use crate::webhook::REQUEST_TIMEOUT;

/// What an event may take after its sending: notes and the reads before it.
const NOTE_BUDGET: Duration = Duration::from_secs(8);
/// Attempts in a row that fail before a channel is left to the next run: so many
/// events do not each wait for the same time-out.
const FAILURES_MAX: u32 = 3;

/// How long a run goes on, and by which channels.
pub(super) struct Patience {
    deadline: Instant,
    email: Record,
    webhook: Record,
}

/// What a run has seen of a channel.
#[derive(Default)]
struct Record {
    /// In a row, up to now.
    failures: AtomicU32,
    /// Whether anything was taken.
    takes: AtomicBool,
}

impl Patience {
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            email: Record::default(),
            webhook: Record::default(),
        }
    }

    const fn record(&self, channel: Channel) -> &Record {
        match channel {
            Channel::Email => &self.email,
            Channel::Webhook => &self.webhook,
        }
    }

    fn is_given_up(&self, channel: Channel) -> bool {
        self.record(channel).failures.load(Ordering::Relaxed) >= FAILURES_MAX
    }

    /// Begins nothing by `channel`, as if it had failed.
    pub(super) fn give_up(&self, channel: Channel) {
        let failures = &self.record(channel).failures;
        failures.store(FAILURES_MAX, Ordering::Relaxed);
    }

    /// Whether anything more may be begun by `channel`.
    pub(super) fn allows(&self, channel: Channel) -> bool {
        self.has_time() && !self.is_given_up(channel)
    }

    /// Whether one of `channels` is not given up.
    pub(super) fn has_any_of(&self, channels: &[Channel]) -> bool {
        channels.iter().any(|channel| !self.is_given_up(*channel))
    }

    /// What becomes at `now` of `delivery`, whose channel is not allowed any more. It
    /// makes way for what another of `channels` can bring. Where nobody can bring
    /// anything it keeps its place: that costs nothing, and the oldest stays first.
    pub(super) fn leave(
        &self,
        delivery: &Delivery,
        channels: &[Channel],
        now: Timestamp,
    ) -> Attempt {
        if !self.has_time() || !self.has_any_of(channels) {
            return Attempt::Left;
        }
        let takes = self.record(delivery.channel).takes.load(Ordering::Relaxed);
        Attempt::PutOff(put_off(delivery.since, now, takes))
    }

    /// Whether another event surely ends before the deadline.
    pub(super) fn has_time(&self) -> bool {
        Instant::now() + REQUEST_TIMEOUT + NOTE_BUDGET < self.deadline
    }

    pub(super) fn note(&self, channel: Channel, attempt: &Attempt) {
        let Record { failures, takes } = self.record(channel);
        match attempt {
            Attempt::Sent => {
                failures.store(0, Ordering::Relaxed);
                takes.store(true, Ordering::Relaxed);
            }
            Attempt::Failed(_) => {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            Attempt::Dead(_) | Attempt::Dropped(_) | Attempt::Left | Attempt::PutOff(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Channel; 2] = [Channel::Email, Channel::Webhook];
    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);
    const MINUTE_MS: i64 = 60_000;

    fn patience() -> Patience {
        Patience::until(Instant::now() + Duration::from_secs(600))
    }

    fn fail(patience: &Patience, channel: Channel) {
        for _ in 0..FAILURES_MAX {
            assert!(patience.allows(channel));
            patience.note(channel, &Attempt::Failed(String::new()));
        }
        assert!(!patience.allows(channel));
    }

    /// In how many minutes a mail is due again that has waited for an hour.
    fn put_off_min(patience: &Patience) -> Option<i64> {
        let mail = Delivery::new("a", Channel::Email, NOW.plus_ms(-60 * MINUTE_MS));
        match patience.leave(&mail, &BOTH, NOW) {
            Attempt::PutOff(due_at) => Some(due_at.ms_since(NOW) / MINUTE_MS),
            _ => None,
        }
    }

    #[test]
    fn a_channel_that_takes_some_is_tried_again_sooner_than_one_that_takes_nothing() {
        let down = patience();
        fail(&down, Channel::Email);
        assert_eq!(put_off_min(&down), Some(32));
        let slow = patience();
        slow.note(Channel::Email, &Attempt::Sent);
        fail(&slow, Channel::Email);
        assert_eq!(put_off_min(&slow), Some(1));
    }

    #[test]
    fn nothing_makes_way_for_what_nobody_brings() {
        let patience = patience();
        fail(&patience, Channel::Email);
        patience.give_up(Channel::Webhook);
        assert!(!patience.has_any_of(&BOTH));
        assert_eq!(put_off_min(&patience), None);
        let over = Patience::until(Instant::now());
        assert_eq!(put_off_min(&over), None);
    }
}
