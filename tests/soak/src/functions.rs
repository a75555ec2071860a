//! The functions as one process: built over the databases, and killed.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use ledger::{Ledger, TableNames};
use redelivery::Redelivery;
use rollup::{Handler, Rollup};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use stripe::UsageApi;
use test_support::HandClock;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::SoakError;

/// The limits of production (`ledger::connect`, `stripe::Config`) with less
/// time in them: a request that hangs shall not take seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(400);
const OPERATION_TIMEOUT: Duration = Duration::from_millis(1_000);
const PATIENT_TIMEOUT: Duration = Duration::from_secs(120);
const ATTEMPTS_MAX: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(1);
const STRIPE_TIMEOUT_MS: u64 = 400;

const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the functions find their parts, and what they know at their start.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) dynamodb_url: String,
    pub(crate) stripe_url: String,
    pub(crate) usage_api: UsageApi,
    pub(crate) tables: TableNames,
    pub(crate) webhook_secrets: SecretString,
    pub(crate) price_lookup_key: String,
    pub(crate) api_key: SecretString,
    pub(crate) clock: HandClock,
}

/// The functions, with their clients, sessions and caches. Dropped, all of
/// that is gone, as with a process that is killed.
pub(crate) struct Functions {
    routes: Router,
    api_key: SecretString,
    pub(crate) rollup: Handler,
    pub(crate) redelivery: Redelivery,
    /// Tells whoever is in the middle of something that it ends here.
    pub(crate) killed: Notify,
}

impl Functions {
    pub(crate) fn start(surroundings: &Surroundings) -> Result<Self, SoakError> {
        let ledger = ledger(&surroundings.dynamodb_url, surroundings.tables.clone());
        let stripe = stripe_client(&surroundings.stripe_url, surroundings.usage_api)?;
        let clock = || Arc::new(surroundings.clock.clone());
        let secrets = webhook::signing_secrets(&surroundings.webhook_secrets)?;
        let emission = emission::State::new(ledger.clone(), stripe.clone(), clock());
        let onboarding = onboarding::State::new(
            ledger.clone(),
            stripe.clone(),
            surroundings.price_lookup_key.clone(),
            clock(),
        );
        let webhook = webhook::State::new(ledger.clone(), stripe.clone(), secrets, clock());
        let routes = emission::router(emission)
            .merge(onboarding::router(onboarding))
            .merge(webhook::router(webhook));
        Ok(Self {
            routes: web::service(routes),
            api_key: surroundings.api_key.clone(),
            rollup: Handler::new(Rollup::new(ledger.clone()), false),
            redelivery: Redelivery::new(ledger, stripe, clock()),
            killed: Notify::new(),
        })
    }

    /// What the functions answer to a JSON body, as API Gateway would ask.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), SoakError> {
        let key = format!("Bearer {}", self.api_key.expose_secret());
        let request = Request::post(path)
            .header(header::AUTHORIZATION, key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))?;
        let (status, body) = answer(self.routes.clone(), request).await?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// A webhook, as Stripe sent it.
    pub(crate) async fn webhook(
        &self,
        headers: &HeaderMap,
        body: Vec<u8>,
    ) -> Result<u16, SoakError> {
        let mut request = Request::post("/stripe/webhook").body(Body::from(body))?;
        *request.headers_mut() = headers.clone();
        Ok(answer(self.routes.clone(), request).await?.0)
    }
}

async fn answer(routes: Router, request: Request<Body>) -> Result<(u16, Vec<u8>), SoakError> {
    let Ok(answer) = routes.oneshot(request).await;
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
    Ok((status, body.to_vec()))
}

/// The tables of the DynamoDB at `url`, as the functions ask it.
fn ledger(url: &str, tables: TableNames) -> Ledger {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    ledger_within(timeouts, url, tables)
}

/// The same for who asks without faults in between: what is late then is the machine,
/// and says nothing of the system.
pub(crate) fn patient_ledger(url: &str, tables: TableNames) -> Ledger {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(PATIENT_TIMEOUT)
        .build();
    ledger_within(timeouts, url, tables)
}

fn ledger_within(timeouts: TimeoutConfig, url: &str, tables: TableNames) -> Ledger {
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(BACKOFF)
        .with_max_backoff(BACKOFF);
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("soak", "soak", None, None, "soak"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .timeout_config(timeouts)
        .retry_config(retries)
        .build();
    Ledger::new(aws_sdk_dynamodb::Client::from_conf(config), tables)
}

/// The Stripe at `url`.
pub(crate) fn stripe_client(url: &str, usage_api: UsageApi) -> Result<stripe::Client, SoakError> {
    let key = SecretString::from(stripe_simulator::DEFAULT_SECRET_KEY);
    let config = stripe::Config::new(key)
        .with_api_base(url)
        .with_meter_events_base(url)
        .with_usage_api(usage_api)
        .with_timeout_ms(STRIPE_TIMEOUT_MS)
        .with_retry_delay_ms(1, 2);
    Ok(stripe::Client::new(config)?)
}
