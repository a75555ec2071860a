//! What came of each operation, on disk before it is counted.
//!
//! One JSON object a line, in the order of the answers. Whatever kills the
//! agent, the journal holds every answer that it has counted, and a run that
//! resumes it knows what is still owed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Recorded, by this call or an earlier one.
    Acknowledged,
    /// Not recorded.
    Refused,
    /// Perhaps recorded.
    Unknown,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The operation's event id.
    pub event_id: String,
    /// Who was billed. An event id counts once *per customer*: resumed for
    /// another one, a journal would bill everything again.
    pub customer_id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The status of the last answer, if one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Meterline's status for the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Whether an earlier call had recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<bool>,
    /// Why it was refused or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A journal that is open for appending, by this process alone.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// `None` after a failed write: a line after half a line would spoil both.
    file: Mutex<Option<File>>,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file could not be read or written.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A run without `--resume` found entries.
    #[error("journal {} has entries: resume it, or choose another file", path.display())]
    NotEmpty {
        /// The journal.
        path: PathBuf,
    },
    /// Another process is writing it.
    #[error("journal {} is in use", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// A whole line is no entry.
    #[error("journal {}, line {line}: {source}", path.display())]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Journal {
    /// A journal for a new run: a file that does not exist yet, or is empty.
    ///
    /// # Errors
    /// [`JournalError::NotEmpty`], so that no run is mixed into another, and
    /// others where the file cannot be opened.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let (journal, entries) = Self::resume(path)?;
        if entries.is_empty() {
            Ok(journal)
        } else {
            Err(JournalError::NotEmpty {
                path: path.to_owned(),
            })
        }
    }

    /// A journal to be continued, with its entries. One that does not exist has
    /// none: the run was killed before its first answer.
    ///
    /// # Errors
    /// A [`JournalError`] where the file cannot be opened or read.
    pub fn resume(path: &Path) -> Result<(Self, Vec<Entry>), JournalError> {
        let io = |source| JournalError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::InUse {
                path: path.to_owned(),
            },
            TryLockError::Error(source) => io(source),
        })?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(io)?;
        // A line that a kill cut off was never counted: its event is emitted
        // again. It must go, or the next entry would be appended to it.
        let whole = content
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        let entries = parse(path, content.get(..whole).unwrap_or_default())?;
        if whole < content.len() {
            file.set_len(u64::try_from(whole).unwrap_or(u64::MAX))
                .map_err(io)?;
        }
        let journal = Self {
            path: path.to_owned(),
            file: Mutex::new(Some(file)),
        };
        Ok((journal, entries))
    }

    /// Appends `entry` in one write. When this returns, it is on disk. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Io`]. The entry must not be counted then.
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let io = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(entry).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = slot
            .take()
            .ok_or_else(|| io(io::Error::other("an earlier write failed")))?;
        file.write_all(&line).map_err(io)?;
        file.sync_data().map_err(io)?;
        *slot = Some(file);
        Ok(())
    }
}

fn parse(path: &Path, content: &[u8]) -> Result<Vec<Entry>, JournalError> {
    let lines = content.split(|&byte| byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            serde_json::from_slice(line).map_err(|source| JournalError::Corrupt {
                path: path.to_owned(),
                line: index + 1,
                source,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event_id: &str) -> Entry {
        Entry {
            event_id: event_id.to_owned(),
            customer_id: "cus_1".to_owned(),
            outcome: Outcome::Acknowledged,
            http_status: Some(200),
            status: Some("delivered".to_owned()),
            duplicate: Some(false),
            reason: None,
        }
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_next_starts_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path).unwrap();
        journal.append(&entry("a-op-1")).unwrap();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"event_id\":\"a-op-2").unwrap();
        let (journal, entries) = Journal::resume(&path).unwrap();
        assert_eq!(entries, [entry("a-op-1")]);
        journal.append(&entry("a-op-3")).unwrap();
        drop(journal);
        let (_, entries) = Journal::resume(&path).unwrap();
        assert_eq!(entries, [entry("a-op-1"), entry("a-op-3")]);
    }

    #[test]
    fn a_journal_has_one_run_and_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path).unwrap();
        assert!(matches!(
            Journal::resume(&path),
            Err(JournalError::InUse { .. })
        ));
        journal.append(&entry("a-op-1")).unwrap();
        drop(journal);
        assert!(matches!(
            Journal::create(&path),
            Err(JournalError::NotEmpty { .. })
        ));
    }

    #[test]
    fn a_whole_line_that_is_no_entry_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        std::fs::write(&path, "{}\n").unwrap();
        let refused = Journal::resume(&path);
        assert!(matches!(
            refused,
            Err(JournalError::Corrupt { line: 1, .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
    }
}
