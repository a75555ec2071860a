//! Which account, which addresses, how patient.

use std::sync::Arc;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::observer::Observer;
use crate::usage_api::{UnknownUsageApi, UsageApi};

const API_BASE: &str = "https://api.stripe.com";
const METER_EVENTS_BASE: &str = "https://meter-events.stripe.com";
const TIMEOUT_MS: u64 = 10_000;
const ATTEMPTS_MAX: u32 = 3;
/// The first delay of Stripe's own SDKs, and the least they ever wait.
const RETRY_DELAY_MS: u64 = 500;
const RETRY_DELAY_MS_MAX: u64 = 5_000;

/// How to reach Stripe. Checked as a whole by [`Client::new`](crate::Client::new).
#[derive(Clone, Debug)]
pub struct Config {
    /// `sk_test_…`, `sk_live_…`, `rk_test_…` or `rk_live_…`.
    pub secret_key: SecretString,
    /// Where the API is, <https://api.stripe.com> unless it is a simulator.
    pub api_base: String,
    /// Where the meter event stream is, <https://meter-events.stripe.com>.
    pub meter_events_base: String,
    /// By which API the account's usage is reported.
    pub usage_api: UsageApi,
    /// The longest that one attempt may take, its answer's body included.
    pub timeout_ms: u64,
    /// Attempts of one request, the first included.
    pub max_attempts: u32,
    /// The shortest wait between two attempts.
    pub retry_delay_ms: u64,
    /// The longest wait between two attempts, unless Stripe asks for more.
    pub retry_delay_ms_max: u64,
    /// Who is told of each attempt; nobody by default.
    pub observers: Vec<Arc<dyn Observer>>,
}

/// Why a [`Config`] makes no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a secret or restricted key. A publishable key (`pk_…`) cannot bill.
    #[error("the Stripe key must start with sk_test_, sk_live_, rk_test_ or rk_live_")]
    SecretKey,
    /// Not an address of the form `https://host[:port]`.
    #[error("{name} must be an http or https address without credentials, query or fragment")]
    BaseAddress {
        /// The field of [`Config`].
        name: &'static str,
    },
    /// There is no such usage API.
    #[error(transparent)]
    UsageApi(#[from] UnknownUsageApi),
    /// A live key would travel unencrypted.
    #[error("{name} must be https for a live key")]
    LiveKeyWithoutTls {
        /// The field of [`Config`].
        name: &'static str,
    },
    /// The TLS stack refused its settings.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP client refused its settings.
    #[error("the HTTP client could not be set up")]
    Http(#[from] reqwest::Error),
}

impl Config {
    /// Stripe itself, three attempts of at most ten seconds.
    pub fn new(secret_key: SecretString) -> Self {
        Self {
            secret_key,
            api_base: API_BASE.to_owned(),
            meter_events_base: METER_EVENTS_BASE.to_owned(),
            usage_api: UsageApi::default(),
            timeout_ms: TIMEOUT_MS,
            max_attempts: ATTEMPTS_MAX,
            retry_delay_ms: RETRY_DELAY_MS,
            retry_delay_ms_max: RETRY_DELAY_MS_MAX,
            observers: Vec::new(),
        }
    }

    /// Another key for the same account.
    #[must_use]
    pub fn with_secret_key(mut self, secret_key: SecretString) -> Self {
        self.secret_key = secret_key;
        self
    }

    /// Another address for the API, `http://` included.
    #[must_use]
    pub fn with_api_base(mut self, api_base: impl Into<String>) -> Self {
        self.api_base = api_base.into();
        self
    }

    /// Another address for the meter event stream.
    #[must_use]
    pub fn with_meter_events_base(mut self, meter_events_base: impl Into<String>) -> Self {
        self.meter_events_base = meter_events_base.into();
        self
    }

    /// Another API for the account's usage.
    #[must_use]
    pub const fn with_usage_api(mut self, usage_api: UsageApi) -> Self {
        self.usage_api = usage_api;
        self
    }

    /// Another limit for one attempt.
    #[must_use]
    pub const fn with_timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }

    /// Another number of attempts; 1 never retries, and so does 0.
    #[must_use]
    pub const fn with_max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Other waits between attempts: the shortest and the longest.
    #[must_use]
    pub const fn with_retry_delay_ms(mut self, shortest_ms: u64, longest_ms: u64) -> Self {
        self.retry_delay_ms = shortest_ms;
        self.retry_delay_ms_max = longest_ms;
        self
    }

    /// Tells `observer`, too, of each attempt.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Whether the key is one of live mode.
    pub fn livemode(&self) -> bool {
        let key = self.secret_key.expose_secret();
        key.starts_with("sk_live_") || key.starts_with("rk_live_")
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !is_secret_key(self.secret_key.expose_secret()) {
            return Err(ConfigError::SecretKey);
        }
        let bases = [
            ("api_base", &self.api_base),
            ("meter_events_base", &self.meter_events_base),
        ];
        for (name, base) in bases {
            let scheme = base_scheme(base).ok_or(ConfigError::BaseAddress { name })?;
            if self.livemode() && scheme != "https" {
                return Err(ConfigError::LiveKeyWithoutTls { name });
            }
        }
        Ok(())
    }
}

/// The rest of a key is checked for what may stand in a header, so that a key
/// read with its newline fails here and by name.
fn is_secret_key(key: &str) -> bool {
    ["sk_test_", "sk_live_", "rk_test_", "rk_live_"]
        .into_iter()
        .filter_map(|prefix| key.strip_prefix(prefix))
        .any(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

fn base_scheme(base: &str) -> Option<String> {
    let url = Url::parse(base).ok()?;
    let plain = url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (plain && matches!(url.scheme(), "http" | "https")).then(|| url.scheme().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(key: &str) -> Config {
        Config::new(SecretString::from(key))
    }

    #[test]
    fn keys_of_the_wrong_kind_are_refused() {
        for key in [
            "",
            "sk_test_",
            "pk_test_1",
            "whsec_1",
            "sk_test_1\n",
            "sk_test_a b",
            " sk_test_1",
        ] {
            assert!(
                matches!(config(key).check(), Err(ConfigError::SecretKey)),
                "{key:?}"
            );
        }
        for key in ["sk_test_1", "rk_test_a_B", "sk_live_1", "rk_live_1"] {
            assert!(config(key).check().is_ok(), "{key:?}");
        }
    }

    #[test]
    fn live_mode_is_read_from_the_key() {
        assert!(config("sk_live_1").livemode() && config("rk_live_1").livemode());
        assert!(!config("sk_test_1").livemode() && !config("rk_test_1").livemode());
    }

    #[test]
    fn a_live_key_never_travels_unencrypted() {
        let config = config("sk_live_1").with_meter_events_base("http://127.0.0.1:12111");
        assert!(matches!(
            config.check(),
            Err(ConfigError::LiveKeyWithoutTls {
                name: "meter_events_base"
            })
        ));
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        for base in [
            "",
            "api.stripe.com",
            "ftp://x",
            "https://u:p@x",
            "https://x?y",
            "file:///x",
        ] {
            let refused = config("sk_test_1").with_api_base(base).check();
            assert!(
                matches!(refused, Err(ConfigError::BaseAddress { name: "api_base" })),
                "{base:?}"
            );
        }
    }
}
