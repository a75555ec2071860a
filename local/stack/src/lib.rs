//! The whole of Meterline in one process on one machine: DynamoDB, Stripe and
//! every function, each reached as in production, over HTTP.

mod anthropic;
pub mod api;
mod backends;
pub mod catalog;
pub mod connection;
pub mod dynamodb;
pub mod env_file;
pub mod keys;
pub mod local_dir;
pub mod options;
pub mod schedule;
pub mod story;
pub mod stream_pump;
pub mod system;
pub mod tables;

pub use options::{Options, Pumping};
pub use system::{StartError, System};
