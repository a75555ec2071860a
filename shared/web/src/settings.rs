//! Where a function gets its parts from: environment variables, and secrets by
//! ARN from Secrets Manager.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use billing::Clock;
use ledger::{InvalidRequestRate, Ledger, RequestRate, TableNames};
use secrecy::SecretString;
use stripe::{ConfigError, UsageApi};

use crate::secrets::{self, KeyWatch, RotatedSecret, SecretReader, StripeKey};
use crate::stripe_account::check_owner;
use crate::xray::{AwsCalls, Daemon, StripeCalls};
use crate::{Metrics, OtherStripeAccount, SystemClock};

/// How many requests a second a key may make that has no rate of its own.
const KEY_RATE_LIMIT: &str = "KEY_RATE_LIMIT";
/// The template's default.
const KEY_RATE_LIMIT_DEFAULT: &str = "1000";

/// How long a Stripe key is used before another one is looked for; and how long one whose
/// owner is not known, before Stripe is asked again.
const STRIPE_KEY_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// Where another Stripe key is read, and what it is used with.
type Rotation = (SecretReader, stripe::Config);

/// Where a secret is.
enum SecretSource {
    Variable(SecretString),
    Manager(SecretReader),
}

/// What is wrong with a function's surroundings: it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable that is needed is not set.
    #[error("the environment variable {0} must be set")]
    Missing(String),
    /// A secret is neither in the environment nor named by ARN.
    #[error("set {0}, or {0}_ARN to the ARN of a Secrets Manager secret")]
    MissingSecret(String),
    /// Secrets Manager did not give the secret.
    #[error("Secrets Manager did not give the secret that {variable} names")]
    SecretsManager {
        /// The variable that holds the ARN.
        variable: String,
        /// The SDK's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The secret is binary.
    #[error("the secret that {0} names holds no text")]
    NoText(String),
    /// `KEY_RATE_LIMIT` is none.
    #[error("KEY_RATE_LIMIT {0}")]
    KeyRateLimit(#[from] InvalidRequestRate),
    /// `AWS_CA_BUNDLE` names what is no bundle of certificates.
    #[error(transparent)]
    Trust(#[from] ledger::TrustError),
    /// Stripe cannot be reached with these settings.
    #[error(transparent)]
    Stripe(#[from] ConfigError),
    /// The Stripe key is not of the account that the tables belong to.
    #[error(transparent)]
    OtherStripeAccount(#[from] OtherStripeAccount),
}

/// The surroundings of a function: its environment and its AWS account.
pub struct Settings {
    aws: SdkConfig,
    xray: Option<Daemon>,
}

impl Settings {
    /// Reads the environment. Nothing is asked of AWS yet.
    ///
    /// # Errors
    /// [`SettingsError::Trust`].
    pub async fn from_environment() -> Result<Self, SettingsError> {
        let aws = ledger::connect().await?;
        let xray = Daemon::from_environment();
        Ok(Self { aws, xray })
    }

    /// What AWS's clients are made of.
    pub const fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// What tells X-Ray of the calls of a client of AWS's.
    pub fn aws_calls(&self) -> AwsCalls {
        AwsCalls::new(self.xray.clone())
    }

    /// The environment variable `name`; an empty one counts as absent.
    pub fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// The environment variable `name`, which must be set.
    ///
    /// # Errors
    /// [`SettingsError::Missing`].
    pub fn required(&self, name: &str) -> Result<String, SettingsError> {
        self.variable(name)
            .ok_or_else(|| SettingsError::Missing(name.to_owned()))
    }

    /// The secret `name`: the variable itself, for local work, else the secret
    /// whose ARN is in `{name}_ARN`, which is read again when it is rotated.
    ///
    /// # Errors
    /// A [`SettingsError`] where there is neither, or the secret cannot be read.
    pub async fn secret(&self, name: &str) -> Result<RotatedSecret, SettingsError> {
        Ok(match self.secret_source(name)? {
            SecretSource::Variable(secret) => RotatedSecret::new(secret, None),
            SecretSource::Manager(reader) => {
                RotatedSecret::new(reader.current().await?, Some(reader))
            }
        })
    }

    /// The secret `name`, and the version before it: none in the environment, and none
    /// where Secrets Manager has none or does not say, which is logged.
    ///
    /// # Errors
    /// As [`secret`](Self::secret).
    pub async fn secret_and_former(
        &self,
        name: &str,
    ) -> Result<(RotatedSecret, Option<SecretString>), SettingsError> {
        let reader = match self.secret_source(name)? {
            SecretSource::Variable(secret) => return Ok((RotatedSecret::new(secret, None), None)),
            SecretSource::Manager(reader) => reader,
        };
        // At once: a start waits for both.
        let (current, former) = tokio::join!(reader.current(), reader.previous());
        let current = current?;
        let former = former.unwrap_or_else(|error| {
            tracing::warn!(%error, "the former version of a secret could not be read");
            None
        });
        Ok((RotatedSecret::new(current, Some(reader)), former))
    }

    fn secret_source(&self, name: &str) -> Result<SecretSource, SettingsError> {
        if let Some(value) = self.variable(name) {
            return Ok(SecretSource::Variable(SecretString::from(value)));
        }
        let variable = format!("{name}_ARN");
        let Some(arn) = self.variable(&variable) else {
            return Err(SettingsError::MissingSecret(name.to_owned()));
        };
        let config = aws_sdk_secretsmanager::config::Builder::from(&self.aws);
        let config = config.interceptor(self.aws_calls()).build();
        let client = aws_sdk_secretsmanager::Client::from_conf(config);
        let reader = SecretReader::new(client, variable, arn);
        Ok(SecretSource::Manager(
            reader.with_metrics(Metrics::from_environment()),
        ))
    }

    /// The tables that the function's variables name.
    pub fn ledger(&self) -> Ledger {
        let config = aws_sdk_dynamodb::config::Builder::from(&self.aws);
        let config = config.interceptor(self.aws_calls()).build();
        Ledger::new(
            aws_sdk_dynamodb::Client::from_conf(config),
            TableNames::from_variables(|name| self.variable(name)),
        )
    }

    /// The tables and the Stripe of one Meterline, which belong together: see
    /// [`check_stripe_account`](crate::check_stripe_account). Where that cannot be found
    /// out yet, it is asked again while the process lives, which ends if they do not. A
    /// key of the environment, for local work, is asked about once.
    ///
    /// # Errors
    /// A [`SettingsError`] where they do not, the key is missing, or key and
    /// address do not fit.
    pub async fn ledger_and_stripe(&self) -> Result<(Ledger, stripe::Client), SettingsError> {
        let ledger = self.ledger();
        // DynamoDB answers while Secrets Manager is asked for the key.
        let (owner, stripe) = tokio::join!(ledger.stripe_account_row(), self.stripe());
        let (stripe, key) = stripe?;
        let owner = check_owner(owner, &ledger, &stripe).await?;
        if let Some((reader, config)) = key {
            let key = StripeKey::new(reader, config, ledger.clone());
            stripe.set_key_source(Arc::new(key));
            let watch = KeyWatch::new(ledger.clone(), stripe.clone()).with_owner(owner);
            secrets::look_again(watch, STRIPE_KEY_LIFETIME);
        }
        Ok((ledger, stripe))
    }

    /// A client for the Stripe account whose key is the secret `STRIPE_SECRET_KEY`, and,
    /// where that may be rotated, how to make one of another key.
    async fn stripe(&self) -> Result<(stripe::Client, Option<Rotation>), SettingsError> {
        let secret = self.secret("STRIPE_SECRET_KEY").await?;
        let mut config = stripe::Config::new(secret.current())
            .with_observer(Arc::new(Metrics::from_environment()))
            .with_observer(Arc::new(StripeCalls::new(self.xray.clone())));
        if let Some(api_base) = self.variable("STRIPE_API_BASE") {
            config = config.with_api_base(api_base);
        }
        if let Some(meter_events_base) = self.variable("STRIPE_METER_EVENTS_BASE") {
            config = config.with_meter_events_base(meter_events_base);
        }
        if let Some(usage_api) = self.variable(UsageApi::VARIABLE) {
            config = config.with_usage_api(usage_api.parse().map_err(ConfigError::UsageApi)?);
        }
        let rotation = secret
            .reader()
            .map(|reader| (reader.clone(), config.clone()));
        Ok((stripe::Client::new(config)?, rotation))
    }

    /// How many requests a second a key may make that has no rate of its own:
    /// `KEY_RATE_LIMIT`, or 1,000.
    ///
    /// # Errors
    /// [`SettingsError::KeyRateLimit`].
    pub fn key_rate_limit(&self) -> Result<RequestRate, SettingsError> {
        Ok(key_rate_limit(|name| self.variable(name))?)
    }

    /// The system's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }
}

/// The rate that `KEY_RATE_LIMIT` names among the variables that `variable` looks
/// up, or the default.
///
/// # Errors
/// [`InvalidRequestRate`].
pub fn key_rate_limit(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<RequestRate, InvalidRequestRate> {
    let limit = variable(KEY_RATE_LIMIT);
    limit.as_deref().unwrap_or(KEY_RATE_LIMIT_DEFAULT).parse()
}
