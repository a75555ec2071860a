//! The tests of `redelivery`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod story;
#[path = "../../emission/tests/support/mod.rs"]
mod support;

mod faults;
mod lambda;
mod leases;
mod periods;
mod redelivery;
