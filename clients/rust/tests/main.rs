//! The tests of `meterline-client`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

mod buffer;
mod emit;
mod emit_many;
mod reservations;
mod testing;
mod tls;
