//! A customer's audit log for its operator: as a file, and as it goes on.

pub mod export;
pub mod follow;

pub use export::{Export, ExportError, ExportProgress, ExportSummary};
pub use follow::Follower;
