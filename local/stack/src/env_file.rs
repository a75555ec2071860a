//! `.local/env`, ready to `source`: where everything is, and the keys to it.

use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};

use crate::local_dir::{LocalDir, LocalDirError};

/// The file's name in the local folder.
pub const ENV_FILE: &str = "env";

/// Variables, in order.
#[derive(Debug, Default)]
pub struct EnvFile {
    variables: Vec<(&'static str, SecretString)>,
}

impl EnvFile {
    /// Adds `name`, which the shell is to see as `value`.
    pub fn set(&mut self, name: &'static str, value: impl Into<SecretString>) {
        self.variables.push((name, value.into()));
    }

    /// Writes the file, for the owner alone, in place of the one before.
    ///
    /// # Errors
    /// [`LocalDirError::Io`].
    pub fn write(&self, local_dir: &LocalDir) -> Result<(), LocalDirError> {
        local_dir.write_secret(ENV_FILE, &SecretString::from(self.text()))
    }

    /// An assignment a line, for readers other than a shell, and one export of
    /// them all, so that programs started from a shell that sources this see them.
    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.variables {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}={}", quote(value.expose_secret()));
        }
        let names: Vec<_> = self.variables.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(text, "export {}", names.join(" "));
        text
    }
}

/// `value` as one word of a POSIX shell.
fn quote(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:,@%+".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn a_shell_that_sources_it_hands_every_value_on() {
        let folder = tempfile::tempdir().unwrap();
        let local_dir = LocalDir::open(folder.path()).unwrap();
        let values = [
            ("PLAIN", "http://127.0.0.1:8080"),
            ("LIST", "whsec_1,whsec_2"),
            ("HARD", "a 'b' $HOME `id` \"c\" \\ d"),
            ("EMPTY", ""),
        ];
        let mut env = EnvFile::default();
        for (name, value) in values {
            env.set(name, value);
        }
        env.write(&local_dir).unwrap();

        let path = local_dir.file(ENV_FILE);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for (name, value) in values {
            let script = format!(". {} && printenv {name}", path.display());
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(
                String::from_utf8(output.stdout).unwrap(),
                format!("{value}\n")
            );
        }
    }

    #[test]
    fn a_shorter_file_keeps_nothing_of_a_longer_one() {
        let folder = tempfile::tempdir().unwrap();
        let local_dir = LocalDir::open(folder.path()).unwrap();
        for value in ["a long value that was there before", "b"] {
            let mut env = EnvFile::default();
            env.set("NAME", value);
            env.write(&local_dir).unwrap();
        }
        let text = local_dir.read_secret(ENV_FILE).unwrap().unwrap();
        assert_eq!(text.expose_secret(), "NAME=b\nexport NAME");
    }
}
