//! The commands, a file each: arguments, and what is printed. What they do is
//! the library's.

mod catalog;
mod customer;
mod dead_letters;
mod environment;
mod events;
mod import;
mod invoice;
mod keys;
mod limit;
mod notifications;
mod price;
mod progress;
mod rebuild;
mod reconcile;
mod redrive;
mod setup;
mod status;
mod table;
mod void;

use std::io;
use std::process::ExitCode;

use clap::Subcommand;
use ledger::LedgerError;
use meterline_cli::SetupError;
use meterline_cli::catalog::{CatalogSetupError, SubscribeError};
use meterline_cli::import::SourceError;
use meterline_cli::reconcile::EmptyRange;
use web::SettingsError;

pub(crate) use meterline_cli::complaint::complain;

/// What the operator can ask for.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make, or find again, what Stripe must hold: product, meter, price, webhook.
    Setup(Box<setup::SetupArguments>),
    /// Which meter counts which action.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Compare audit log, totals, Stripe's meter and final invoices.
    Reconcile(reconcile::ReconcileArguments),
    /// Record usage from a file, each row once, and deliver what Stripe has not.
    Import(import::ImportArguments),
    /// Take back a usage event, from Stripe's meter or by a credit.
    Void(void::VoidArguments),
    /// How the system does, now: usage, what is pending, webhooks, the busiest customers.
    Status(status::StatusArguments),
    /// Send again what was given up: quarantined, held or rejected events.
    Redrive(redrive::RedriveArguments),
    /// Compute totals and outbox anew from the audit log.
    Rebuild(rebuild::RebuildArguments),
    /// What Lambda gave up: failed runs of redelivery and the sweep, batches of the rollup.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Notifications by mail and webhook that were given up.
    #[command(subcommand)]
    Notifications(notifications::NotificationsCommand),
    /// API keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// How much a customer may use in a billing period, and when you are told.
    #[command(subcommand)]
    Limit(limit::LimitCommand),
    /// What Meterline knows of one customer.
    #[command(subcommand)]
    Customer(customer::CustomerCommand),
    /// A customer's audit log: list it, follow it, write it to a file.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Why an invoice says what it says.
    #[command(subcommand)]
    Invoice(invoice::InvoiceCommand),
}

impl Command {
    /// Whether nothing is changed, or lost, when nobody reads what it prints.
    pub(crate) const fn only_lists(&self) -> bool {
        matches!(
            self,
            Self::Events(events::EventsCommand::List(_)) | Self::Invoice(_)
        )
    }
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
    #[error(transparent)]
    CatalogSetup(#[from] CatalogSetupError),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    #[error("no catalog is stored: `meterline setup --catalog FILE` stores one")]
    NoCatalog,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    CustomerUnknown(#[from] metering::CustomerError),
    #[error("there is no customer {0}")]
    NoSuchCustomer(billing::CustomerId),
    #[error(transparent)]
    Export(#[from] meterline_cli::events::ExportError),
    #[error(transparent)]
    Explanation(#[from] audit::ExplainError),
    #[error(transparent)]
    Range(#[from] EmptyRange),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the file's name does not tell its format: name it with --format")]
    NoFormat,
    #[error(transparent)]
    Void(#[from] metering::VoidError),
    #[error(transparent)]
    Redrive(#[from] metering::RedriveError),
    #[error(transparent)]
    Rebuild(#[from] meterline_cli::RebuildError),
    #[error(
        "set REDELIVERY_DEAD_LETTERS_URL, ROLLUP_DEAD_LETTERS_URL and WEBHOOK_DEAD_LETTERS_URL \
         to the stack's outputs RedeliveryDeadLettersUrl, RollupDeadLettersUrl and \
         WebhookDeadLettersUrl"
    )]
    NoDeadLetters,
    #[error(transparent)]
    Queue(#[from] meterline_cli::dead_letters::QueueError),
    #[error(transparent)]
    Settling(#[from] meterline_cli::dead_letters::SettlingError),
    #[error(transparent)]
    Status(#[from] meterline_cli::status::StatusError),
    #[error("the system gives no random bytes")]
    Randomness(#[from] getrandom::Error),
    #[error(transparent)]
    Erasure(#[from] meterline_cli::erasure::ErasureError),
    #[error(transparent)]
    Limit(#[from] limits::LimitError),
    #[error(transparent)]
    Currencies(#[from] limits::MixedCurrencies),
    #[error("there is no key {0}: `meterline keys list` shows those that there are")]
    UnknownKey(String),
    #[error("{0}")]
    NoRotation(String),
    #[error("a key is for {0} customers at most, or for all")]
    TooManyCustomers(usize),
    #[error("name an event: --customer and its id, or --identifier")]
    NoEvent,
    #[error(
        "Stripe perhaps has these events: run reconcile first, then say --not-in-stripe or --in-stripe"
    )]
    PerhapsInStripe,
    #[error(
        "what is delivered is settled already: only its time can be noted, with --in-stripe --at"
    )]
    NoTime,
    #[error(
        "--in-stripe is for --status quarantined or rejected (or delivered, with --at): what is held was never sent"
    )]
    NeverInStripe,
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

impl Command {
    /// Does it, prints what came of it, and answers the exit status.
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Setup(arguments) => setup::run(*arguments).await?,
            Self::Catalog(command) => return catalog::run(command).await,
            Self::Reconcile(arguments) => return reconcile::run(arguments).await,
            Self::Import(arguments) => return import::run(arguments).await,
            Self::Void(arguments) => return void::run(arguments).await,
            Self::Status(arguments) => return status::run(arguments).await,
            Self::Redrive(arguments) => return redrive::run(arguments).await,
            Self::Rebuild(arguments) => return rebuild::run(arguments).await,
            Self::DeadLetters(command) => return dead_letters::run(command).await,
            Self::Notifications(command) => return notifications::run(command).await,
            Self::Keys(command) => return keys::run(command).await,
            Self::Limit(command) => limit::run(command).await?,
            Self::Customer(command) => return customer::run(command).await,
            Self::Events(command) => return events::run(command).await,
            Self::Invoice(command) => return invoice::run(command).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}
