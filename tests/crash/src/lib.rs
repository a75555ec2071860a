//! Crash everywhere: a function's process ends at every step that it takes, and
//! what is left is counted by somebody who trusts none of its code.
//!
//! | module | does |
//! | --- | --- |
//! | [`process`] | runs a handler in a process that ends at a poll or a site |
//! | [`wire`], [`site`] | stand between a process and DynamoDB and Stripe, and name its calls |
//! | [`sweep`] | ends a scenario's process at every poll and every site in turn |
//! | [`world`] | the system around it: clock, agents, the way to rest |
//! | [`holds`] | counts what is reserved, and what has settled it |
//! | [`count`], [`database`] | count what DynamoDB and Stripe hold, over the wire alone |
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step is a failed test"
)]

pub mod count;
pub mod database;
pub mod holds;
pub mod process;
mod receiver;
pub mod site;
pub mod sweep;
pub mod wire;
pub mod world;

pub use count::{Claim, Finding};
pub use process::{Crash, Surroundings};
pub use site::{Moment, Site};
pub use sweep::{Aftermath, Scenario, Sweep};
pub use world::World;
