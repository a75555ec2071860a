//! `meterline keys`: its arguments, and what it prints.

mod arguments;
mod create;
mod list;
mod revoke;
mod rotate;

use std::process::ExitCode;

use clap::Subcommand;
use web::Settings;

use super::Failure;

/// What to do with API keys.
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, and print it: it is shown this once, and kept nowhere.
    Create(create::CreateArguments),
    /// All keys, what they may do and when they were last used; never a secret.
    List(list::ListArguments),
    /// Take a key back, for good: within a minute it is refused everywhere.
    Revoke(revoke::RevokeArguments),
    /// Make a key that may do what another one may, which ends some time later.
    Rotate(rotate::RotateArguments),
}

/// Does what is asked for, and prints what came of it.
pub(crate) async fn run(command: KeysCommand) -> Result<ExitCode, Failure> {
    let settings = Settings::from_environment().await?;
    let (ledger, now) = (settings.ledger(), settings.clock().now());
    match command {
        KeysCommand::Create(arguments) => create::run(arguments, &ledger, now).await?,
        KeysCommand::List(arguments) => list::run(&arguments, &ledger, now).await?,
        KeysCommand::Revoke(arguments) => revoke::run(arguments, &ledger, now).await?,
        KeysCommand::Rotate(arguments) => rotate::run(arguments, &ledger, now).await?,
    }
    Ok(ExitCode::SUCCESS)
}
