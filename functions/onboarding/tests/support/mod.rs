//! The surroundings of the functions around a customer, for the tests of all
//! of them: the tables, a Stripe that is set up, a clock that a test moves.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

pub(crate) mod catalog;
pub(crate) mod gate;
#[path = "../../../emission/tests/support/lossy.rs"]
pub(crate) mod lossy;
#[path = "../../../emission/tests/support/tables.rs"]
pub(crate) mod tables;
pub(crate) mod world;
