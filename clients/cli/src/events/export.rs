//! A customer's audit log as a file, written page by page. Beside the file lies
//! one that says how far it is: an export that was cut short goes on where it
//! was, and what was half written is written anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use audit::{EventFilter, EventWriter, ExportFormat, PageBounds, read_page};
use billing::{CustomerId, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, UsageEventOrder, UsageEventPosition, UsageEventRow};
use serde::{Deserialize, Serialize};

/// Events between two notes of how far it is: so many are in memory at once.
const PAGE: PageBounds = PageBounds {
    events: 2_000,
    looked_at: 10_000,
};

/// What to write, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Whose log.
    pub customer_id: CustomerId,
    /// Which events of it.
    pub filter: EventFilter,
    /// How.
    pub format: ExportFormat,
    /// The file.
    pub path: PathBuf,
    /// Whether a file that is there, and whole, may be replaced.
    pub replace: bool,
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportProgress {
    /// Events that are in the file.
    pub events: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// When the last event that was looked at happened.
    pub at: Option<Timestamp>,
}

/// What is in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportSummary {
    /// Events.
    pub events: u64,
    /// Units by status.
    pub units: BTreeMap<UsageStatus, u64>,
    /// Bytes.
    pub bytes: u64,
}

/// Why there is no file, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tables failed. The same export again goes on.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file, or the one beside it, failed. The same export again goes on.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// How.
        source: io::Error,
    },
    /// There is such a file.
    #[error("{0} is there already: name another file, or say --replace")]
    Exists(String),
    /// What was begun there is another export.
    #[error(
        "{0} tells of an export of something else that was cut short: name another file, or say --replace"
    )]
    Other(String),
}

/// How far an export is, as the file beside says.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    customer_id: CustomerId,
    filter: EventFilter,
    format: String,
    /// After which event it goes on.
    after: Option<String>,
    summary: ExportSummary,
}

impl Export {
    /// Writes the file, or goes on writing it; `tell` is told after each page how
    /// far it is. At its end the file is whole, and nothing lies beside it.
    ///
    /// # Errors
    /// [`ExportError`].
    pub async fn run(
        &self,
        ledger: &Ledger,
        mut tell: impl FnMut(&ExportProgress),
    ) -> Result<ExportSummary, ExportError> {
        let mut note = self.begun()?;
        let mut file = self.open(&note.summary)?;
        let mut after = note
            .after
            .as_deref()
            .and_then(UsageEventPosition::from_token);
        loop {
            let (id, order) = (&self.customer_id, UsageEventOrder::OldestFirst);
            let page = read_page(ledger, id, &self.filter, order, after, PAGE).await?;
            self.write(&mut file, &page.events, &mut note.summary)
                .map_err(failed(&self.path))?;
            let progress = ExportProgress {
                events: note.summary.events,
                bytes: note.summary.bytes,
                at: page.next.as_ref().map(UsageEventPosition::occurred_at),
            };
            tell(&progress);
            let Some(next) = page.next else { break };
            note.after = next.to_token();
            after = Some(next);
            self.keep(&note)?;
        }
        let beside = self.beside();
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&beside)(error)),
            _ => Ok(note.summary),
        }
    }

    /// What was begun; else a beginning.
    fn begun(&self) -> Result<Note, ExportError> {
        let beginning = Note {
            customer_id: self.customer_id.clone(),
            filter: self.filter.clone(),
            format: self.format.as_str().to_owned(),
            after: None,
            summary: ExportSummary::default(),
        };
        if self.replace {
            return Ok(beginning);
        }
        let beside = self.beside();
        match fs::read(&beside) {
            Ok(text) => {
                let note: Option<Note> = serde_json::from_slice(&text).ok();
                note.filter(|note| note.is_of_same(&beginning))
                    .ok_or_else(|| ExportError::Other(beside.display().to_string()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.path.exists() {
                    return Err(ExportError::Exists(self.path.display().to_string()));
                }
                Ok(beginning)
            }
            Err(error) => Err(failed(&beside)(error)),
        }
    }

    /// The file, without what was written after the last note.
    fn open(&self, summary: &ExportSummary) -> Result<File, ExportError> {
        let open = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(false)
                .open(&self.path)?;
            if file.metadata()?.len() < summary.bytes {
                let reason = "it is shorter than what was noted beside it";
                return Err(io::Error::other(reason));
            }
            file.set_len(summary.bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        open().map_err(failed(&self.path))
    }

    /// Writes a page so that it outlasts this machine's power, and sums it up.
    fn write(
        &self,
        file: &mut File,
        rows: &[UsageEventRow],
        summary: &mut ExportSummary,
    ) -> io::Result<()> {
        let mut writer = EventWriter::new(self.format, BufWriter::new(&mut *file));
        if summary.bytes == 0 {
            writer.begin()?;
        }
        for row in rows {
            writer.write(&row.clone().into())?;
            summary.events = summary.events.saturating_add(1);
            let units = summary.units.entry(row.status).or_default();
            *units = units.saturating_add(row.quantity);
        }
        writer.flush()?;
        drop(writer);
        file.sync_data()?;
        summary.bytes = file.stream_position()?;
        Ok(())
    }

    /// Notes how far it is: whole, or as it was before.
    fn keep(&self, note: &Note) -> Result<(), ExportError> {
        let beside = self.beside();
        let new = beside.with_extension("resume-new");
        let text = serde_json::to_vec(note).map_err(io::Error::from);
        let text = text.map_err(failed(&beside))?;
        let write = || {
            fs::write(&new, &text)?;
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &beside)
        };
        write().map_err(failed(&beside))
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".resume");
        name.into()
    }
}

impl Note {
    fn is_of_same(&self, other: &Self) -> bool {
        self.customer_id == other.customer_id
            && self.filter == other.filter
            && self.format == other.format
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.display().to_string();
    move |source| ExportError::File {
        path: path.clone(),
        source,
    }
}
