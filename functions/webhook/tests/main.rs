//! The tests of `webhook`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod held_stripe;
#[path = "../../emission/tests/support/lambda.rs"]
mod runtime_api;
mod secrets_manager;
mod story;
#[path = "../../onboarding/tests/support/mod.rs"]
mod support;
mod topic;
#[path = "../../emission/tests/support/xray_daemon.rs"]
mod xray_daemon;

mod items;
mod lambda;
mod notifications;
mod payments;
mod pending_usage;
mod refused_usage;
mod rotation;
mod setup;
mod sweep;
mod webhook;
