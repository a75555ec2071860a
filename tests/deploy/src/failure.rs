//! What ends the test before its figures are all there.

use std::io;
use std::path::PathBuf;

use stack::story::StoryError;

/// Why the test cannot go on. A figure that is off is no failure: the narrator
/// keeps account of those.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program is not where it is expected.
    #[error("{} cannot be started: make deploy-test installs and builds it", program.display())]
    NoProgram {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program said that it failed.
    #[error("{command} failed ({status}):\n{said}")]
    Program {
        /// The program and its first arguments.
        command: String,
        /// How it ended.
        status: String,
        /// What it printed.
        said: String,
    },
    /// What a program printed, or AWS answered, is not of the expected form.
    #[error("{0} is not as expected")]
    Unexpected(String),
    /// Something that had to come did not.
    #[error("waited in vain: {0}")]
    WaitedInVain(String),
    /// The functions are not built.
    #[error("there is no {}: sam build makes it", .0.display())]
    NotBuilt(PathBuf),
    /// A file or a port.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The template cannot be read.
    #[error("the built template cannot be read")]
    Template(#[from] yaml_serde::Error),
    /// A call as the story makes them.
    #[error(transparent)]
    Story(#[from] StoryError),
    /// The stand-in for Stripe does not start.
    #[error("the Stripe simulator does not start")]
    Stripe(#[from] stripe_simulator::StartError),
    /// The client of Stripe does not start.
    #[error("the client of Stripe cannot be made")]
    StripeClient(#[source] stripe::ConfigError),
    /// A table.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The webhook's signing secrets are not where setup put them.
    #[error(transparent)]
    Setup(#[from] meterline_cli::SetupError),
    /// Somebody ended the test.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(crate) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    pub(crate) fn unexpected(what: &str) -> Self {
        Self::Unexpected(what.to_owned())
    }
}
