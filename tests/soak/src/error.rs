//! Why a run could not be made. What it found is no error of this kind.

use std::io;

/// Why a run came to no result.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// A file, a port or a thread.
    #[error("the machine does not let the simulation run")]
    Io(#[from] io::Error),
    /// DynamoDB does not run.
    #[error(transparent)]
    DynamoDb(#[from] stack::dynamodb::DynamoDbError),
    /// The tables are not there.
    #[error(transparent)]
    Tables(#[from] stack::tables::TablesError),
    /// The Stripe simulator does not run.
    #[error(transparent)]
    Simulator(#[from] stripe_simulator::StartError),
    /// The Stripe client's settings are none.
    #[error(transparent)]
    Stripe(#[from] stripe::ConfigError),
    /// The catalog is none.
    #[error(transparent)]
    Catalog(#[from] meterline_cli::catalog::CatalogFileError),
    /// The catalog could not be set up.
    #[error(transparent)]
    CatalogSetup(#[from] meterline_cli::catalog::CatalogSetupError),
    /// The webhook could not be set up.
    #[error(transparent)]
    Setup(#[from] meterline_cli::SetupError),
    /// There is no signing secret.
    #[error(transparent)]
    SigningSecret(#[from] webhook::NoSigningSecret),
    /// The tables did not take an API key.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// No randomness for an API key.
    #[error("the system gives no random bytes")]
    Randomness(#[from] getrandom::Error),
    /// A database did not answer past the proxies.
    #[error("a database does not answer")]
    Http(#[from] reqwest::Error),
    /// A request could not be written.
    #[error("a request cannot be written")]
    Request(#[from] axum::http::Error),
    /// An answer could not be read.
    #[error("an answer cannot be read")]
    Body(#[from] axum::Error),
    /// An answer is no JSON, or not of the form that it should be.
    #[error("an answer is not of the expected form")]
    Json(#[from] serde_json::Error),
    /// A database refused what it was asked past the proxies.
    #[error("a database answered {status}: {body}")]
    Refused {
        /// Of its answer.
        status: u16,
        /// Its answer.
        body: String,
    },
    /// A field that everything of its kind has is not there.
    #[error("an answer has no {0}")]
    Missing(&'static str),
    /// Planting an error in Stripe's file failed.
    #[error("Stripe's file does not take the planted error")]
    Sqlite(#[from] rusqlite::Error),
    /// There is nothing that an error could be planted in.
    #[error("there is nothing to plant an error in: more events are needed")]
    NothingToPlant,
    /// The system does not come to rest.
    #[error("the system does not come to rest: {0}")]
    Restless(&'static str),
    /// A customer's id is none.
    #[error(transparent)]
    CustomerId(#[from] billing::FieldError),
    /// The run's range of time is empty.
    #[error(transparent)]
    Range(#[from] meterline_cli::reconcile::EmptyRange),
    /// The run could not be reconciled.
    #[error(transparent)]
    Reconcile(#[from] meterline_cli::ReconcileError),
    /// A customer was not onboarded.
    #[error("a customer was not onboarded: {0}")]
    Onboarding(String),
}
