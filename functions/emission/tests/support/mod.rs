//! The surroundings of the functions that handle usage, for the tests of all of
//! them: the tables, a Stripe, a clock that a test moves.

pub(crate) mod lambda;
pub(crate) mod lossy;
pub(crate) mod tables;
pub(crate) mod world;
