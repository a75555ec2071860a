//! Ids and secrets, repeatable where the configuration gives a seed.

use std::sync::atomic::{AtomicU64, Ordering};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SplitMix64: a counter and a mixing function, so that it needs no lock.
/// Nothing that it makes protects anything: its secrets are known to this machine only.
pub(crate) struct Random {
    counter: AtomicU64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            counter: AtomicU64::new(seed),
        }
    }

    /// A seed that no other process has.
    pub(crate) fn system_seed() -> Result<u64, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self
            .counter
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `length` letters and digits.
    pub(crate) fn text(&self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let mut word = self.next();
            for _ in 0..(length - text.len()).min(10) {
                // The remainder is below 62, so the index is always there.
                let index = usize::try_from(word % 62).unwrap_or_default();
                text.push(char::from(ALPHABET[index]));
                word /= 62;
            }
        }
        text
    }

    /// An id as Stripe writes it: a prefix that says what it is of, then 24 letters and digits.
    pub(crate) fn id(&self, prefix: &str) -> String {
        format!("{prefix}_1{}", self.text(23))
    }
}
