//! Redelivery: sends to Stripe what an emission recorded and could not bring
//! there, or could not note as brought. Every minute, oldest first.

mod due;
mod leases;
mod listed;
mod log;
mod look;
pub mod notifications;
mod patience;
pub mod redelivery;
mod report;
mod undigested;

pub use notifications::Notifications;
pub use redelivery::{Redelivery, RedeliveryError};
pub use report::Report;
