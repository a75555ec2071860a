//! The API over HTTP: what is sent, and what its answers mean.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::answer::{Problem, Recorded};
use crate::body::whole_body;
use crate::error::SettingsError;
use crate::retry::retry_after;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// As much of an unexpected answer as an error shows, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// A usage event as the API takes it, and as the spool keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEvent {
    pub(crate) event_id: String,
    pub(crate) customer_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscription_item_id: Option<String>,
    pub(crate) quantity: u64,
    pub(crate) action_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) occurred_at: Option<WireTime>,
}

/// A time, as the API takes it and the spool of any language has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum WireTime {
    Rfc3339(String),
    UnixSeconds(i64),
}

impl WireTime {
    /// To the API's millisecond; as it is written, where it is no time.
    fn unix_ms(&self) -> Result<i128, &str> {
        match self {
            Self::UnixSeconds(unix_s) => Ok(i128::from(*unix_s) * 1000),
            Self::Rfc3339(text) => OffsetDateTime::parse(text, &Rfc3339)
                .map(|time| time.unix_timestamp_nanos().div_euclid(1_000_000))
                .map_err(|_| text.as_str()),
        }
    }
}

/// One time is the same time, however a language writes it.
impl PartialEq for WireTime {
    fn eq(&self, other: &Self) -> bool {
        self.unix_ms() == other.unix_ms()
    }
}

impl Eq for WireTime {}

/// What one attempt came to.
#[derive(Clone, Debug)]
pub(crate) enum Attempt {
    Recorded(Recorded),
    Refused {
        http_status: u16,
        problem: Problem,
    },
    /// 5xx, 408, 429, or no answer that can be read.
    Unsure {
        http_status: Option<u16>,
        reason: String,
        retry_after: Option<Duration>,
        /// Whether it may be recorded: it is not after a 429, nor without a
        /// connection.
        perhaps_recorded: bool,
    },
}

impl Attempt {
    /// How long Meterline asks to wait, if it does.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unsure { retry_after, .. } => *retry_after,
            Self::Recorded(_) | Self::Refused { .. } => None,
        }
    }
}

/// Meterline's API at an address, under a key.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    base_url: Url,
    authorization: HeaderValue,
}

#[derive(Serialize)]
struct Batch<'a> {
    events: &'a [WireEvent],
}

#[derive(Deserialize)]
struct BatchAnswer {
    results: Vec<Value>,
}

/// A result of a batch that is an error; everything else is a [`Recorded`].
#[derive(Deserialize)]
struct RefusedResult {
    status: String,
    error: Problem,
}

impl Api {
    pub(crate) fn new(
        url: &str,
        key: &SecretString,
        request_timeout: Duration,
    ) -> Result<Self, SettingsError> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = parsed.ok_or_else(|| SettingsError::InvalidUrl {
            url: url.to_owned(),
        })?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
            .map_err(|_| SettingsError::InvalidKey)?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: client(&parsed, request_timeout)?,
            base_url: parsed,
            authorization,
        })
    }

    /// One attempt at `event`.
    pub(crate) async fn emit(&self, event: &WireEvent) -> Attempt {
        let request = self.authorized(self.client.post(self.address(&["v1", "usage"])));
        match request.json(event).send().await {
            Ok(response) => read_single(event, response).await,
            Err(error) => not_sent(error),
        }
    }

    /// One attempt at up to 100 `events`, with an outcome for each, in order.
    pub(crate) async fn emit_batch(&self, events: &[WireEvent]) -> Vec<Attempt> {
        let request = self.authorized(self.client.post(self.address(&["v1", "usage", "batch"])));
        let attempt = match request.json(&Batch { events }).send().await {
            Ok(response) => match read(response).await {
                Ok(body) => match batch_results(events, &body) {
                    Some(attempts) => return attempts,
                    None => unsure(Some(200), "an answer that cannot be read".to_owned()),
                },
                Err(attempt) => attempt,
            },
            Err(error) => not_sent(error),
        };
        vec![attempt; events.len()]
    }

    /// What a `GET` of the path with these `segments` answers.
    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Vec<u8>, Attempt> {
        let request = self.authorized(self.client.get(self.address(segments)));
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) => Err(not_sent(error)),
        }
    }

    /// Whatever a segment holds, it stays one.
    fn address(&self, segments: &[&str]) -> Url {
        let mut address = self.base_url.clone();
        // An address with a host has a path.
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        address
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(AUTHORIZATION, self.authorization.clone())
    }
}

fn unsure(http_status: Option<u16>, reason: String) -> Attempt {
    Attempt::Unsure {
        http_status,
        reason,
        retry_after: None,
        perhaps_recorded: true,
    }
}

/// No answer: the request did not get there, or nobody knows.
fn not_sent(error: reqwest::Error) -> Attempt {
    Attempt::Unsure {
        http_status: None,
        perhaps_recorded: !error.is_connect(),
        reason: describe(error),
        retry_after: None,
    }
}

async fn read_single(event: &WireEvent, response: Response) -> Attempt {
    let http_status = response.status().as_u16();
    match read(response).await {
        Ok(body) => match serde_json::from_slice::<Recorded>(&body) {
            Ok(recorded) => recorded_if(event, recorded),
            Err(error) => unsure(
                Some(http_status),
                format!("an answer that cannot be read: {error}"),
            ),
        },
        Err(attempt) => attempt,
    }
}

/// An answer about another event is not from Meterline, or not whole: it proves
/// nothing.
fn recorded_if(event: &WireEvent, recorded: Recorded) -> Attempt {
    if recorded.event_id == event.event_id {
        Attempt::Recorded(recorded)
    } else {
        unsure(Some(200), "an answer about another event".to_owned())
    }
}

/// The body of a success; else what the answer means for whoever asked.
async fn read(response: Response) -> Result<Vec<u8>, Attempt> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = match whole_body(response).await {
        Ok(body) => body,
        Err(reason) => return Err(unsure(Some(status.as_u16()), reason)),
    };
    if status.is_success() {
        return Ok(body);
    }
    let problem = problem(status, &body);
    if may_pass(status) || !status.is_client_error() {
        return Err(Attempt::Unsure {
            http_status: Some(status.as_u16()),
            reason: format!("{} {problem}", status.as_u16()),
            retry_after,
            perhaps_recorded: status != StatusCode::TOO_MANY_REQUESTS,
        });
    }
    Err(Attempt::Refused {
        http_status: status.as_u16(),
        problem,
    })
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        problem_type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: String::from_utf8_lossy(body)
            .chars()
            .take(EXCERPT_LENGTH_MAX)
            .collect(),
        status: status.as_u16(),
    })
}

/// An attempt for each of `events`; none where the answer is no such list.
fn batch_results(events: &[WireEvent], body: &[u8]) -> Option<Vec<Attempt>> {
    let answer: BatchAnswer = serde_json::from_slice(body).ok()?;
    if answer.results.len() != events.len() {
        return None;
    }
    let results = events.iter().zip(answer.results);
    Some(
        results
            .map(|(event, result)| batch_result(event, result))
            .collect(),
    )
}

fn batch_result(event: &WireEvent, result: Value) -> Attempt {
    if let Ok(refused) = serde_json::from_value::<RefusedResult>(result.clone()) {
        let http_status = refused.error.status;
        if refused.status == "unknown" {
            return unsure(Some(http_status), refused.error.to_string());
        }
        return Attempt::Refused {
            http_status,
            problem: refused.error,
        };
    }
    match serde_json::from_value(result) {
        Ok(recorded) => recorded_if(event, recorded),
        Err(error) => unsure(Some(200), format!("a result that cannot be read: {error}")),
    }
}

/// A client with its own TLS: ring and the roots of Mozilla, the same on every
/// machine, with or without certificates installed.
fn client(url: &Url, request_timeout: Duration) -> Result<Client, SettingsError> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Http(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(request_timeout)
        // Following one would take the key, and perhaps the event, elsewhere.
        .redirect(Policy::none());
    if is_this_machine(url) {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| SettingsError::Http(describe(error)))
}

/// Whether a proxy could not reach it anyway.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// An error of the HTTP client with its causes, but without the address.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use super::*;

    fn api(url: &str, key: &str) -> Result<Api, SettingsError> {
        Api::new(url, &key.into(), Duration::from_secs(1))
    }

    #[test]
    fn neither_a_client_nor_an_error_about_its_key_shows_it() {
        let api = api("https://meter.example/", "mk_secret").unwrap();
        let address = api.address(&["v1", "a/b?c"]);
        assert_eq!(address.as_str(), "https://meter.example/v1/a%2Fb%3Fc");
        assert!(!format!("{api:?}").contains("mk_secret"));
        let refused = self::api("https://meter.example", "mk_secret\n").unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains("mk_secret"));
    }

    #[test]
    fn only_web_addresses_are_taken() {
        for url in ["", "meter.example", "ftp://meter.example"] {
            let refused = api(url, "key");
            assert!(
                matches!(refused, Err(SettingsError::InvalidUrl { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn one_time_is_the_same_time_however_it_is_written() {
        let text = |text: &str| WireTime::Rfc3339(text.to_owned());
        let noon = text("2026-01-31T12:00:00.000Z");
        let later = text("2026-01-31T12:00:00.001Z");
        for time in [
            text("2026-01-31T12:00:00Z"),
            text("2026-01-31T13:00:00+01:00"),
            WireTime::UnixSeconds(1_769_860_800),
        ] {
            assert_eq!(noon, time);
            assert_ne!(later, time);
        }
        assert_eq!(text("noon"), text("noon"));
        assert_ne!(text("noon"), noon);
    }
}
