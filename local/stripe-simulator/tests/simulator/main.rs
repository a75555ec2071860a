//! The simulator as its clients see it: over HTTP, on a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed helper is a failed test"
)]

mod added_items;
mod api;
mod billing;
mod checkout;
mod clocks;
mod dependencies;
mod disputes;
mod durability;
mod faults;
mod fixtures;
mod idempotency;
mod lifecycles;
mod meter_events;
mod payments;
mod prices;
mod sdk;
mod support;
mod trials;
mod usage_records;
mod webhooks;
