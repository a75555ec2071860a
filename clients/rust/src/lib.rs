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
mod delivery;
mod emission;
mod error;
mod event_id;
mod http;
mod metered;
mod outcome;
mod reservation;
mod retry;
mod rfc3339;
mod spool;
mod telemetry;
pub mod testing;
mod transport;
mod usage;
mod wire;

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
