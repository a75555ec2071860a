//! The tests of `metering`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../../functions/emission/tests/support/mod.rs"]
mod support;

mod customers;
mod delivery;
mod usage_apis;
