//! The tests of `stack`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

mod event_pump;
mod limits;
mod program;
mod reservations;
mod stream_pump;
mod system;
mod tables;
