#![doc = include_str!("../README.md")]
// A subscription has more fields than `json!` takes by default.
#![recursion_limit = "256"]

mod api;
mod background;
mod calendar;
mod call;
mod config;
mod control;
mod core;
mod engine;
mod events;
mod pricing;
mod random;
mod resources;
mod server;
mod simulator;
mod store;
mod webhooks;

pub use crate::config::{Background, Clock, Config, DEFAULT_SECRET_KEY, Data, Listen, SystemClock};
pub use crate::simulator::{Simulator, StartError};
