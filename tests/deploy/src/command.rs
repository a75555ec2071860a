//! Programs that are run to their end: sam, aws, meterline.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::failure::Failure;

/// A program that knows nothing of the accounts that its caller may have: neither
/// AWS's nor Stripe's can be reached by a slip.
pub(crate) fn isolated(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .env_clear()
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    for name in ["HOME", "LANG", "PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A program with its arguments.
pub(crate) struct Run {
    program: PathBuf,
    command: Command,
    /// What a failure calls it: no argument that may hold a secret.
    name: String,
}

impl Run {
    pub(crate) fn new(program: &Path) -> Self {
        let command = isolated(program);
        Self {
            program: program.to_owned(),
            command,
            name: program.display().to_string(),
        }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn env<'a>(
        mut self,
        variables: impl IntoIterator<Item = (&'a str, impl AsRef<OsStr>)>,
    ) -> Self {
        self.command.envs(variables);
        self
    }

    /// What it printed on standard output.
    pub(crate) async fn output(mut self) -> Result<String, Failure> {
        let output = self.command.output().await;
        let output = output.map_err(|source| Failure::NoProgram {
            program: self.program,
            source,
        })?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(Failure::Program {
            command: self.name,
            status: output.status.to_string(),
            said: format!("{}\n{}", printed.trim(), complaint.trim()),
        })
    }
}
