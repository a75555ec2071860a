#![doc = include_str!("../README.md")]

mod access;
mod answer;
mod body;
mod buffer;
mod builder;
mod calls;
mod client;
mod emission;
mod error;
mod event_id;
mod http;
mod metered;
mod retry;
mod spool;
pub mod testing;
mod usage;

pub use access::Access;
pub use answer::{Problem, Recorded, Status};
pub use builder::{BufferSettings, Builder};
pub use client::{Flushed, Meterline};
pub use emission::Emit;
pub use error::{EmitError, InvalidUsage, SettingsError};
pub use event_id::event_id_of_job;
pub use metered::{Metered, MeteredError, Withheld};
pub use spool::Refused;
pub use usage::Usage;
