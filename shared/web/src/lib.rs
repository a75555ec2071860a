//! What the functions share around their subject: errors as problem documents,
//! API keys, request bodies, settings and secrets, logs.

mod auth;
mod clock;
mod idempotency_key;
mod json_body;
#[cfg(test)]
#[path = "../tests/log/mod.rs"]
mod log;
pub mod metrics;
pub mod openapi;
mod problem;
mod request_limit;
mod secrets;
mod service;
mod settings;
mod stripe_account;
pub mod telemetry;
mod unique_keys;
pub mod xray;

pub use auth::{Authenticator, Caller};
pub use clock::SystemClock;
pub use idempotency_key::idempotency_key;
pub use json_body::{JsonBody, from_json};
pub use metrics::Metrics;
pub use problem::{Problem, ProblemType};
pub use secrets::{KeyWatch, RotatedSecret, SecretReader, StripeKey};
pub use service::{BODY_BYTES_MAX, service};
pub use settings::{Settings, SettingsError, key_rate_limit};
pub use stripe_account::{OtherStripeAccount, UNKNOWN_ACCOUNT_TARGET, check_stripe_account};

/// What ends a function's `main` before it serves: shown by the runtime, and in the log.
pub type MainError = Box<dyn std::error::Error + Send + Sync>;
