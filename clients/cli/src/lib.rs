//! The operator's commands, as a library for those who run them in-process.

pub mod secret_file;
pub mod setup;
pub mod webhook_setup;

pub use setup::{Found, SetupError, SetupOptions, SetupReport, setup};
pub use webhook_setup::{WebhookOptions, WebhookReport};
