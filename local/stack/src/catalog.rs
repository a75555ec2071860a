//! What Stripe must hold before the first customer comes, set up as the
//! operator does it: by `meterline setup`.

use meterline_cli::secret_file::SecretFile;
use meterline_cli::{SetupError, SetupOptions, WebhookOptions};
use secrecy::SecretString;
use stripe::{Metadata, UsageApi};

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

/// The metadata key that holds the id of the run that made an object.
pub const METADATA_RUN: &str = "meterline_run";

/// By which names the catalog is found in Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogNames {
    /// The meter's events.
    pub event_name: String,
    /// The price.
    pub lookup_key: String,
    /// The run that has the catalog to itself.
    pub run_id: Option<String>,
}

impl CatalogNames {
    /// The names for usage by `usage_api`: those that every system has in
    /// common, or those of a run of its own.
    pub fn new(usage_api: UsageApi, run_id: Option<&str>) -> Self {
        let of_run = |name: &str| match run_id {
            Some(run_id) => format!("{name}_{run_id}"),
            None => name.to_owned(),
        };
        Self {
            event_name: of_run(&SetupOptions::default().event_name),
            lookup_key: of_run(price_lookup_key(usage_api)),
            run_id: run_id.map(str::to_owned),
        }
    }

    fn setup_options(&self) -> SetupOptions {
        let defaults = SetupOptions::default();
        let Some(run_id) = &self.run_id else {
            return SetupOptions {
                lookup_key: self.lookup_key.clone(),
                ..defaults
            };
        };
        SetupOptions {
            // A meter takes no metadata: its name says whose it is.
            product_name: format!("{} (run {run_id})", defaults.product_name),
            event_name: self.event_name.clone(),
            lookup_key: self.lookup_key.clone(),
            metadata: Metadata::from([(METADATA_RUN.to_owned(), run_id.clone())]),
            ..defaults
        }
    }
}

/// What Stripe holds once it is set up.
pub(crate) struct Catalog {
    /// The signing secrets, comma-separated.
    pub(crate) webhook_secrets: SecretString,
    /// None for a price without one.
    pub(crate) meter_id: Option<String>,
}

/// Sets up the catalog and the webhook to `webhook_url`. Where it is known what
/// webhooks are signed with, Stripe is to have no endpoint of ours.
pub(crate) async fn set_up(
    stripe: &Stripe,
    names: &CatalogNames,
    webhook_url: &str,
    local_dir: &LocalDir,
) -> Result<Catalog, SetupError> {
    let webhook = webhook_options(webhook_url, local_dir);
    let secret_file = webhook.secret_file.clone();
    let options = SetupOptions {
        legacy: !stripe.client.usage_api().has_meter(),
        webhook: stripe.webhook_secret.is_none().then_some(webhook),
        ..names.setup_options()
    };
    let report = meterline_cli::setup(&stripe.client, &options).await?;
    let webhook_secrets = match &stripe.webhook_secret {
        Some(secrets) => secrets.clone(),
        None => secret_file.joined()?,
    };
    Ok(Catalog {
        webhook_secrets,
        meter_id: report.meter.map(|(id, _)| id),
    })
}
