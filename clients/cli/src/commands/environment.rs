//! Where the commands get their parts from.

use secrecy::SecretString;

use super::Failure;

/// Stripe at `api_base`, under the environment's key.
pub(crate) fn stripe_client(api_base: &str) -> Result<stripe::Client, Failure> {
    let key = std::env::var("STRIPE_SECRET_KEY").map_err(|_| Failure::MissingKey)?;
    let config = stripe::Config::new(SecretString::from(key)).with_api_base(api_base);
    Ok(stripe::Client::new(config)?)
}
