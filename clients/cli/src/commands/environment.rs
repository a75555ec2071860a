//! Where the commands get their parts from.

use std::sync::Arc;

use billing::Clock;
use ledger::Ledger;
use secrecy::SecretString;
use web::Settings;

use super::Failure;

/// Stripe at `api_base`, under the environment's key.
pub(crate) fn stripe_client(api_base: &str) -> Result<stripe::Client, Failure> {
    let key = std::env::var("STRIPE_SECRET_KEY").map_err(|_| Failure::MissingKey)?;
    let config = stripe::Config::new(SecretString::from(key)).with_api_base(api_base);
    Ok(stripe::Client::new(config)?)
}

/// What a command works on: the tables and the Stripe of one Meterline.
pub(crate) struct Surroundings {
    /// The tables, by the variables that the functions have, too.
    pub(crate) ledger: Ledger,
    /// Stripe.
    pub(crate) stripe: stripe::Client,
    /// The system's clock.
    pub(crate) clock: Arc<dyn Clock>,
}

/// The surroundings that the environment names, whose key is of the account that
/// its tables belong to.
pub(crate) async fn surroundings() -> Result<Surroundings, Failure> {
    let settings = Settings::from_environment().await?;
    let (ledger, stripe) = settings.ledger_and_stripe().await?;
    Ok(Surroundings {
        ledger,
        stripe,
        clock: settings.clock(),
    })
}
