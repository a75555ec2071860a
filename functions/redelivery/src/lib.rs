//! Redelivery: sends to Stripe what an emission recorded and could not bring
//! there, or could not note as brought. Every minute, oldest first.

mod due;
mod leases;
mod patience;
pub mod redelivery;

pub use redelivery::{Redelivery, RedeliveryError, Report};
