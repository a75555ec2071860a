//! What is to be sent, in an order that lets nobody wait for another for ever.

use std::collections::{HashMap, VecDeque};

use billing::CustomerId;
use metering::delivery::BATCH_EVENTS_MAX;

/// Pending events in the order in which they are sent: of each customer the
/// oldest first, and the customers by turns, so that one who has thousands does
/// not fill every batch.
pub(crate) struct Due<R>(VecDeque<R>);

impl<R> Default for Due<R> {
    fn default() -> Self {
        Self(VecDeque::new())
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
                    self.0.push_back(row);
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
        if self.0.is_empty() || (more_comes && self.0.len() < BATCH_EVENTS_MAX) {
            return None;
        }
        let length = self.0.len().min(BATCH_EVENTS_MAX);
        Some(if from_the_other_end {
            self.0.split_off(self.0.len() - length).into()
        } else {
            self.0.drain(..length).collect()
        })
    }

    /// What is left.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &R> {
        self.0.iter()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
}
