//! Why the local system does not start, in words that say what to do.

use std::io;

use meterline_cli::SetupError;
use report::InvalidLinkSettings;
use web::OtherStripeAccount;
use webhook::NoSigningSecret;

use crate::dynamodb::DynamoDbError;
use crate::event_pump::EventPumpError;
use crate::keys::KeysError;
use crate::local_dir::LocalDirError;
use crate::tables::TablesError;

/// Why the system does not start, or not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("cannot listen on port {port}: set {variable} to another port, or to 0 for a free one")]
    Port {
        /// The environment variable that chooses the port.
        variable: &'static str,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operator's topic does not run.
    #[error("the topic of notifications does not start")]
    Notifications(#[source] io::Error),
    /// Notifications can be sent to nobody.
    #[error(transparent)]
    Courier(#[from] courier::webhook::HttpClientError),
    /// A listener cannot be used.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// The folder cannot be used.
    #[error(transparent)]
    LocalDir(#[from] LocalDirError),
    /// The embedded DynamoDB does not run.
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    /// The DynamoDB elsewhere does not answer as it should.
    #[error("no tables at {url}: unset AWS_ENDPOINT_URL_DYNAMODB to have a DynamoDB started here")]
    DynamoDbElsewhere {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: TablesError,
    },
    /// The tables are not there.
    #[error(transparent)]
    Tables(TablesError),
    /// The Stripe simulator does not run.
    #[error("the Stripe simulator does not start")]
    Simulator(#[from] stripe_simulator::StartError),
    /// Stripe's key or address is none.
    #[error(transparent)]
    Stripe(#[from] stripe::ConfigError),
    /// The tables are of another Stripe.
    #[error("the tables are another Stripe's: set LOCAL_DIR to another folder for this one")]
    OtherStripeAccount(#[from] OtherStripeAccount),
    /// There is no key or secret.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The secret of the dashboard links is not one.
    #[error(transparent)]
    DashboardLinks(#[from] InvalidLinkSettings),
    /// The simulator does not hold what customers subscribe to, or sends no
    /// webhooks here.
    #[error(transparent)]
    Setup(SetupError),
    /// The same of the Stripe elsewhere. One that cannot reach this machine
    /// takes no endpoint of it.
    #[error(
        "Stripe at {url} is not as it must be: unset STRIPE_API_BASE to have a simulator \
         started here, STRIPE_EVENTS=poll to have its events fetched, or \
         STRIPE_WEBHOOK_SECRET if it sends them by another way"
    )]
    StripeElsewhere {
        /// The address of its API.
        url: String,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// The key is one of live mode.
    #[error("STRIPE_SECRET_KEY is of live mode: the local system bills nobody")]
    LiveKey,
    /// Stripe's events cannot be fetched.
    #[error(transparent)]
    EventPump(#[from] EventPumpError),
    /// The webhook's secret is empty.
    #[error(transparent)]
    WebhookSecret(#[from] NoSigningSecret),
}
