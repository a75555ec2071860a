//! What is to be sent, in an order that lets nobody wait for another for ever.

use std::collections::{HashMap, VecDeque};

use billing::CustomerId;
use metering::delivery::BATCH_EVENTS_MAX;

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

    /// The next batch; a part of one only where nothing `more_comes`. When the
    /// last batch was lost, it is taken from the other end: if that gets through,
    /// it was the batch, and Stripe is there.
    pub(crate) fn batch(&mut self, from_the_other_end: bool, more_comes: bool) -> Option<Vec<R>> {
        if more_comes && self.unsent.len() < BATCH_EVENTS_MAX {
            return None;
        }
        let length = self.unsent.len().min(BATCH_EVENTS_MAX);
        if length == 0 {
            return self.halves.pop_front();
        }
        Some(if from_the_other_end {
            self.unsent.split_off(self.unsent.len() - length).into()
        } else {
            self.unsent.drain(..length).collect()
        })
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
    use super::*;

    fn events(customer: &str, numbers: std::ops::Range<usize>) -> Vec<(CustomerId, usize)> {
        let customer_id = CustomerId::parse(customer).unwrap();
        numbers.map(|n| (customer_id.clone(), n)).collect()
    }

    fn due(rows: Vec<(CustomerId, usize)>) -> Due<(CustomerId, usize)> {
        let mut due = Due::default();
        due.add(rows, |(customer_id, _)| customer_id);
        due
    }

    fn numbers(batch: Option<Vec<(CustomerId, usize)>>) -> Vec<usize> {
        batch
            .unwrap_or_default()
            .into_iter()
            .map(|(_, n)| n)
            .collect()
    }

    #[test]
    fn one_who_has_thousands_does_not_keep_another_waiting() {
        let mut rows = events("cus_busy", 0..300);
        rows.extend(events("cus_quiet", 1_000..1_002));
        let first = numbers(due(rows).batch(false, true));
        assert_eq!(first[..6], [0, 1_000, 1, 1_001, 2, 3]);
    }

    #[test]
    fn after_a_batch_that_was_lost_the_other_end_has_its_turn() {
        let mut due = due(events("cus_1", 0..250));
        assert_eq!(numbers(due.batch(false, false))[..2], [0, 1]);
        assert_eq!(numbers(due.batch(true, false))[..2], [150, 151]);
        assert!(due.batch(false, true).is_none());
        assert_eq!(due.rows().count(), 50);
        assert_eq!(numbers(due.batch(false, false)).len(), 50);
        assert!(due.is_empty());
    }

    #[test]
    fn what_cannot_be_digested_is_alone_in_the_end() {
        for poison in [0, 57, 99] {
            let mut due = due(events("cus_1", 0..100));
            let (mut lost_in_a_row, mut sent) = (0, Vec::new());
            let alone = loop {
                let batch = due.batch(lost_in_a_row > 0, false).unwrap();
                if batch.iter().any(|(_, n)| *n == poison) {
                    lost_in_a_row += 1;
                    assert!(lost_in_a_row < 3, "{poison}: a run would end here");
                    if let Some((_, n)) = due.take_back(batch) {
                        break n;
                    }
                } else {
                    lost_in_a_row = 0;
                    sent.extend(numbers(Some(batch)));
                }
            };
            assert_eq!(alone, poison);
            sent.extend(due.rows().map(|(_, n)| *n));
            sent.sort_unstable();
            assert_eq!(sent, (0..100).filter(|n| *n != poison).collect::<Vec<_>>());
        }
    }
}
