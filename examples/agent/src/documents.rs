//! The agent's work: documents in, summaries out, each one billed.

use std::io;
use std::path::{Path, PathBuf};

use meterline_client::{Emit, EmitError, MeteredError, Meterline, Usage};
use serde::Serialize;

use crate::anthropic::{Anthropic, AnthropicError};
use crate::job::Job;

/// What processing one document is called on the bill.
pub const DOCUMENT_PROCESSED: &str = "document_processed";

/// What counts as a document in a folder.
const EXTENSIONS: [&str; 2] = ["md", "txt"];

/// An agent that summarises documents for one customer, within one job.
#[derive(Clone, Debug)]
pub struct DocumentAgent {
    /// Writes the summaries.
    pub anthropic: Anthropic,
    /// Bills them.
    pub meterline: Meterline,
    /// Stripe's id of who pays, `cus_…`.
    pub customer_id: String,
    /// Stripe's id of what is paid for, `si_…`; Meterline knows it too. It is part of what an
    /// event says, and the agents in other languages leave it out: a job that may move to
    /// them has none.
    pub subscription_item_id: Option<String>,
    /// Names the work, so that its repetition is free.
    pub job: Job,
}

/// A document whose summary is on the bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessedDocument {
    /// The file's name.
    pub document: String,
    /// The name under which it was billed.
    pub event_id: String,
    /// The summary.
    pub summary: String,
    /// `delivered`, `pending`, or another status that Meterline names.
    pub status: String,
    /// Whether an earlier run had billed it already.
    pub duplicate: bool,
    /// Units billed for it.
    pub quantity: u64,
    /// The customer's standing after it.
    #[serde(skip)]
    pub customer_status: Option<String>,
}

/// Why there is no summary, or none that may be handed out.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's name is not text, so it cannot be part of a job id.
    #[error("{}: a document's name must be UTF-8", path.display())]
    UnnamedDocument {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to summarise.
    #[error("{}: empty", path.display())]
    Empty {
        /// The file, or the folder without documents.
        path: PathBuf,
    },
    /// The model gave no summary; nothing was billed.
    #[error("{document}: no summary: {source}")]
    Summary {
        /// The file's name.
        document: String,
        /// What went wrong.
        source: AnthropicError,
    },
    /// The customer may not act; nothing was written.
    #[error("{document}: {reason}")]
    Denied {
        /// The file's name.
        document: String,
        /// Why not.
        reason: String,
    },
    /// The summary was written but is not certainly billed, so it is withheld.
    #[error("{document}: summary withheld: {source}")]
    Emission {
        /// The file's name.
        document: String,
        /// What went wrong.
        source: EmitError,
    },
}

impl DocumentAgent {
    /// Summarises the document at `path` and bills one unit for it, in this
    /// order: no bill without a summary, and no summary without a bill.
    ///
    /// # Errors
    /// A [`DocumentError`]. It never carries the summary.
    pub async fn process_document(&self, path: &Path) -> Result<ProcessedDocument, DocumentError> {
        let document = document_name(path)?;
        let text = read_document(path)?;
        let usage = self.usage(&document);
        let summarise = async || self.anthropic.summarise(&text).await;
        match self.meterline.metered(usage, summarise).await {
            Ok(metered) => Ok(ProcessedDocument {
                document,
                event_id: metered.recorded.event_id,
                summary: metered.output,
                status: metered.recorded.status.to_string(),
                duplicate: metered.recorded.duplicate,
                quantity: metered.recorded.quantity,
                customer_status: metered.recorded.customer_status,
            }),
            Err(error) => Err(unprocessed(document, error)),
        }
    }

    fn usage(&self, document: &str) -> Usage {
        let usage = Usage::new(&self.customer_id, DOCUMENT_PROCESSED);
        let usage = usage.job(self.job.of_document(document));
        match &self.subscription_item_id {
            Some(subscription_item_id) => usage.subscription_item(subscription_item_id),
            None => usage,
        }
    }
}

/// Why `document` has no summary, or none that may be handed out.
fn unprocessed(document: String, error: MeteredError<String, AnthropicError>) -> DocumentError {
    let source = match error {
        MeteredError::Action(source) => return DocumentError::Summary { document, source },
        MeteredError::Withheld(withheld) => withheld.error().clone(),
        MeteredError::Invalid(invalid) => EmitError::Invalid(invalid),
        error => {
            return DocumentError::Denied {
                document,
                reason: error.to_string(),
            };
        }
    };
    DocumentError::Emission { document, source }
}

/// The documents of a folder, `.md` and `.txt`, by name.
///
/// # Errors
/// A [`DocumentError`] where the folder cannot be read or holds none.
pub fn list_documents(folder: &Path) -> Result<Vec<PathBuf>, DocumentError> {
    let unreadable = |source| DocumentError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut documents = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            documents.push(path);
        }
    }
    if documents.is_empty() {
        return Err(DocumentError::Empty {
            path: folder.to_owned(),
        });
    }
    documents.sort();
    Ok(documents)
}

fn document_name(path: &Path) -> Result<String, DocumentError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned)
        .ok_or_else(|| DocumentError::UnnamedDocument {
            path: path.to_owned(),
        })
}

fn read_document(path: &Path) -> Result<String, DocumentError> {
    let text = std::fs::read_to_string(path).map_err(|source| DocumentError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if text.trim().is_empty() {
        return Err(DocumentError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(text)
}
