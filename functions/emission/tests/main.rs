//! The tests of `emission`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../../shared/web/tests/log/mod.rs"]
mod log;
#[path = "../../webhook/tests/secrets_manager/mod.rs"]
mod secrets_manager;
mod story;
mod support;

mod batch;
mod catalog;
mod cloud_events;
mod crashes;
mod key_rate;
mod key_rate_log;
mod lambda;
mod periods;
mod restore;
mod rotation;
mod usage;
mod usage_apis;
