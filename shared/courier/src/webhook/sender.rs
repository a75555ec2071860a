//! One request.

use std::time::Duration;

use billing::Timestamp;
use ledger::StoredNotification;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use super::address::{NoPublicAddress, PublicResolver};
use super::signature::SigningSecrets;
use crate::settings::{Reach, WebhookSettings};

const USER_AGENT: &str = concat!("Meterline/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// From the start to the answer's head.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A request was not taken, or nobody knows whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// To be tried again.
    Failed(String),
    /// The receiver is gone for good (410): there is no use in another attempt.
    Gone,
}

/// Nothing can be sent to anybody.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The TLS stack refused its settings.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP client refused its settings.
    #[error("the HTTP client could not be set up")]
    Http(#[from] reqwest::Error),
}

/// Sends requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WebhookSender<'a> {
    pub(crate) http: &'a Client,
    pub(crate) settings: &'a WebhookSettings,
    pub(crate) secrets: &'a SigningSecrets,
}

/// A client that goes where `reach` allows: it follows no redirect and uses no proxy,
/// either of which would lead past the check of the address.
pub(crate) fn http_client(reach: Reach) -> Result<Client, HttpClientError> {
    let client = Client::builder()
        .tls_backend_preconfigured(stripe::tls_client_config()?)
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .user_agent(USER_AGENT);
    let client = match reach {
        Reach::Public => client.https_only(true).dns_resolver(PublicResolver),
        Reach::Anywhere => client,
    };
    Ok(client.build()?)
}

impl WebhookSender<'_> {
    /// Sends `notification`, signed at `now`. Of the answer only the status is read.
    pub(crate) async fn send(
        &self,
        notification: &StoredNotification,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let StoredNotification { id, message, .. } = notification;
        let signature = self.secrets.sign(id, now.unix_s(), message.as_bytes());
        let sent = self
            .http
            .post(self.settings.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.unix_s())
            .header("webhook-signature", signature)
            .body(message.clone())
            .send()
            .await;
        let answer = sent.map_err(|error| Refusal::Failed(reason(&error).to_owned()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(Refusal::Gone),
            status => Err(Refusal::Failed(format!("http_{}", status.as_u16()))),
        }
    }
}

/// A word for it. The address may be a secret in itself, and is left out.
fn reason(error: &reqwest::Error) -> &'static str {
    if is_caused_by::<NoPublicAddress>(error) {
        "no_public_address"
    } else if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "unreachable"
    } else {
        "no_answer"
    }
}

fn is_caused_by<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}
