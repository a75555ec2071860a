//! What is sent in bad faith, or by a broken client: each is answered as
//! docs/limits.md says, and nothing of it is recorded, in the audit log, in the
//! totals or in Stripe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed helper is a failed test"
)]

mod bodies;
mod callers;
mod limits;
mod wire;

/// (what is sent, the status, the problem's type).
type Cases<'a> = &'a [(&'a str, u16, &'a str)];
