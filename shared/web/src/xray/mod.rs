//! Traces: what a sampled invocation asks of AWS and of Stripe, told to X-Ray's daemon
//! as subsegments of the segment that Lambda makes of the invocation itself (AWS X-Ray
//! Developer Guide: "AWS X-Ray segment documents", "Sending trace data to X-Ray").
//!
//! | module | is |
//! | --- | --- |
//! | `trace` | the trace that an invocation is part of |
//! | `subsegment` | one call, as a document |
//! | `daemon` | where documents go |
//! | `aws_calls` | watches the clients of AWS's SDK |
//! | `stripe_calls` | watches Stripe's client |
//!
//! Nothing of this may delay an answer or make it fail: a document is one datagram,
//! sent without waiting, and dropped where that does not succeed at once. It names
//! services, operations, tables and routes; no customer, no id, no content.
//!
//! What is traced belongs to the task that [`traced`] runs: a task that is spawned
//! there is not.

mod aws_calls;
mod daemon;
mod stripe_calls;
mod subsegment;
mod trace;

pub use aws_calls::AwsCalls;
pub use daemon::Daemon;
pub use stripe_calls::StripeCalls;
pub use trace::{Trace, traced};
