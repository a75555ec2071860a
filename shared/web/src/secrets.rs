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
use crate::stripe_account::{Owner, check_owner, may_take_over};
use crate::{Metrics, OtherStripeAccount, SettingsError};

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

/// Stripe's key, from Secrets Manager: another one only where it is known to be of the
/// same account and mode.
pub struct StripeKey {
    reader: SecretReader,
    config: stripe::Config,
    ledger: Ledger,
    looked_at: Mutex<Option<LookedAt>>,
}

/// A key that was to take another's place.
struct LookedAt {
    key: SecretString,
    at: Instant,
    is_taken: bool,
}

impl StripeKey {
    /// Read by `reader`, used as `config` says, for the account of the tables of `ledger`.
    pub fn new(reader: SecretReader, config: stripe::Config, ledger: Ledger) -> Self {
        Self {
            reader,
            config,
            ledger,
            looked_at: Mutex::default(),
        }
    }

    async fn another_than(&self, known: &SecretString) -> Option<SecretString> {
        let key = self.reader.again().await?;
        if key.expose_secret() == known.expose_secret() {
            return None;
        }
        self.is_taken(&key).await.then_some(key)
    }

    /// Whether `key` may be used. Stripe refuses the old one to every request at once:
    /// one of them looks, and what it found holds for the others until the secret may be
    /// read again.
    async fn is_taken(&self, key: &SecretString) -> bool {
        let mut looked_at = self.looked_at.lock().await;
        if let Some(before) = looked_at.as_ref()
            && before.key.expose_secret() == key.expose_secret()
            && (before.is_taken || before.at.elapsed() < self.reader.pause)
        {
            return before.is_taken;
        }
        let is_taken = self.look_at(key).await;
        *looked_at = Some(LookedAt {
            key: key.clone(),
            at: Instant::now(),
            is_taken,
        });
        is_taken
    }

    async fn look_at(&self, key: &SecretString) -> bool {
        let config = self.config.clone().with_secret_key(key.clone());
        let candidate = match stripe::Client::new(config) {
            Ok(candidate) => candidate,
            Err(error) => {
                tracing::error!(%error, "the new Stripe key cannot be used; the old one stays");
                return false;
            }
        };
        let is_taken = may_take_over(&self.ledger, &candidate).await;
        if is_taken {
            tracing::info!("the Stripe key was rotated");
        }
        is_taken
    }
}

impl KeySource for StripeKey {
    fn renew<'a>(&'a self, known: &'a SecretString) -> RenewedKey<'a> {
        Box::pin(self.another_than(known))
    }
}

/// What is looked at again and again while a process lives: whether there is another
/// Stripe key, since the one in use may be about to expire, and, until that is known,
/// whose the one in use is.
pub struct KeyWatch {
    ledger: Ledger,
    stripe: stripe::Client,
    owner: Owner,
}

impl KeyWatch {
    /// Of the key of `stripe`, for the account of the tables of `ledger`, which is not
    /// known to be the key's.
    pub const fn new(ledger: Ledger, stripe: stripe::Client) -> Self {
        Self {
            ledger,
            stripe,
            owner: Owner::Unknown,
        }
    }

    /// The same, after the start has found this out.
    pub(crate) fn with_owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`OtherStripeAccount`], which is logged: nothing more may be sent by this key.
    pub async fn look(&mut self) -> Result<(), OtherStripeAccount> {
        self.stripe.renew_key().await;
        if self.owner == Owner::Unknown {
            let owner = self.ledger.stripe_account_row().await;
            self.owner = check_owner(owner, &self.ledger, &self.stripe).await?;
        }
        Ok(())
    }
}

/// Has `watch` look every few minutes, for as long as the process lives; it ends, as it
/// would have at its start, where the key turns out to be another account's. What is cut
/// off by that is recorded, and waits for a process with the right key. Functions start
/// at different times, so they do not all look at once.
pub(crate) fn look_again(mut watch: KeyWatch, every: Duration) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            if watch.look().await.is_err() {
                std::process::exit(1);
            }
        }
    });
}
