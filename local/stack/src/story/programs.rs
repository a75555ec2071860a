//! The programs that the story starts as processes of their own.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::StoryError;

/// A program of this workspace, with the environment that it needs and no other.
pub struct Program {
    command: Command,
    name: &'static str,
}

impl Program {
    /// The program `name`, which stands beside this one (beside the test's
    /// folder, for a test).
    ///
    /// # Errors
    /// [`StoryError::NoProgram`] where it was not built.
    pub fn new(name: &'static str) -> Result<Self, StoryError> {
        let path = find(name).ok_or(StoryError::NoProgram(name))?;
        let mut command = Command::new(path);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(Self { command, name })
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end and answers what it printed.
    ///
    /// # Errors
    /// [`StoryError::ProgramFailed`] where it cannot be started or says that it failed.
    pub async fn output(self) -> Result<String, StoryError> {
        self.output_with(&[0]).await
    }

    /// The same of a program that may end with any of `statuses`.
    ///
    /// # Errors
    /// [`StoryError::ProgramFailed`] where it cannot be started or ends otherwise.
    pub async fn output_with(mut self, statuses: &[i32]) -> Result<String, StoryError> {
        let name = self.name;
        let failed = |reason: String| StoryError::ProgramFailed { name, reason };
        let output = self.command.output().await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        let status = output.status.code();
        if status.is_some_and(|status| statuses.contains(&status)) {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(format!("{}: {complaint}", output.status)))
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let executable = std::env::current_exe().ok()?;
    let folder = executable.parent()?;
    // A test's program is one folder further down, in `deps`.
    [Some(folder), folder.parent()]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
