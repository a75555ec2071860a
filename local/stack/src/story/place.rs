//! Where the story is played: on the system of this process, or on functions that
//! are deployed elsewhere.

use std::path::PathBuf;
use std::sync::Arc;

use billing::Clock;
use ledger::Ledger;
use secrecy::SecretString;

use crate::anthropic::Anthropic;
use crate::catalog::CatalogNames;
use crate::stream_pump::StreamPump;

/// What a story needs to know of the system that it is played on.
#[derive(Clone)]
pub struct Place {
    /// The API's address.
    pub url: String,
    /// A key that may do everything.
    pub api_key: SecretString,
    /// Where Stripe sends webhooks.
    pub webhook_url: String,
    /// What webhooks are signed with, comma-separated.
    pub webhook_secret: SecretString,
    /// The tables.
    pub ledger: Ledger,
    /// Stripe.
    pub stripe: stripe::Client,
    /// The address of Stripe's API; the simulator's own controls are there too.
    pub stripe_url: String,
    /// Stripe's secret key.
    pub stripe_secret_key: SecretString,
    /// By which names the catalog is found in Stripe.
    pub catalog_names: CatalogNames,
    /// Whether Stripe's events are fetched, and not sent by it.
    pub fetches_events: bool,
    /// Where the story may keep files, and finds the webhook's signing secrets.
    pub folder: PathBuf,
    /// What the operator was told so far, a JSON text a line.
    pub notifications_file: PathBuf,
    /// The variables that other programs need to join in.
    pub environment: Vec<(&'static str, SecretString)>,
    /// The time, as the functions see it.
    pub clock: Arc<dyn Clock>,
    /// What rolls up the stream, where the story itself is to move the system.
    pub pump: Option<Arc<StreamPump>>,
    /// An Anthropic that needs no key and no model; it starts when it is needed.
    pub anthropic: Arc<Anthropic>,
}
