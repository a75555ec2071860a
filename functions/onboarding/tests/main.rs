//! The tests of `onboarding`, in one program: to link one takes longer than to compile it.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod service;
mod support;

mod adoption;
mod catalog;
mod onboarding;
mod stripe_account;
mod subscription;
mod usage_records;
mod without_payment_method;
