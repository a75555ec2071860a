//! The state: one `SQLite` file, in which a request leaves all of its traces or none.

pub(crate) mod database;
pub(crate) mod deliveries;
pub(crate) mod idempotency;
pub(crate) mod meter_events;
pub(crate) mod objects;
mod schema;
