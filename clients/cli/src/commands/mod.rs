//! The commands, a file each: arguments, and what is printed. What they do is
//! the library's.

mod environment;
mod setup;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;
use meterline_cli::SetupError;

/// What the operator can ask for.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make, or find again, what Stripe must hold: product, meter, price, webhook.
    Setup(setup::SetupArguments),
}

/// What ends a command, in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("STRIPE_SECRET_KEY must be set in the environment")]
    MissingKey,
    #[error(transparent)]
    Config(#[from] stripe::ConfigError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

impl Command {
    /// Does it, prints what came of it, and answers the exit status.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Setup(arguments) => setup::run(arguments).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
