//! What tests of several crates have in common.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod authority;
mod clock;

pub use authority::Authority;
pub use clock::HandClock;
