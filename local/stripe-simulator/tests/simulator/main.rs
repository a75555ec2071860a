//! The simulator as its clients see it: over HTTP, on a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed helper is a failed test"
)]

mod api;
mod billing;
mod dependencies;
mod durability;
mod faults;
mod fixtures;
mod idempotency;
mod meter_events;
mod support;
mod webhooks;
