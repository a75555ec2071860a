//! A customer of one to three items, each with a price of its own.

use std::fmt;

use fastrand::Rng;

use crate::Pair;

/// Items that a customer has at most: the account has a meter for each.
pub(crate) const ITEMS_MAX: usize = 3;

/// What one customer pays for: the sum of its pairs, each counted by a meter of
/// its own.
#[derive(Clone, Debug)]
pub struct Customer {
    /// What made it.
    pub seed: u64,
    /// The price of each item and its usage. All prices have one currency, as
    /// Stripe has it of a subscription's.
    pub pairs: Vec<Pair>,
}

impl Customer {
    /// The customer of `seed`: always the same.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let first = Pair::random(&mut rng);
        let currency = first.terms.currency.clone();
        let mut pairs = vec![first];
        // Half of them have one item: a difference of one price alone is told apart.
        while pairs.len() < ITEMS_MAX && rng.bool() {
            pairs.push(Pair::random_in(&mut rng, &currency));
        }
        Self { seed, pairs }
    }

    /// The units of all items.
    pub fn units(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.units).sum()
    }
}

/// Its pairs: `5 units at 0.02 usd a unit, and 7 units at 1.00 usd a unit`.
impl fmt::Display for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.pairs.iter().enumerate() {
            let and = if index == 0 { "" } else { ", and " };
            write!(f, "{and}{pair}")?;
        }
        Ok(())
    }
}
