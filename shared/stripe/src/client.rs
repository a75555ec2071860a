//! Sends requests: credentials, attempts, deadlines.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::attempt::{self, Answer, Failure};
use crate::backoff::Backoff;
use crate::config::{Config, ConfigError};
use crate::error::{ApiError, Error, Sent};
use crate::idempotency_key::IdempotencyKey;
use crate::key_source::{KeySource, SecretKey};
use crate::mac::hmac_sha256;
use crate::observer::Attempt;
use crate::operation::Operation;
use crate::request::{Body, Credential, Request};
use crate::tls;
use crate::turns::Turns;
use crate::usage_api::UsageApi;

/// The longest that a connection may take: one that takes longer is lost, and
/// what is lost before it stands was certainly not received.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("meterline-stripe/", env!("CARGO_PKG_VERSION"));

/// What one call may take, and under which name.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    idempotency_key: Option<IdempotencyKey>,
    deadline: Option<Instant>,
}

impl RequestOptions {
    /// A random idempotency key for each call, and no deadline but the attempts' own.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`new`](Self::new), and everything ends at `deadline`: attempts are
    /// cut short there, and no wait goes past it.
    pub fn until(deadline: Instant) -> Self {
        Self {
            idempotency_key: None,
            deadline: Some(deadline),
        }
    }

    /// The key of the call's intent. Meant for one call: Stripe refuses the
    /// same key for another.
    #[must_use]
    pub fn idempotency_key(mut self, idempotency_key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(idempotency_key);
        self
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// For another intent under the same deadline.
    pub(crate) const fn with_random_key(&self) -> Self {
        Self {
            idempotency_key: None,
            deadline: self.deadline,
        }
    }

    /// With its key fixed, so that every request made with it is one intent.
    pub(crate) fn with_fixed_key(&self) -> Self {
        let key = self
            .idempotency_key
            .clone()
            .unwrap_or_else(IdempotencyKey::random);
        Self {
            idempotency_key: Some(key),
            deadline: self.deadline,
        }
    }
}

/// Stripe. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    config: Config,
    key: SecretKey,
    livemode: bool,
    /// Of those who send meter events by the endpoint that takes one at a time.
    turns: Turns,
}

impl Client {
    /// A client for the account that the key belongs to.
    ///
    /// # Errors
    /// A [`ConfigError`] for settings that make no client. Nothing is sent.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config()?)
            // A credential must not travel to where an answer points.
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(USER_AGENT)
            .build()?;
        let livemode = config.livemode();
        let key = SecretKey::new(config.secret_key.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                config,
                key,
                livemode,
                turns: Turns::default(),
            }),
        })
    }

    /// Whether the key is one of live mode.
    pub fn livemode(&self) -> bool {
        self.shared.livemode
    }

    /// By which API the account's usage is reported.
    pub fn usage_api(&self) -> UsageApi {
        self.shared.config.usage_api
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.shared.turns
    }

    /// From now on asks `source` for another key when Stripe refuses the one in use, for
    /// all clones. Only the first source counts; whether this is it.
    pub fn set_key_source(&self, source: Arc<dyn KeySource>) -> bool {
        self.shared.key.set_source(source)
    }

    /// Looks for another key, though this one still works: whether there is one now.
    pub async fn renew_key(&self) -> bool {
        let known = self.shared.key.current();
        self.shared.key.renew(&known).await
    }

    /// What tells this key from others without giving it away: a digest of
    /// `context`, made with the key (HMAC-SHA256, hexadecimal).
    pub fn key_digest(&self, context: &str) -> String {
        let key = self.shared.key.current();
        hex::encode(hmac_sha256(&key, &[context.as_bytes()]))
    }

    /// A request that changes nothing.
    pub(crate) async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        self.call(request, &RequestOptions::new()).await
    }

    /// Sends `request` until there is an answer, or no use in another attempt.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        request: Request,
        options: &RequestOptions,
    ) -> Result<T, Error> {
        let answer = self.answer(&request, &options.with_fixed_key()).await?;
        serde_json::from_slice(&answer.body).map_err(|source| Error::UnreadableAnswer {
            status: answer.status,
            request_id: answer.request_id,
            source,
        })
    }

    /// As [`call`](Self::call), where the answer's status is all that counts:
    /// a success is one whatever its body holds, and perhaps it holds nothing.
    pub(crate) async fn call_for_status(
        &self,
        request: Request,
        options: &RequestOptions,
    ) -> Result<(), Error> {
        let answered = self.answer(&request, &options.with_fixed_key()).await;
        answered.map(|_| ())
    }

    async fn answer(&self, request: &Request, options: &RequestOptions) -> Result<Answer, Error> {
        let mut failures = 0;
        let mut sent = Sent::No;
        let mut taken_before = Sent::No;
        let mut latest = Error::DeadlineOver;
        let mut is_renewed = false;
        while let Some(limit) = self.attempt_limit(options.deadline) {
            let key = self.shared.key.current();
            let mut failure = match self.attempt(request, options, &key, limit).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            // Refused for its key, nothing was done: the same again with another.
            if !is_renewed && is_refused_key(&failure, request) && self.shared.key.renew(&key).await
            {
                is_renewed = true;
                continue;
            }
            failures += 1;
            sent = sent.max(failure.sent());
            match &mut failure.error {
                Error::Transport(error) => error.sent = sent,
                Error::Api(error) => error.taken_before = taken_before,
                _ => {}
            }
            taken_before = taken_before.max(failure.taken());
            let Some(wait) = self.wait(&failure, failures, options.deadline) else {
                return Err(failure.error);
            };
            tracing::debug!(failures, error = %failure.error, ?wait, "Stripe is asked again");
            latest = failure.error;
            tokio::time::sleep(wait).await;
        }
        Err(latest)
    }

    /// How long the next attempt may take; none where there is no time left.
    fn attempt_limit(&self, deadline: Option<Instant>) -> Option<Duration> {
        let limit = Duration::from_millis(self.shared.config.timeout_ms);
        match deadline {
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                (!left.is_zero()).then(|| limit.min(left))
            }
            None => Some(limit),
        }
    }

    /// How long to wait before the next attempt; none where there shall be none.
    fn wait(
        &self,
        failure: &Failure,
        failures: u32,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let config = &self.shared.config;
        if !failure.may_pass || failures >= config.max_attempts {
            return None;
        }
        let backoff = Backoff {
            shortest_ms: config.retry_delay_ms,
            longest_ms: config.retry_delay_ms_max,
        };
        let wait_ms = backoff.delay_ms(failures, fastrand::u64(..), failure.retry_after_ms)?;
        let wait = Duration::from_millis(wait_ms);
        match deadline {
            Some(deadline) if Instant::now() + wait >= deadline => None,
            _ => Some(wait),
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        options: &RequestOptions,
        key: &SecretString,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let response = self
            .build(request, options, key)
            .timeout(limit)
            .send()
            .await;
        let mut answer = match response.map_err(Failure::transport) {
            Ok(response) => attempt::receive(response).await,
            Err(failure) => Err(failure),
        };
        let config = &self.shared.config;
        let attempt = Attempt::of(Operation::of(request, config), started.elapsed(), &answer);
        for observer in &config.observers {
            observer.attempted(attempt);
        }
        if let Err(Failure {
            error: Error::Api(error),
            ..
        }) = &mut answer
        {
            redact(error, [key, credential(&request.credential, key)]);
        }
        answer
    }

    fn build(
        &self,
        request: &Request,
        options: &RequestOptions,
        key: &SecretString,
    ) -> reqwest::RequestBuilder {
        let url = Operation::of(request, &self.shared.config).address();
        let credential = credential(&request.credential, key).expose_secret();
        let mut builder = self
            .shared
            .http
            .request(request.method.clone(), url)
            .bearer_auth(credential)
            .header("stripe-version", request.version);
        if request.method == Method::POST
            && let Some(key) = &options.idempotency_key
        {
            builder = builder.header("idempotency-key", key.as_str());
        }
        match &request.body {
            Body::None => builder,
            Body::Form(form) => builder
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.encode()),
            Body::Json(json) => builder
                .header(CONTENT_TYPE, "application/json")
                .body(json.clone()),
        }
    }
}

fn credential<'a>(credential: &'a Credential, key: &'a SecretString) -> &'a SecretString {
    match credential {
        Credential::SecretKey => key,
        Credential::SessionToken(token) => token,
    }
}

/// Whether Stripe refused the secret key itself; a session is renewed by who opened it.
fn is_refused_key(failure: &Failure, request: &Request) -> bool {
    failure.error.status() == Some(401) && matches!(request.credential, Credential::SecretKey)
}

/// Stripe masks keys in its messages; nobody else has promised to.
fn redact(error: &mut ApiError, secrets: [&SecretString; 2]) {
    for secret in secrets.map(ExposeSecret::expose_secret) {
        if !secret.is_empty() && error.message.contains(secret) {
            error.message = error.message.replace(secret, "[redacted]");
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}
