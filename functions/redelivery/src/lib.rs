//! Redelivery: sends to Stripe what an emission recorded and could not bring
//! there, or could not note as brought. Every minute, oldest first.

mod due;
mod leases;
pub mod notifications;
mod patience;
pub mod redelivery;
mod undigested;

pub use notifications::Notifications;
pub use redelivery::{Redelivery, RedeliveryError, Report};
