//! Secrets that are rotated while a function lives.
//!
//! A secret is read once at the start and used until it fails: Stripe refuses the key, or
//! nothing is signed with it. Then, and every few minutes besides, it is read again. A
//! stranger can make a signature fail at will, so no failure makes anybody read more often
//! than twice a minute; who comes while it is read waits for that one answer.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use ledger::Ledger;
use secrecy::{ExposeSecret, SecretString};
use stripe::{KeySource, RenewedKey};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::metrics::Unit;
use crate::stripe_account::check_stripe_account;
use crate::{Metrics, SettingsError};

/// The least time between two reads of one secret.
const READ_PAUSE: Duration = Duration::from_secs(30);
/// How long a read may take, while a caller waits.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// The version before the current one (AWS Secrets Manager User Guide: "Secret versions").
const PREVIOUS: &str = "AWSPREVIOUS";

/// Reads one secret of Secrets Manager. Clones share what they have read.
#[derive(Clone, Debug)]
pub struct SecretReader {
    client: Client,
    variable: String,
    arn: String,
    pause: Duration,
    metrics: Metrics,
    read: Arc<Mutex<Option<Read>>>,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    /// None where Secrets Manager did not answer.
    value: Option<SecretString>,
}

impl SecretReader {
    /// Of the secret `arn`, which the environment variable `variable` names.
    pub fn new(client: Client, variable: String, arn: String) -> Self {
        Self {
            client,
            variable,
            arn,
            pause: READ_PAUSE,
            metrics: Metrics::default(),
            read: Arc::default(),
        }
    }

    /// With another pause than half a minute between two reads.
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Tells `metrics` of reads that fail.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// The current version.
    ///
    /// # Errors
    /// A [`SettingsError`] where Secrets Manager does not give it.
    pub async fn current(&self) -> Result<SecretString, SettingsError> {
        let secret = self.client.get_secret_value().secret_id(&self.arn);
        let secret = secret.send().await;
        let secret = secret.map_err(|source| self.failed(source))?;
        text_of(secret.secret_string.as_deref()).ok_or_else(|| {
            self.count_failure();
            SettingsError::NoText(self.variable.clone())
        })
    }

    /// The version before the current one; none where there is none.
    ///
    /// # Errors
    /// A [`SettingsError`] where Secrets Manager does not answer.
    pub async fn previous(&self) -> Result<Option<SecretString>, SettingsError> {
        let secret = self.client.get_secret_value().secret_id(&self.arn);
        match secret.version_stage(PREVIOUS).send().await {
            Ok(secret) => Ok(text_of(secret.secret_string.as_deref())),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The current version, read again unless it was a moment ago; none where it could
    /// not be read, which is logged and counted.
    pub async fn again(&self) -> Option<SecretString> {
        let mut read = self.read.lock().await;
        if let Some(read) = read.as_ref()
            && read.at.elapsed() < self.pause
        {
            return read.value.clone();
        }
        let value = match tokio::time::timeout(READ_TIMEOUT, self.current()).await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a secret could not be read again");
                None
            }
            Err(_) => {
                tracing::warn!(variable = self.variable, "a secret was not read in time");
                self.count_failure();
                None
            }
        };
        let at = Instant::now();
        *read = Some(Read {
            at,
            value: value.clone(),
        });
        value
    }

    fn failed(&self, source: SdkError<GetSecretValueError>) -> SettingsError {
        self.count_failure();
        SettingsError::SecretsManager {
            variable: self.variable.clone(),
            source: Box::new(source),
        }
    }

    fn count_failure(&self) {
        let failure = ("secret_reads_failed", Unit::Count, 1);
        self.metrics.write(&[failure]);
    }
}

/// A secret that was pasted may end in a newline.
fn text_of(text: Option<&str>) -> Option<SecretString> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    text.map(SecretString::from)
}

/// A secret in use, and where it is read again; nowhere, where the environment holds it.
#[derive(Clone, Debug)]
pub struct RotatedSecret {
    current: Arc<RwLock<SecretString>>,
    reader: Option<SecretReader>,
}

impl RotatedSecret {
    /// `current`, until `reader` has another.
    pub fn new(current: SecretString, reader: Option<SecretReader>) -> Self {
        Self {
            current: Arc::new(RwLock::new(current)),
            reader,
        }
    }

    /// The one in use.
    pub fn current(&self) -> SecretString {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where it is read from.
    pub const fn reader(&self) -> Option<&SecretReader> {
        self.reader.as_ref()
    }

    /// Looks for another, unless somebody did a moment ago: whether it is another than
    /// `known` now.
    pub async fn renew(&self, known: &SecretString) -> bool {
        let is_other = |secret: &SecretString| secret.expose_secret() != known.expose_secret();
        if is_other(&self.current()) {
            return true; // Somebody was faster.
        }
        let Some(reader) = &self.reader else {
            return false;
        };
        let Some(read) = reader.again().await.filter(is_other) else {
            return false;
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        true
    }
}

/// Stripe's key, from Secrets Manager: another one only of the same account and mode.
pub struct StripeKey {
    reader: SecretReader,
    config: stripe::Config,
    ledger: Ledger,
}

impl StripeKey {
    /// Read by `reader`, used as `config` says, for the account of the tables of `ledger`.
    pub const fn new(reader: SecretReader, config: stripe::Config, ledger: Ledger) -> Self {
        Self {
            reader,
            config,
            ledger,
        }
    }

    async fn another_than(&self, known: &SecretString) -> Option<SecretString> {
        let key = self.reader.again().await?;
        if key.expose_secret() == known.expose_secret() {
            return None;
        }
        let config = self.config.clone().with_secret_key(key.clone());
        let candidate = match stripe::Client::new(config) {
            Ok(candidate) => candidate,
            Err(error) => {
                tracing::error!(%error, "the new Stripe key cannot be used; the old one stays");
                return None;
            }
        };
        // Whose it is, is logged by the check.
        check_stripe_account(&self.ledger, &candidate).await.ok()?;
        tracing::info!("the Stripe key was rotated");
        Some(key)
    }
}

impl KeySource for StripeKey {
    fn renew<'a>(&'a self, known: &'a SecretString) -> RenewedKey<'a> {
        Box::pin(self.another_than(known))
    }
}

/// Has `stripe` look for another key every few minutes, for as long as the process lives:
/// the one before may be about to expire. Functions start at different times, so they do
/// not all look at once.
pub(crate) fn look_again(stripe: stripe::Client, every: Duration) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            stripe.renew_key().await;
        }
    });
}
