//! The API over HTTP: what is sent, and what its answers mean.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::{Access, AccessQuery};
use crate::answer::{Problem, Recorded};
use crate::body::whole_body;
use crate::error::SettingsError;
use crate::reservation::{Reservation, ReservationStatus, WireReservation};
use crate::retry::retry_after;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// As much of an unexpected answer as an error shows, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;
/// The path of reservations.
const RESERVATIONS: [&str; 3] = ["v1", "usage", "reservations"];

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reservation_id: Option<String>,
}

impl WireEvent {
    /// Whether it says what `other` says. An event is the same event with any
    /// reservation, and without one.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        let content = |event: &Self| Self {
            reservation_id: None,
            ..event.clone()
        };
        content(self) == content(other)
    }
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

/// What one attempt came to: of an event, unless said otherwise.
pub(crate) type Attempt<T = Recorded> = Result<T, Failed>;

/// Why an attempt did not do what it was for.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    Refused {
        http_status: u16,
        problem: Box<Problem>,
    },
    /// 3xx, 5xx, 408, 429, a 4xx that is not Meterline's, or no answer that can be read.
    Unsure {
        http_status: Option<u16>,
        reason: String,
        retry_after: Option<Duration>,
        /// Whether it may be done all the same: recorded, held, given back. It is not
        /// after a 429, nor without a connection.
        perhaps_done: bool,
    },
}

impl Failed {
    /// How long Meterline asks to wait, if it does.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unsure { retry_after, .. } => *retry_after,
            Self::Refused { .. } => None,
        }
    }

    /// Whether a batch may be refused so for the sake of one event, or of its size.
    const fn is_of_the_batch(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                http_status: 400 | 413 | 415,
                ..
            }
        )
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
    error: Box<Problem>,
}

/// What the API says of a reservation.
#[derive(Deserialize)]
struct ReservationAnswer {
    customer_id: String,
    #[serde(flatten)]
    reservation: Reservation,
}

impl Api {
    pub(crate) fn new(
        url: &str,
        key: &SecretString,
        request_timeout: Duration,
        own_roots: &[Vec<u8>],
    ) -> Result<Self, SettingsError> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let parsed = parsed.ok_or(SettingsError::InvalidUrl)?;
        if key.expose_secret().is_empty() {
            return Err(SettingsError::InvalidKey);
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
            .map_err(|_| SettingsError::InvalidKey)?;
        authorization.set_sensitive(true);
        Ok(Self {
            client: client(&parsed, request_timeout, own_roots)?,
            base_url: parsed,
            authorization,
        })
    }

    /// One attempt at `event`.
    pub(crate) async fn emit(&self, event: &WireEvent) -> Attempt {
        let request = self.client.post(self.address(&["v1", "usage"]));
        recorded_of(event, self.ask(request.json(event)).await?)
    }

    /// One attempt at up to 100 `events`, with an outcome for each, in order. Where the
    /// batch itself is refused, for the sake of one of them or of its size, each is
    /// sent alone: what is wrong with one is no matter of the others.
    pub(crate) async fn emit_batch(&self, events: &[WireEvent]) -> Vec<Attempt> {
        match self.emit_together(events).await {
            Ok(attempts) => attempts,
            Err(failed) if events.len() > 1 && failed.is_of_the_batch() => {
                let mut attempts = Vec::with_capacity(events.len());
                for event in events {
                    attempts.push(self.emit(event).await);
                }
                attempts
            }
            Err(failed) => vec![Err(failed); events.len()],
        }
    }

    async fn emit_together(&self, events: &[WireEvent]) -> Attempt<Vec<Attempt>> {
        let request = self.client.post(self.address(&["v1", "usage", "batch"]));
        let BatchAnswer { results } = self.ask(request.json(&Batch { events })).await?;
        if results.len() != events.len() {
            return Err(unsure(Some(200), "an answer about other events".to_owned()));
        }
        let results = events.iter().zip(results);
        Ok(results
            .map(|(event, result)| batch_result(event, result))
            .collect())
    }

    /// One attempt at holding units.
    pub(crate) async fn reserve(&self, wanted: &WireReservation) -> Attempt<Reservation> {
        let request = self.client.post(self.address(&RESERVATIONS));
        let answer = self.ask(request.json(wanted)).await?;
        let held = reservation_of(&wanted.customer_id, &wanted.reservation_id, answer)?;
        if held.status == ReservationStatus::Held {
            Ok(held)
        } else {
            let reason = "an answer that holds nothing".to_owned();
            Err(unsure(Some(200), reason))
        }
    }

    /// One attempt at giving units back.
    pub(crate) async fn release(
        &self,
        customer_id: &str,
        reservation_id: &str,
    ) -> Attempt<ReservationStatus> {
        let [version, usage, reservations] = RESERVATIONS;
        let mut address = self.address(&[version, usage, reservations, reservation_id]);
        address
            .query_pairs_mut()
            .append_pair("customer_id", customer_id);
        let answer = self.ask(self.client.delete(address)).await?;
        let released = reservation_of(customer_id, reservation_id, answer)?;
        Ok(released.status)
    }

    /// One attempt at asking whether a customer may act.
    pub(crate) async fn access(&self, query: &AccessQuery) -> Attempt<Access> {
        let mut address = self.address(&["v1", "customers", &query.customer_id, "access"]);
        if let Some(units) = query.units {
            let mut pairs = address.query_pairs_mut();
            pairs.append_pair("units", &units.to_string());
            if let Some(action_type) = &query.action_type {
                pairs.append_pair("action_type", action_type);
            }
        }
        self.ask(self.client.get(address)).await
    }

    /// One attempt at a request, which a `T` answers.
    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Attempt<T> {
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let response = request.send().await.map_err(not_sent)?;
        let http_status = response.status().as_u16();
        let body = read(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let reason = format!("an answer that cannot be read: {error}");
            unsure(Some(http_status), reason)
        })
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
}

pub(crate) const fn unsure(http_status: Option<u16>, reason: String) -> Failed {
    Failed::Unsure {
        http_status,
        reason,
        retry_after: None,
        perhaps_done: true,
    }
}

/// No answer: the request did not get there, or nobody knows.
fn not_sent(error: reqwest::Error) -> Failed {
    Failed::Unsure {
        http_status: None,
        perhaps_done: !error.is_connect(),
        reason: describe(error),
        retry_after: None,
    }
}

/// An answer about another event is not from Meterline, or not whole: it proves
/// nothing.
fn recorded_of(event: &WireEvent, recorded: Recorded) -> Attempt {
    if recorded.event_id == event.event_id {
        Ok(recorded)
    } else {
        Err(unsure(
            Some(200),
            "an answer about another event".to_owned(),
        ))
    }
}

/// The same of reservations, whose ids are each customer's own.
fn reservation_of(
    customer_id: &str,
    reservation_id: &str,
    answer: ReservationAnswer,
) -> Attempt<Reservation> {
    let ReservationAnswer {
        customer_id: whose,
        reservation,
    } = answer;
    if whose == customer_id && reservation.reservation_id == reservation_id {
        Ok(reservation)
    } else {
        let reason = "an answer about another reservation".to_owned();
        Err(unsure(Some(200), reason))
    }
}

/// The body of a success; else what the answer means for whoever asked.
async fn read(response: Response) -> Attempt<Vec<u8>> {
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
    if may_pass(status) || !is_meterlines(status, &problem) {
        return Err(Failed::Unsure {
            http_status: Some(status.as_u16()),
            reason: format!("{} {problem}", status.as_u16()),
            retry_after,
            perhaps_done: status != StatusCode::TOO_MANY_REQUESTS,
        });
    }
    Err(Failed::Refused {
        http_status: status.as_u16(),
        problem: Box::new(problem),
    })
}

/// Whether it is Meterline that refuses. It redirects nobody, and names what is wrong;
/// who answers otherwise, such as a gateway that has lost its way to it, is somebody else,
/// and refuses nothing in its name. But for the key, which a gateway may look at.
fn is_meterlines(status: StatusCode, problem: &Problem) -> bool {
    let is_of_the_key = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    let is_named = problem.problem_type.starts_with("urn:meterline:problem:");
    status.is_client_error() && (is_named || is_of_the_key)
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let told = serde_json::from_slice(body).ok();
    // Another's JSON has nothing of a problem, and is shown as it is.
    let told = told.filter(|problem| *problem != Problem::default());
    told.unwrap_or_else(|| Problem {
        problem_type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: String::from_utf8_lossy(body)
            .chars()
            .take(EXCERPT_LENGTH_MAX)
            .collect(),
        status: status.as_u16(),
        ..Problem::default()
    })
}

fn batch_result(event: &WireEvent, result: Value) -> Attempt {
    if let Ok(refused) = serde_json::from_value::<RefusedResult>(result.clone()) {
        let http_status = refused.error.status;
        if refused.status == "unknown" {
            return Err(unsure(Some(http_status), refused.error.to_string()));
        }
        return Err(Failed::Refused {
            http_status,
            problem: refused.error,
        });
    }
    let recorded = serde_json::from_value(result).map_err(|error| {
        let reason = format!("a result that cannot be read: {error}");
        unsure(Some(200), reason)
    })?;
    recorded_of(event, recorded)
}

/// A client with its own TLS: ring, the roots of Mozilla and those that were given, the
/// same on every machine, with or without certificates installed.
fn client(
    url: &Url,
    request_timeout: Duration,
    own_roots: &[Vec<u8>],
) -> Result<Client, SettingsError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for pem in own_roots {
        add_roots(&mut roots, pem)?;
    }
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

/// The certificates of a PEM text, which has one at least: without any, the file is the
/// wrong one.
fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), SettingsError> {
    let invalid = |reason: String| SettingsError::InvalidRootCertificate { reason };
    let known = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| invalid(error.to_string()))?;
    }
    if roots.len() == known {
        return Err(invalid("there is none in the PEM text".to_owned()));
    }
    Ok(())
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
        Api::new(url, &key.into(), Duration::from_secs(1), &[])
    }

    #[test]
    fn neither_a_client_nor_an_error_about_its_key_shows_it() {
        let api = api("https://meter.example/", "mk_secret").unwrap();
        let address = api.address(&["v1", "a/b?c"]);
        assert_eq!(address.as_str(), "https://meter.example/v1/a%2Fb%3Fc");
        assert!(!format!("{api:?}").contains("mk_secret"));
        // The last one as with the arguments swapped.
        for (url, key) in [
            ("https://meter.example", "mk_secret\n"),
            ("https://meter.example", ""),
            ("mk_secret", "https://meter.example"),
        ] {
            let refused = self::api(url, key).unwrap_err();
            assert!(!format!("{refused:?} {refused}").contains("mk_secret"));
        }
    }

    #[test]
    fn only_web_addresses_are_taken() {
        for url in ["", "meter.example", "ftp://meter.example"] {
            let refused = api(url, "key");
            assert!(matches!(refused, Err(SettingsError::InvalidUrl)), "{url}");
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
