//! The operator's commands, as a library for those who run them in-process.

pub mod catalog;
pub mod complaint;
pub mod dead_letters;
pub mod erasure;
pub mod events;
pub mod import;
pub mod notifications;
pub mod rebuild;
pub mod reconcile;
pub mod secret_file;
pub mod setup;
pub mod status;
pub mod webhook_setup;

pub use catalog::{CatalogFile, CatalogReport, CatalogSetupOptions, Subscriber, set_up_catalog};
pub use rebuild::{RebuildError, RebuildReport, Rebuilder};
pub use reconcile::{ReconcileError, ReconcileOptions, Reconciler};
pub use setup::{Found, SetupError, SetupOptions, SetupReport, setup};
pub use webhook_setup::{WebhookOptions, WebhookReport};
