//! The webhook's signing secrets on disk, readable by their owner alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::SetupError;

/// A file of one line per endpoint: its id, a space, its secret.
///
/// The ids say which endpoint each secret belongs to, so that a second setup
/// knows whether it still has the secret of the one that it finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The file at `path`, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The secrets by the ids of their endpoints; none where there is no file.
    ///
    /// # Errors
    /// [`SetupError::SecretFile`] where the file cannot be read.
    pub fn read(&self) -> Result<BTreeMap<String, SecretString>, SetupError> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(self.error(error)),
        };
        let secrets = text.lines().filter_map(|line| line.split_once(' '));
        Ok(secrets
            .map(|(id, secret)| (id.to_owned(), SecretString::from(secret.trim())))
            .collect())
    }

    /// The secrets as `STRIPE_WEBHOOK_SECRET` takes them: comma-separated.
    ///
    /// # Errors
    /// [`SetupError::SecretFile`] where the file cannot be read.
    pub fn joined(&self) -> Result<SecretString, SetupError> {
        let secrets = self.read()?;
        let secrets: Vec<&str> = secrets.values().map(ExposeSecret::expose_secret).collect();
        Ok(SecretString::from(secrets.join(",")))
    }

    /// Replaces the file, whole or not at all.
    pub(crate) fn write(&self, secrets: &BTreeMap<String, SecretString>) -> Result<(), SetupError> {
        let text: String = secrets
            .iter()
            .map(|(id, secret)| format!("{id} {}\n", secret.expose_secret()))
            .collect();
        self.replace(&text).map_err(|error| self.error(error))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        if let Some(folder) = self
            .0
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)?;
        }
        let mut new = self.0.clone().into_os_string();
        new.push(".new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.0)
    }

    fn error(&self, source: io::Error) -> SetupError {
        SetupError::SecretFile {
            path: self.0.display().to_string(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn secrets_come_back_and_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = SecretFile::new(folder.path().join("deep/secrets"));
        assert!(file.read().unwrap().is_empty());
        let secrets = BTreeMap::from([
            ("we_1".to_owned(), SecretString::from("whsec_a")),
            ("ed_1".to_owned(), SecretString::from("whsec_b")),
        ]);
        file.write(&secrets).unwrap();
        assert_eq!(file.read().unwrap()["we_1"].expose_secret(), "whsec_a");
        assert_eq!(file.joined().unwrap().expose_secret(), "whsec_b,whsec_a");
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
