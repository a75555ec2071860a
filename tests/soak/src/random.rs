//! Randomness that a seed repeats: SplitMix64 (Steele, Lea and Flood, "Fast
//! splittable pseudorandom number generators").

/// What is added at each step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for the purpose `name`: what one purpose draws moves
    /// no other.
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        Self(mix(seed ^ hash(name)))
    }

    /// The next number.
    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `limit`; 0 where that is 0.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 {
            return 0;
        }
        self.number() % limit
    }

    /// Whether something happens that happens `times` in a hundred.
    pub(crate) const fn percent(&mut self, times: u64) -> bool {
        self.below(100) < times
    }

    /// A place in a list of `length`.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or(0)
    }

    /// A stream that goes on by itself.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.number())
    }
}

/// One number out of another, as far from it as can be.
pub(crate) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number for `text`, the same in every process (FNV-1a).
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
