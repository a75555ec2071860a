#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod attempts;
mod body;
mod buffer;
mod builder;
mod calls;
mod checks;
mod client;
mod emission;
mod error;
mod event_id;
mod http;
mod metered;
mod reservation;
mod retry;
mod rfc3339;
mod spool;
pub mod testing;
mod usage;

pub use access::{Access, AccessQuery, Enforcement, SpendingLimit, SpendingLimitAlert};
pub use answer::{Problem, Recorded, Status};
pub use builder::{BufferSettings, Builder};
pub use client::{Flushed, Meterline};
pub use emission::Emit;
pub use error::{AccessError, EmitError, InvalidUsage, ReservationError, SettingsError};
pub use event_id::event_id_of_job;
pub use metered::{Metered, MeteredError, Withheld};
pub use reservation::{Reservation, ReservationOutcome, ReservationRequest, ReservationStatus};
pub use spool::Refused;
pub use usage::Usage;
