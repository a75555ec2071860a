//! Names for answers.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

static ISSUED: AtomicU64 = AtomicU64::new(0);

/// An id that this process gives once, and another process hardly ever:
/// `prefix`, `01`, and 22 hex digits, of which the last six count.
pub(crate) fn unique(prefix: &str) -> String {
    let number = ISSUED.fetch_add(1, Ordering::Relaxed);
    // The standard library seeds each hasher's keys at random.
    let random = RandomState::new().hash_one(number);
    format!("{prefix}01{random:016x}{:06x}", number & 0x00ff_ffff)
}
