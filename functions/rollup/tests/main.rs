//! The tests of `rollup`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../../emission/tests/support/lossy.rs"]
mod lossy;
#[path = "../../emission/tests/support/lambda.rs"]
mod runtime_api;
#[path = "../../emission/tests/support/tables.rs"]
mod tables;

mod event;
mod history;
mod lambda;
