//! The folder that holds all local state, and that one process has to itself.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

const LOCK_FILE: &str = "lock";
/// For the owner alone: there are keys in it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// An opened folder; it is free again when this is dropped, or the process ends.
#[derive(Debug)]
pub struct LocalDir {
    path: PathBuf,
    _lock: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalDirError {
    /// Another process has it.
    #[error("another local Meterline uses {0}: stop it, or set LOCAL_DIR to another folder")]
    InUse(PathBuf),
    /// It cannot be made, read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LocalDir {
    /// Opens `path`, which is made if it is missing, and locks it.
    ///
    /// # Errors
    /// [`LocalDirError::InUse`] where another process has it.
    pub fn open(path: &Path) -> Result<Self, LocalDirError> {
        let failed = |source| io_error(path, source);
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(FOLDER_MODE);
        folder.create(path).map_err(failed)?;
        // Absolute, so that what is printed and written can be used from anywhere.
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock_path = path.join(LOCK_FILE);
        let lock = open_for_owner(&lock_path).map_err(|source| io_error(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(LocalDirError::InUse(path)),
            Err(TryLockError::Error(source)) => Err(io_error(&lock_path, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file `name` in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret in the file `name`, if there is one.
    ///
    /// # Errors
    /// [`LocalDirError::Io`].
    pub fn read_secret(&self, name: &str) -> Result<Option<SecretString>, LocalDirError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(SecretString::from(text.trim()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error(&path, source)),
        }
    }

    /// Writes `secret` to the file `name`, for the owner alone. A reader finds
    /// the old text or the new one, and never a part.
    ///
    /// # Errors
    /// [`LocalDirError::Io`].
    pub fn write_secret(&self, name: &str, secret: &SecretString) -> Result<(), LocalDirError> {
        let path = self.file(name);
        let unfinished = self.file(&format!("{name}.new"));
        let write = || {
            let mut file = open_for_owner(&unfinished)?;
            file.set_len(0)?;
            file.write_all(secret.expose_secret().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| io_error(&path, source))
    }

    /// Removes the file `name`, if it is there.
    ///
    /// # Errors
    /// [`LocalDirError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), LocalDirError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(&path, source)),
            _ => Ok(()),
        }
    }
}

fn open_for_owner(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

fn io_error(path: &Path, source: io::Error) -> LocalDirError {
    LocalDirError::Io {
        path: path.to_owned(),
        source,
    }
}
