//! The tests of `meterline-cli`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod queues;
mod story;
#[path = "../../../local/stack/tests/support/mod.rs"]
mod support;

mod catalog;
mod catalog_program;
mod catalog_subscribe;
mod commands;
mod dead_letters;
mod erasure;
mod events;
mod import;
mod invoice_explain;
mod keys;
mod limit;
mod notifications;
mod program;
mod rebuild;
mod reconcile;
mod reconcile_carried_over;
mod reconcile_meters;
mod reconcile_usage_records;
mod redrive;
mod restore_drill;
mod setup;
mod status;
mod void;
mod void_meters;
