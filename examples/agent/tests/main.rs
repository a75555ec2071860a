//! The tests of `agent`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

mod documents;
mod operations;
mod program;
