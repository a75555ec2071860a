//! What is to be sent, in an order that lets nobody wait for another for ever.

use std::collections::{HashMap, VecDeque};

use billing::CustomerId;
use metering::delivery::BATCH_EVENTS_MAX;

use crate::patience::{Next, PROBES_LOST_MAX};

/// Pending events in the order in which they are sent: of each customer the
/// oldest first, and the customers by turns, so that one who has thousands does
/// not fill every batch.
pub(crate) struct Due<R> {
    unsent: VecDeque<R>,
    /// Parts of batches that were lost, to be sent by themselves once nothing else
    /// is left: the event that Stripe cannot digest is to be alone in the end. All
    /// of one size have their turn before the smaller ones, so that the good half
    /// of a batch follows upon the bad one, and shows that Stripe is there.
    halves: VecDeque<Vec<R>>,
}

impl<R> Default for Due<R> {
    fn default() -> Self {
        Self {
            unsent: VecDeque::new(),
            halves: VecDeque::new(),
        }
    }
}

impl<R> Due<R> {
    /// Adds `rows`, which are the oldest first.
    pub(crate) fn add(&mut self, rows: Vec<R>, customer_of: impl Fn(&R) -> &CustomerId) {
        let mut turns: Vec<VecDeque<R>> = Vec::new();
        let mut places: HashMap<CustomerId, usize> = HashMap::new();
        for row in rows {
            let customer_id = customer_of(&row).clone();
            let place = *places.entry(customer_id).or_insert(turns.len());
            match turns.get_mut(place) {
                Some(turn) => turn.push_back(row),
                None => turns.push(VecDeque::from([row])),
            }
        }
        while !turns.is_empty() {
            turns.retain_mut(|turn| match turn.pop_front() {
                Some(row) => {
                    self.unsent.push_back(row);
                    true
                }
                None => false,
            });
        }
    }

    /// What is sent `next`, a batch of parts only where nothing `more_comes`.
    pub(crate) fn take(&mut self, next: Next, more_comes: bool) -> Option<Vec<R>> {
        if let Next::Probe(nth) = next {
            return self.probe(nth).map(|row| vec![row]);
        }
        if more_comes && self.unsent.len() < BATCH_EVENTS_MAX {
            return None;
        }
        let length = self.unsent.len().min(BATCH_EVENTS_MAX);
        if length == 0 {
            return self.halves.pop_front();
        }
        Some(if next == Next::BatchFromTheOtherEnd {
            self.unsent.split_off(self.unsent.len() - length).into()
        } else {
            self.unsent.drain(..length).collect()
        })
    }

    /// One event, each `nth` time from another place.
    fn probe(&mut self, nth: u32) -> Option<R> {
        let left = self.unsent.len() + self.halves.iter().map(Vec::len).sum::<usize>();
        // The middle of the nth of as many parts as there are probes.
        let parts = usize::try_from(PROBES_LOST_MAX).unwrap_or(1);
        let nth = usize::try_from(nth).unwrap_or(0);
        let mut place = left * (2 * nth + 1) / (2 * parts);
        if place < self.unsent.len() {
            return self.unsent.remove(place);
        }
        place -= self.unsent.len();
        for half in &mut self.halves {
            if place < half.len() {
                let row = half.remove(place);
                self.halves.retain(|half| !half.is_empty());
                return Some(row);
            }
            place -= half.len();
        }
        None
    }

    /// Takes a batch back of which nothing got through, to be sent in halves.
    /// Answers the event of a batch of one: there is nothing to halve.
    pub(crate) fn take_back(&mut self, mut batch: Vec<R>) -> Option<R> {
        if batch.len() < 2 {
            return batch.pop();
        }
        let other_half = batch.split_off(batch.len().div_ceil(2));
        self.halves.extend([batch, other_half]);
        None
    }

    /// What is left.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &R> {
        self.unsent.iter().chain(self.halves.iter().flatten())
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.halves.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use fastrand::Rng;
    use tokio::time::Instant;

    use super::*;
    use crate::patience::Patience;

    type Event = (CustomerId, usize);

    fn events(customer: &str, numbers: std::ops::Range<usize>) -> Vec<Event> {
        let customer_id = CustomerId::parse(customer).unwrap();
        numbers.map(|n| (customer_id.clone(), n)).collect()
    }

    fn due(rows: Vec<Event>) -> Due<Event> {
        let mut due = Due::default();
        due.add(rows, |(customer_id, _)| customer_id);
        due
    }

    fn numbers(batch: Option<Vec<Event>>) -> Vec<usize> {
        let batch = batch.unwrap_or_default().into_iter();
        batch.map(|(_, n)| n).collect()
    }

    /// A run with time enough, to a Stripe who takes no request with one of `poisons`.
    #[derive(Default)]
    struct Ran {
        sent: BTreeSet<usize>,
        lost_alone: BTreeSet<usize>,
        requests: usize,
    }

    fn run(due: &mut Due<Event>, poisons: &BTreeSet<usize>) -> Ran {
        let mut patience = Patience::until(Instant::now() + Duration::from_secs(3_600));
        let mut ran = Ran::default();
        while !patience.is_over() {
            let Some(batch) = due.take(patience.next(), false) else {
                break;
            };
            ran.requests += 1;
            let got_through = batch.iter().all(|(_, n)| !poisons.contains(n));
            patience.note(got_through);
            if got_through {
                ran.sent.extend(batch.iter().map(|(_, n)| *n));
            } else if let Some((_, n)) = due.take_back(batch) {
                ran.lost_alone.insert(n);
            }
        }
        ran
    }

    #[test]
    fn one_who_has_thousands_does_not_keep_another_waiting() {
        let mut rows = events("cus_busy", 0..300);
        rows.extend(events("cus_quiet", 1_000..1_002));
        let first = numbers(due(rows).take(Next::Batch, true));
        assert_eq!(first[..6], [0, 1_000, 1, 1_001, 2, 3]);
    }

    #[test]
    fn after_a_batch_that_was_lost_the_other_end_has_its_turn() {
        let mut due = due(events("cus_1", 0..250));
        assert_eq!(numbers(due.take(Next::Batch, false))[..2], [0, 1]);
        let other_end = due.take(Next::BatchFromTheOtherEnd, false);
        assert_eq!(numbers(other_end)[..2], [150, 151]);
        assert!(due.take(Next::Batch, true).is_none());
        assert_eq!(due.rows().count(), 50);
        assert_eq!(numbers(due.take(Next::Batch, false)).len(), 50);
        assert!(due.is_empty());
    }

    #[test]
    fn single_events_come_from_different_places() {
        let mut due = due(events("cus_1", 0..160));
        let batch = due.take(Next::Batch, false).unwrap();
        assert!(due.take_back(batch).is_none());
        let probes = (0..3).map(|nth| numbers(due.take(Next::Probe(nth), true)));
        assert_eq!(probes.collect::<Vec<_>>(), [[126], [20], [73]]);
        assert_eq!(due.rows().count(), 157);
        let left = std::iter::from_fn(|| due.take(Next::Probe(2), true));
        assert_eq!(left.count(), 157);
        assert!(due.is_empty());
    }

    #[test]
    fn what_cannot_be_digested_is_alone_in_the_end() {
        for poison in [0, 57, 99] {
            let ran = run(&mut due(events("cus_1", 0..100)), &BTreeSet::from([poison]));
            assert_eq!(ran.lost_alone, BTreeSet::from([poison]));
            assert_eq!(ran.sent.len(), 99);
        }
    }

    /// Three batches in a row are lost, and Stripe is there.
    #[test]
    fn several_that_cannot_be_digested_stop_no_other() {
        for (events_in_all, poisons) in [
            (4, vec![0, 3]),
            (130, vec![10, 120]),
            (300, vec![5, 150, 299]),
        ] {
            let poisons = BTreeSet::from_iter(poisons);
            let ran = run(&mut due(events("cus_1", 0..events_in_all)), &poisons);
            assert_eq!(ran.lost_alone, poisons, "{events_in_all}");
            assert_eq!(ran.sent.len(), events_in_all - poisons.len());
        }
    }

    /// A run may end before it has sent all: each finds some, and sends them last
    /// from then on.
    #[test]
    fn wherever_they_are_all_others_are_sent_in_a_few_runs() {
        for seed in 0..500 {
            let mut rng = Rng::with_seed(seed);
            let count = *rng.choice([2, 3, 5, 20].iter()).unwrap();
            let in_all = rng.usize(count + 1..450);
            let poisons = BTreeSet::from_iter(rng.choose_multiple(0..in_all, count));
            let (mut found, mut left) = (BTreeSet::new(), BTreeSet::from_iter(0..in_all));
            let mut runs = 0;
            while left.difference(&poisons).next().is_some() {
                let others = events("cus_1", 0..in_all).into_iter();
                let others = others.filter(|(_, n)| left.contains(n) && !found.contains(n));
                let ran = run(&mut due(others.collect()), &poisons);
                left.retain(|n| !ran.sent.contains(n));
                found.extend(ran.lost_alone);
                runs += 1;
                assert!(runs <= 1 + count / 3, "seed {seed}: {left:?}");
            }
        }
    }

    #[test]
    fn where_stripe_is_down_a_run_ends_after_few_requests() {
        let all = BTreeSet::from_iter(0..450);
        let ran = run(&mut due(events("cus_1", 0..450)), &all);
        assert_eq!((ran.requests, ran.sent.len()), (6, 0));
    }
}
