//! The tests of `stripe`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

mod answers;
mod errors;
mod invoice_lines;
mod meter_event_stream;
mod meter_events;
mod onboarding;
mod requests;
mod retries;
mod table;
mod usage_records;
