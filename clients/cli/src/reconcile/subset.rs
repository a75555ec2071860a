//! Which rows a difference points to: the sets whose units come to just that sum.

use std::collections::HashMap;

/// Sums that are looked at in one search. Beyond, nothing is said: a set that is
/// found later could not be called the only one.
const WORK_MAX: usize = 250_000;

/// The sets of `units` that come to a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subset {
    /// None does.
    None,
    /// Just one does: the places of its members, ascending.
    Only(Vec<usize>),
    /// Several do.
    Several,
    /// There are too many sets to look at.
    Unknown,
}

/// A way to a sum: its last member, and the way before it.
#[derive(Clone, Copy)]
struct Way {
    member: usize,
    before: Option<usize>,
}

/// How a sum is reached.
#[derive(Clone, Copy)]
enum Reached {
    /// In one way, which ends here in the list of ways; none for the empty sum.
    Once(Option<usize>),
    /// In several.
    Often,
}

impl Subset {
    /// The sets of `units` that come to `sum`. Zeros are in no set: they could
    /// be in any.
    pub fn of(units: &[u64], sum: u64) -> Self {
        let mut left: u128 = units.iter().copied().map(u128::from).sum();
        let mut reached: HashMap<u64, Reached> = HashMap::from([(0, Reached::Once(None))]);
        let mut ways: Vec<Way> = Vec::new();
        let mut work = 0_usize;
        for (member, units) in units.iter().enumerate() {
            left = left.saturating_sub(u128::from(*units));
            if *units == 0 {
                continue;
            }
            work = work.saturating_add(reached.len());
            if work > WORK_MAX {
                return Self::Unknown;
            }
            for (next, how) in step(&reached, *units, sum) {
                let how = match (how, reached.get(&next)) {
                    (Reached::Once(before), None) => {
                        ways.push(Way { member, before });
                        Reached::Once(ways.len().checked_sub(1))
                    }
                    _ => Reached::Often,
                };
                reached.insert(next, how);
            }
            // What cannot grow to the sum any more is of no use.
            reached.retain(|so_far, _| u128::from(sum.saturating_sub(*so_far)) <= left);
        }
        match reached.get(&sum) {
            None => Self::None,
            Some(Reached::Often) => Self::Several,
            Some(Reached::Once(last)) => Self::Only(members(&ways, *last)),
        }
    }
}

/// The sums up to `sum` that one more member of `units` leads to. They do not
/// meet: each comes from another sum.
fn step(reached: &HashMap<u64, Reached>, units: u64, sum: u64) -> Vec<(u64, Reached)> {
    reached
        .iter()
        .filter_map(|(so_far, how)| Some((so_far.checked_add(units)?, *how)))
        .filter(|(next, _)| *next <= sum)
        .collect()
}

fn members(ways: &[Way], last: Option<usize>) -> Vec<usize> {
    let mut members = Vec::new();
    let mut way = last.and_then(|at| ways.get(at));
    while let Some(Way { member, before }) = way {
        members.push(*member);
        way = before.and_then(|at| ways.get(at));
    }
    members.reverse();
    members
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every set, one by one.
    fn by_hand(units: &[u64], sum: u64) -> Subset {
        let mut found = Vec::new();
        for set in 0_u32..(1 << units.len()) {
            let members: Vec<usize> = (0..units.len()).filter(|at| set >> at & 1 == 1).collect();
            if members.iter().any(|at| units[*at] == 0) {
                continue;
            }
            if members.iter().map(|at| units[*at]).sum::<u64>() == sum {
                found.push(members);
            }
        }
        match found.len() {
            0 => Subset::None,
            1 => Subset::Only(found.remove(0)),
            _ => Subset::Several,
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_every_set_finds(
            units in prop::collection::vec(0_u64..12, 0..10),
            sum in 0_u64..40,
        ) {
            prop_assert_eq!(Subset::of(&units, sum), by_hand(&units, sum));
        }

        #[test]
        fn the_only_set_comes_to_the_sum(
            units in prop::collection::vec(1_u64..1_000_000_000, 1..12),
            chosen in any::<u32>(),
        ) {
            let is_chosen = |at: &usize| chosen >> at & 1 == 1;
            let members: Vec<usize> = (0..units.len()).filter(is_chosen).collect();
            let sum = members.iter().map(|at| units[*at]).sum();
            match Subset::of(&units, sum) {
                Subset::Only(found) => prop_assert_eq!(found, members),
                Subset::Several | Subset::Unknown => {}
                Subset::None => prop_assert!(false, "the set that was chosen is not found"),
            }
        }
    }

    #[test]
    fn many_equal_rows_are_soon_seen_to_be_many_sets() {
        assert_eq!(Subset::of(&[1; 5_000], 7), Subset::Several);
        assert_eq!(Subset::of(&[1; 40], 40), Subset::Only((0..40).collect()));
        assert_eq!(Subset::of(&[2; 1_000], 501), Subset::None);
    }

    #[test]
    fn too_many_sets_are_not_called_none() {
        let units: Vec<u64> = (0..60).map(|n| 1 << (n % 30) | 1 << 40).collect();
        assert_eq!(Subset::of(&units, (1 << 44) + 12_345), Subset::Unknown);
    }

    #[test]
    fn units_that_do_not_fit_into_a_sum_are_no_trouble() {
        assert_eq!(Subset::of(&[u64::MAX, 3], 3), Subset::Only(vec![1]));
    }
}
