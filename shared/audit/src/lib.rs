//! The audit log for those who read it: an event as it is shown, pages of them,
//! files of them, and why a line of an invoice is what it is. The API and the
//! operator's commands say the same, because both say what is said here.

mod event;
pub mod explanation;
mod export;
mod filter;
mod page;

pub use event::{AuditEvent, AuditHistoryEntry};
pub use explanation::{ExplainError, Explainer, InvoiceExplanation};
pub use export::{CSV_COLUMNS, EventWriter, ExportFormat, UnknownFormat};
pub use filter::EventFilter;
pub use page::{EventPage, PageBounds, read_page};
