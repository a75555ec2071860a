//! How the tables are reached, in Lambda and on one machine alike.

use std::path::Path;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls::TrustStore;

use crate::trust::{self, TrustError};

/// One call to DynamoDB, its retries included, ends within this time, so that
/// an emission never hangs on it for longer than an agent waits.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// What Lambda hands a function its credentials in (AWS Lambda Developer Guide:
/// "Working with Lambda environment variables").
const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// The names of the tables, as `template.yaml` hands them to the functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// The audit log.
    pub usage_events: String,
    /// Totals and the rollup's checkpoints.
    pub usage_totals: String,
    /// What is pending.
    pub outbox: String,
    /// Customers and unfinished onboardings.
    pub customers: String,
    /// Stripe's events, once each.
    pub billing_events: String,
    /// Hashed API keys.
    pub api_keys: String,
}

impl TableNames {
    /// Environment variable and logical id in `template.yaml` of each table.
    pub const VARIABLES: [(&'static str, &'static str); 6] = [
        ("USAGE_EVENTS_TABLE", "UsageEventsTable"),
        ("USAGE_TOTALS_TABLE", "UsageTotalsTable"),
        ("OUTBOX_TABLE", "OutboxTable"),
        ("CUSTOMERS_TABLE", "CustomersTable"),
        ("BILLING_EVENTS_TABLE", "BillingEventsTable"),
        ("API_KEYS_TABLE", "ApiKeysTable"),
    ];

    /// Names from `variable`, which looks up a table's environment variable. A
    /// function that does not use a table is not told its name: an empty name
    /// is refused by DynamoDB before anything happens.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let name = |key: &str| variable(key).unwrap_or_default();
        Self {
            usage_events: name("USAGE_EVENTS_TABLE"),
            usage_totals: name("USAGE_TOTALS_TABLE"),
            outbox: name("OUTBOX_TABLE"),
            customers: name("CUSTOMERS_TABLE"),
            billing_events: name("BILLING_EVENTS_TABLE"),
            api_keys: name("API_KEYS_TABLE"),
        }
    }

    /// Each table's environment variable and its name: what
    /// [`from_variables`](Self::from_variables) reads.
    pub fn variables(&self) -> [(&'static str, &str); 6] {
        [
            ("USAGE_EVENTS_TABLE", &self.usage_events),
            ("USAGE_TOTALS_TABLE", &self.usage_totals),
            ("OUTBOX_TABLE", &self.outbox),
            ("CUSTOMERS_TABLE", &self.customers),
            ("BILLING_EVENTS_TABLE", &self.billing_events),
            ("API_KEYS_TABLE", &self.api_keys),
        ]
    }
}

/// The AWS configuration from the environment: region, credentials and, for an
/// emulator, `AWS_ENDPOINT_URL_DYNAMODB` (AWS SDKs and Tools Reference Guide:
/// "Service-specific endpoints"). AWS is believed by its own certificate
/// authorities, which are part of the program, or by those of the file that
/// `AWS_CA_BUNDLE` names (AWS CLI User Guide: "Environment variables").
///
/// # Errors
/// [`TrustError`] where that file is not what it must be.
pub async fn connect() -> Result<aws_config::SdkConfig, TrustError> {
    let ca_bundle = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty());
    let trust_store = trust::store(ca_bundle.as_deref().map(Path::new))?;
    configuration(trust_store).await
}

pub(crate) async fn configuration(
    trust_store: TrustStore,
) -> Result<aws_config::SdkConfig, TrustError> {
    let http_client = trust::http_client(trust_store)?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3));
    // The default chain begins with these, too; but it is built as a whole, and
    // a function, which always has them, would wait at its start for the rest.
    let is_set = |name| std::env::var(name).is_ok_and(|value: String| !value.trim().is_empty());
    if KEYS.into_iter().all(is_set) {
        config = config.credentials_provider(EnvironmentVariableCredentialsProvider::new());
    }
    Ok(config.load().await)
}
