//! The whole of Meterline in one process on one machine: DynamoDB, Stripe and
//! every function, each reached as in production, over HTTP.
//!
//! | module | does |
//! | --- | --- |
//! | [`options`] | reads what to start, and where |
//! | [`system`] | starts and stops everything, and says where it is |
//! | [`dynamodb`], [`connection`], [`tables`] | DynamoDB, how it is reached, and the template's tables in it |
//! | [`api`], [`catalog`] | every HTTP function behind one address; what Stripe must hold for them |
//! | [`stream_pump`], [`schedule`] | what Lambda does by itself: the rollup's stream, the schedules |
//! | [`event_pump`] | fetches Stripe's events where Stripe cannot send them |
//! | [`notifications`] | the operator's topic, and mails: printed and kept |
//! | [`anthropic`] | a model for the agent of the story, without a key |
//! | [`local_dir`], [`keys`], [`env_file`] | the state of this machine, and what other programs need to join in |
//! | [`story`], [`scenario`] | the main job, played on the running system, and against Stripe itself |
//! | [`http`], [`stripe_requests`] | this process's own calls |

pub mod anthropic;
pub mod api;
mod backends;
pub mod breakage;
pub mod catalog;
pub mod connection;
pub mod dynamodb;
pub mod env_file;
pub mod event_pump;
pub mod gateway;
mod http;
pub mod keys;
mod listeners;
pub mod local_dir;
pub mod notifications;
pub mod options;
pub mod scenario;
pub mod schedule;
mod start_error;
pub mod story;
pub mod stream_pump;
pub mod stripe_requests;
pub mod system;
pub mod tables;

pub use backends::Ledgers;
pub use options::{DeliveryOptions, Options, Pumping};
pub use system::{StartError, System};
