//! How to reach a DynamoDB that is no AWS: an address, and the words that the
//! SDK wants to sign with.

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::tls;

/// A region and keys for a DynamoDB that checks none.
const REGION: &str = "us-east-1";
const PLACEHOLDER_KEY: &str = "local";

/// As [`ledger::connect`] has it, so that a stall shows here as it does there.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
const ATTEMPTS_MAX: u32 = 3;

/// A DynamoDB by its address.
#[derive(Clone)]
pub struct Connection {
    url: String,
    streams_url: String,
    region: String,
    credentials: Credentials,
    has_placeholders: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("url", &self.url)
            .field("streams_url", &self.streams_url)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// To the embedded DynamoDB at `url`.
    pub fn embedded(url: &str) -> Self {
        Self::from_variables(url, |_| None)
    }

    /// To a DynamoDB elsewhere, at `url`, with the region and the keys of the
    /// environment, or placeholders where it has none.
    pub fn elsewhere(url: &str) -> Self {
        Self::from_variables(url, |name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn from_variables(url: &str, variable: impl Fn(&str) -> Option<String>) -> Self {
        let keys = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let has_placeholders = keys.is_none();
        let placeholder = || PLACEHOLDER_KEY.to_owned();
        let (id, secret) = keys.unwrap_or_else(|| (placeholder(), placeholder()));
        let token = variable("AWS_SESSION_TOKEN").filter(|_| !has_placeholders);
        Self {
            url: url.to_owned(),
            // Emulators serve the streams at the same address.
            streams_url: variable("AWS_ENDPOINT_URL_DYNAMODB_STREAMS")
                .unwrap_or_else(|| url.to_owned()),
            region: variable("AWS_REGION").unwrap_or_else(|| REGION.to_owned()),
            credentials: Credentials::new(id, secret, token, None, "meterline-local"),
            has_placeholders,
        }
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What another program's AWS SDK needs in its environment to connect, too.
    /// Keys only where they are placeholders: real ones are its user's to hand on.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL_DYNAMODB", self.url.clone()),
            ("AWS_REGION", self.region.clone()),
        ];
        if self.has_placeholders {
            variables.push(("AWS_ACCESS_KEY_ID", PLACEHOLDER_KEY.to_owned()));
            variables.push(("AWS_SECRET_ACCESS_KEY", PLACEHOLDER_KEY.to_owned()));
        }
        variables
    }

    /// A client of its tables.
    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.at(&self.url))
    }

    /// A client of the SNS at `url`, by the same region and keys.
    pub fn sns_client(&self, url: &str) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.at(url))
    }

    /// A client of the SES at `url`, by the same region and keys.
    pub fn ses_client(&self, url: &str) -> aws_sdk_sesv2::Client {
        aws_sdk_sesv2::Client::new(&self.at(url))
    }

    /// A client of its streams.
    pub fn streams_client(&self) -> aws_sdk_dynamodbstreams::Client {
        aws_sdk_dynamodbstreams::Client::new(&self.at(&self.streams_url))
    }

    /// What any client of a service at `url` is made from.
    fn at(&self, url: &str) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(url)
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(http_client())
            .timeout_config(timeouts())
            .retry_config(retries())
            .build()
    }
}

fn http_client() -> SharedHttpClient {
    let crypto = tls::rustls_provider::CryptoMode::Ring;
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(crypto))
        .build_https()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX)
}
