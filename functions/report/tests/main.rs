//! The tests of `report`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../emission/tests/support/lambda.rs"]
mod runtime_api;
#[path = "../../webhook/tests/secrets_manager/mod.rs"]
mod secrets_manager;
mod story;
#[path = "../../onboarding/tests/support/mod.rs"]
mod support;

mod dashboard;
mod dashboard_limit;
mod events;
mod explanation;
mod key_rate;
mod lambda;
mod limits;
mod meters;
mod report;
mod rotation;
mod trial;
