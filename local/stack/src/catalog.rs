//! What Stripe must hold before the first customer comes, set up as the
//! operator does it: by `meterline setup`.

use meterline_cli::secret_file::SecretFile;
use meterline_cli::{SetupError, SetupOptions, WebhookOptions};
use secrecy::SecretString;

use crate::api::price_lookup_key;
use crate::backends::Stripe;
use crate::local_dir::LocalDir;

/// The file in the local folder that keeps the webhook's signing secrets.
pub const WEBHOOK_SECRETS_FILE: &str = "webhook-secrets";

/// Where Stripe is to send its events, for `meterline setup`: found again under
/// the folder's name, since the port may be another at each start.
pub fn webhook_options(url: &str, local_dir: &LocalDir) -> WebhookOptions {
    WebhookOptions {
        url: url.to_owned(),
        name: Some(local_dir.path().to_string_lossy().into_owned()),
        secret_file: SecretFile::new(local_dir.file(WEBHOOK_SECRETS_FILE)),
        // Nobody else listens to this endpoint, so nothing is lost with it.
        replace: true,
    }
}

/// Sets up the catalog and the webhook to `webhook_url`. Where the environment
/// says what webhooks are signed with, the endpoint is the operator's own.
/// Returns the signing secrets, comma-separated.
pub(crate) async fn set_up(
    stripe: &Stripe,
    webhook_url: &str,
    local_dir: &LocalDir,
) -> Result<SecretString, SetupError> {
    let webhook = webhook_options(webhook_url, local_dir);
    let secret_file = webhook.secret_file.clone();
    let usage_api = stripe.client.usage_api();
    let options = SetupOptions {
        lookup_key: price_lookup_key(usage_api).to_owned(),
        legacy: !usage_api.has_meter(),
        webhook: stripe.webhook_secret.is_none().then_some(webhook),
        ..SetupOptions::default()
    };
    meterline_cli::setup(&stripe.client, &options).await?;
    match &stripe.webhook_secret {
        Some(secrets) => Ok(secrets.clone()),
        None => secret_file.joined(),
    }
}
