//! The surroundings of the functions that handle usage, for the tests of all of
//! them: the tables, a Stripe, a clock that a test moves.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

pub(crate) mod lossy;
pub(crate) mod tables;
pub(crate) mod world;
