//! The tests of `emission`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../webhook/tests/secrets_manager/mod.rs"]
mod secrets_manager;
mod story;
mod support;

mod batch;
mod catalog;
mod cloud_events;
mod crashes;
mod key_rate;
mod lambda;
mod periods;
mod restore;
mod rotation;
mod usage;
mod usage_apis;
