//! Webhook deliveries: signed, and tried again for three days until a 2xx (Stripe's
//! documentation: Webhooks, Signature verification).

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::json::{text, text_or_empty};
use crate::api::version::Version;
use crate::call::Call;
use crate::core::Core;
use crate::engine::invoicing;
use crate::simulator::StartError;
use crate::store::deliveries::{self, Delivery};
use crate::store::objects;

/// How many deliveries are under way at once.
const CONCURRENT_MAX: i64 = 16;
/// How long an endpoint may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// When a delivery is given up, counted from its event.
const GIVEN_UP_AFTER_MS: i64 = 3 * 24 * 3_600_000;
/// The pause after each failed attempt, in seconds; the last one repeats.
const BACK_OFF_SECONDS: [i64; 7] = [5, 60, 600, 3_600, 10_800, 21_600, 43_200];

/// How the deliveries of a round went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) delivered: usize,
    pub(crate) failed: usize,
}

/// An event as it goes to an endpoint.
struct Outgoing {
    delivery: Delivery,
    url: String,
    signature: String,
    body: String,
}

/// The client that deliveries go out with. It follows no redirect: Stripe takes one as a failure.
/// Its roots are bundled, because the machine may hold none, and its TLS provider is named,
/// because the process may have chosen none.
pub(crate) fn client() -> std::result::Result<reqwest::Client, StartError> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(StartError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_TIMEOUT)
        .no_proxy()
        .build()
        .map_err(StartError::Client)
}

/// Makes one attempt at deliveries that are due, as many as may be under way at once.
pub(crate) async fn deliver_due(core: &Arc<Core>) -> Result<Round> {
    let _round = core.round.lock().await;
    let outgoing = core.work_alone(due).await?;
    let mut attempts = JoinSet::new();
    for outgoing in outgoing {
        let client = core.client.clone();
        attempts.spawn(async move { attempt(&client, outgoing).await });
    }
    let mut round = Round::default();
    while let Some(attempted) = attempts.join_next().await {
        let (delivery, outcome) = attempted.map_err(|error| StripeError::internal(&error))?;
        if outcome.is_ok() {
            round.delivered += 1;
        } else {
            round.failed += 1;
        }
        core.work_alone(move |call| record(call, &delivery, &outcome))
            .await?;
    }
    Ok(round)
}

fn due(call: &Call<'_>) -> Result<Vec<Outgoing>> {
    let mut outgoing = Vec::new();
    for delivery in deliveries::due(call.db, call.now_ms, CONCURRENT_MAX)? {
        let event = objects::find(call.db, &delivery.event)?;
        let endpoint = objects::find(call.db, &delivery.endpoint)?;
        match (event, endpoint) {
            (Some(event), Some(endpoint)) if text(&endpoint, "/status") == Some("enabled") => {
                outgoing.push(prepare(call, delivery, &event, &endpoint)?);
            }
            _ => deliveries::record(call.db, delivery.id, false, None, "nobody to deliver to")?,
        }
    }
    Ok(outgoing)
}

fn prepare(
    call: &Call<'_>,
    delivery: Delivery,
    event: &Value,
    endpoint: &Value,
) -> Result<Outgoing> {
    let mut shown = present(call, event)?;
    if text(endpoint, "/event_payload") == Some("thin")
        && let Some(fields) = shown.as_object_mut()
    {
        // A thin delivery says that something happened; what, is to be fetched.
        fields.remove("data");
    }
    if let Some(version) = text(endpoint, "/api_version") {
        if Version::parse(version)?.is_before_basil() {
            shown["data"] = event["_data_before_basil"].clone();
        }
        shown["api_version"] = version.into();
    }
    let url = text(endpoint, "/url").or_else(|| text(endpoint, "/_url"));
    let body = shown.to_string();
    let secret = text_or_empty(endpoint, "/_secret");
    Ok(Outgoing {
        delivery,
        url: url.unwrap_or_default().to_owned(),
        signature: sign(&secret, call.now(), &body)?,
        body,
    })
}

/// The `Stripe-Signature` header: HMAC-SHA256 over the time, a dot and the body. In test mode
/// Stripe adds a `v0` that is nobody's signature, so that no receiver relies on that scheme.
fn sign(secret: &str, timestamp: i64, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| StripeError::internal(&error))?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let nobodys = hex::encode(Sha256::digest(&signature));
    Ok(format!("t={timestamp},v1={signature},v0={nobodys}"))
}

/// One attempt: done where the endpoint answered 2xx, else what it did instead.
async fn attempt(
    client: &reqwest::Client,
    outgoing: Outgoing,
) -> (Delivery, std::result::Result<u16, String>) {
    let answer = client
        .post(&outgoing.url)
        .header("Content-Type", "application/json; charset=utf-8")
        .header(
            "User-Agent",
            "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        )
        .header("Stripe-Signature", outgoing.signature)
        .body(outgoing.body)
        .send()
        .await;
    let outcome = match answer {
        Ok(answer) if answer.status().is_success() => Ok(answer.status().as_u16()),
        Ok(answer) => Err(answer.status().as_u16().to_string()),
        Err(error) => Err(explain(&error.without_url())),
    };
    (outgoing.delivery, outcome)
}

/// An error and what caused it: the outermost alone says only that sending failed.
fn explain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn record(
    call: &Call<'_>,
    delivery: &Delivery,
    outcome: &std::result::Result<u16, String>,
) -> Result<()> {
    match outcome {
        Ok(status) => {
            deliveries::record(call.db, delivery.id, true, None, &status.to_string())?;
            if deliveries::all_taken(call.db, &delivery.event)? {
                invoicing::acknowledge(call, &delivery.event)?;
            }
            Ok(())
        }
        Err(cause) => {
            tracing::info!(event = %delivery.event, %cause, "a webhook was not taken");
            let next_ms = next_attempt_ms(call.now_ms, delivery);
            deliveries::record(call.db, delivery.id, false, next_ms, cause)
        }
    }
}

fn next_attempt_ms(now_ms: i64, delivery: &Delivery) -> Option<i64> {
    let attempt = usize::try_from(delivery.attempts).unwrap_or_default();
    let longest = BACK_OFF_SECONDS.last().copied().unwrap_or_default();
    let pause = BACK_OFF_SECONDS.get(attempt).copied().unwrap_or(longest);
    let next_ms = now_ms + pause * 1000;
    (next_ms <= delivery.created_ms + GIVEN_UP_AFTER_MS).then_some(next_ms)
}
