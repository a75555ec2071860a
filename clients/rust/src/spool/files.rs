//! The folder: a file for each event, that appears at once and whole.
//!
//! | file | is |
//! | --- | --- |
//! | `waiting/{name}.json` | an event that Meterline has not answered for |
//! | `refused/{name}.json` | one that it refused for good, with the reason |
//! | `{random}.tmp` | one that was being written |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::answer::Problem;
use crate::wire::WireEvent;

const WAITING: &str = "waiting";
const REFUSED: &str = "refused";
const EVENT: &str = "json";
const PARTIAL: &str = "tmp";
/// What was being written so long ago, its process left behind.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(3_600);

/// The folder's files. All of it blocks.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

/// What became of writing an event down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    New,
    /// It was there already, with the same content.
    Known,
    /// Its id is there with other content.
    Conflict,
}

/// An event that the spool had taken, and Meterline refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Its file.
    pub path: PathBuf,
    /// The event's id.
    pub event_id: String,
    /// Whose it is.
    pub customer_id: String,
    /// What was done.
    pub action_type: String,
    /// Units that are not billed.
    pub quantity: u64,
    /// Meterline's explanation.
    pub problem: Problem,
}

#[derive(Serialize, Deserialize)]
struct WaitingFile {
    event: WireEvent,
}

#[derive(Serialize, Deserialize)]
struct RefusedFile {
    event: WireEvent,
    problem: Problem,
}

impl Files {
    /// Makes the folder, if it is not there, and clears away what killed
    /// processes were writing.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        for folder in [
            folder.to_owned(),
            folder.join(WAITING),
            folder.join(REFUSED),
        ] {
            make_private_folder(&folder)?;
        }
        let files = Self {
            folder: folder.to_owned(),
        };
        files.clear_partial()?;
        Ok(files)
    }

    /// Where `event` waits.
    pub(crate) fn path_of(&self, event: &WireEvent) -> PathBuf {
        let named = format!("{}\n{}", event.customer_id, event.event_id);
        let name = hex::encode(Sha256::digest(named));
        self.folder.join(WAITING).join(format!("{name}.{EVENT}"))
    }

    /// Writes `event` down, durably.
    pub(crate) fn write(&self, event: &WireEvent) -> io::Result<Written> {
        let path = self.path_of(event);
        let file = WaitingFile {
            event: event.clone(),
        };
        loop {
            match self.write_whole(&path, &serde_json::to_vec(&file)?) {
                Ok(()) => return Ok(Written::New),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            match self.event_of(&path)? {
                Some(known) if known.has_content_of(event) => {
                    // Whoever wrote it may not have come as far as this.
                    sync_folder_of(&path)?;
                    return Ok(Written::Known);
                }
                Some(_) => return Ok(Written::Conflict),
                // Settled in between, by another call or process, or set aside.
                None => {}
            }
        }
    }

    /// The event is settled.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps the event with the reason why it is not billed.
    pub(crate) fn set_aside(
        &self,
        path: &Path,
        event: WireEvent,
        problem: Problem,
    ) -> io::Result<()> {
        let file = RefusedFile { event, problem };
        let body = serde_json::to_vec(&file)?;
        for aside in self.places_aside(path) {
            match self.write_whole(&aside, &body) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let known: Result<RefusedFile, _> = serde_json::from_slice(&fs::read(&aside)?);
                    if known.is_ok_and(|known| known.event.has_content_of(&file.event)) {
                        break;
                    }
                }
                written => {
                    written?;
                    break;
                }
            }
        }
        self.remove(path)
    }

    /// Keeps a file that is no event as it is: only its owner can say what it was, and
    /// meanwhile it is not looked at again and again.
    fn set_aside_unread(&self, path: &Path) -> io::Result<()> {
        for aside in self.places_aside(path) {
            match fs::hard_link(path, &aside) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                // Another process was sooner.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                linked => {
                    linked?;
                    sync_folder_of(&aside)?;
                    break;
                }
            }
        }
        self.remove(path)
    }

    /// Where what waits at `path` may be set aside: its id may have been refused before
    /// with other content, which is kept, too.
    fn places_aside(&self, path: &Path) -> impl Iterator<Item = PathBuf> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let (name, folder) = (name.into_owned(), self.folder.join(REFUSED));
        (1..).map(move |number| match number {
            1 => folder.join(format!("{name}.{EVENT}")),
            number => folder.join(format!("{name}-{number}.{EVENT}")),
        })
    }

    /// How many events are set aside.
    pub(crate) fn set_aside_count(&self) -> io::Result<usize> {
        Ok(files_of(&self.folder.join(REFUSED), EVENT)?.len())
    }

    /// What waits, the oldest first.
    pub(crate) fn waiting(&self) -> io::Result<Vec<PathBuf>> {
        let mut waiting = Vec::new();
        for path in files_of(&self.folder.join(WAITING), EVENT)? {
            match path.metadata().and_then(|metadata| metadata.modified()) {
                Ok(written_at) => waiting.push((written_at, path)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        waiting.sort();
        Ok(waiting.into_iter().map(|(_, path)| path).collect())
    }

    /// What is set aside, but for what cannot be read: that stays where it is.
    pub(crate) fn refused(&self) -> io::Result<Vec<Refused>> {
        let mut refused = Vec::new();
        for path in files_of(&self.folder.join(REFUSED), EVENT)? {
            let RefusedFile { event, problem } = match serde_json::from_slice(&fs::read(&path)?) {
                Ok(file) => file,
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, error = %error, "a file of the spool is no event");
                    continue;
                }
            };
            refused.push(Refused {
                path,
                event_id: event.event_id,
                customer_id: event.customer_id,
                action_type: event.action_type,
                quantity: event.quantity,
                problem,
            });
        }
        Ok(refused)
    }

    /// The events at `paths`, without those that are gone by now; a file that the disk
    /// does not give stays where it is, and keeps no other from being sent.
    pub(crate) fn read(&self, paths: &[PathBuf]) -> Vec<(PathBuf, WireEvent)> {
        let read = |path: &PathBuf| match self.event_of(path) {
            Ok(event) => event.map(|event| (path.clone(), event)),
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, error = %error, "a file of the spool cannot be read");
                None
            }
        };
        paths.iter().filter_map(read).collect()
    }

    /// The event that waits at `path`; none if it is gone, or if it is no event, which
    /// is set aside.
    fn event_of(&self, path: &Path) -> io::Result<Option<WireEvent>> {
        let body = match fs::read(path) {
            Ok(body) => body,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<WaitingFile>(&body) {
            Ok(file) => Ok(Some(file.event)),
            Err(error) => {
                let shown = path.display();
                tracing::error!(path = %shown, error = %error, "a file of the spool is no event: set aside");
                self.set_aside_unread(path)?;
                Ok(None)
            }
        }
    }

    /// Whoever sees the file sees all of it, after a crash of the machine, too. An
    /// existing file is left as it is, and is the error.
    fn write_whole(&self, path: &Path, body: &[u8]) -> io::Result<()> {
        let partial = self.folder.join(format!("{}.{PARTIAL}", Uuid::new_v4()));
        let linked =
            write_private(&partial, body).and_then(|()| link(&partial, path, sync_folder_of));
        // One that stays is cleared away later, and is no reason to call unwritten what is
        // written.
        let _ = fs::remove_file(&partial);
        linked
    }

    fn clear_partial(&self) -> io::Result<()> {
        for path in files_of(&self.folder, PARTIAL)? {
            let written_at = path.metadata().and_then(|metadata| metadata.modified());
            let age = written_at.map(|at| SystemTime::now().duration_since(at));
            if matches!(age, Ok(Ok(age)) if age > PARTIAL_AGE_MAX) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }
}

fn files_of(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// For its owner alone: what an agent did is nobody else's to read.
fn make_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn write_private(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(body)?;
    file.sync_all()
}

/// Gives what is written its name, which is durable once `sync` has succeeded. Whoever is
/// told that it is not sends the event no more, so nobody else may find it there.
fn link(partial: &Path, path: &Path, sync: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    fs::hard_link(partial, path)?;
    sync(path).inspect_err(|_| {
        if let Err(error) = fs::remove_file(path) {
            let path = path.display();
            tracing::error!(%path, error = %error, "what is not certainly written stays in the spool");
        }
    })
}

/// A new name is durable once its folder is (POSIX: fsync). Windows has no such
/// call, and needs none.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use tempfile::TempDir;

    use super::*;

    /// Its caller is told that nothing is sent.
    #[test]
    fn what_is_not_certainly_on_the_disk_is_not_left_to_be_sent() {
        let folder = TempDir::new().unwrap();
        let (partial, path) = (folder.path().join("a.tmp"), folder.path().join("a.json"));
        write_private(&partial, b"an event").unwrap();
        let is_full = |_: &Path| Err(io::Error::from(ErrorKind::StorageFull));
        let error = link(&partial, &path, is_full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(!path.exists());
        link(&partial, &path, sync_folder_of).unwrap();
        assert!(path.exists());
    }

    /// It is another's, and perhaps promised to somebody.
    #[test]
    fn what_was_there_before_is_left_where_it_is() {
        let folder = TempDir::new().unwrap();
        let (partial, path) = (folder.path().join("a.tmp"), folder.path().join("a.json"));
        for file in [&partial, &path] {
            write_private(file, b"an event").unwrap();
        }
        let error = link(&partial, &path, |_| unreachable!("it has no name yet")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(path.exists());
    }
}
