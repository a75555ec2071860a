//! The tests of `courier`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod story;
#[path = "../../../functions/emission/tests/support/mod.rs"]
mod support;

mod email;
mod one_way_down;
mod webhook;
