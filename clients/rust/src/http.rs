//! The API over HTTP: what is asked of it, and which answers are to the point.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::{Access, AccessQuery};
use crate::answer::{Problem, Recorded};
use crate::error::SettingsError;
use crate::headers::OwnHeaders;
use crate::outcome::{Attempt, Failed, is_unsure, not_sent, read, unsure, unsure_because};
use crate::reservation::{Reservation, ReservationStatus, WireReservation};
use crate::transport::client;
use crate::wire::WireEvent;

/// Events of one batch (`POST /v1/usage/batch`).
pub(crate) const BATCH_EVENTS_MAX: usize = 100;

/// The path of reservations.
const RESERVATIONS: [&str; 3] = ["v1", "usage", "reservations"];

/// Meterline's API at an address, under a key.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
    base_url: Url,
    authorization: HeaderValue,
    own_headers: OwnHeaders,
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
            own_headers: OwnHeaders::default(),
        })
    }

    /// The same with headers of the caller's own.
    pub(crate) fn with_headers(self, own_headers: OwnHeaders) -> Self {
        Self {
            own_headers,
            ..self
        }
    }

    /// One attempt at `event`.
    pub(crate) async fn emit(&self, event: &WireEvent) -> Attempt {
        let request = self.client.post(self.address(&["v1", "usage"]));
        recorded_of(event, self.ask(request.json(event)).await?)
    }

    /// One attempt at `events`, however many, with an outcome for each, in order. Once a
    /// request has no clear answer, those behind it are not made.
    pub(crate) async fn emit_all(&self, events: &[WireEvent]) -> Vec<Attempt> {
        let mut attempts = Vec::with_capacity(events.len());
        for batch in events.chunks(BATCH_EVENTS_MAX) {
            let of_batch = self.emit_batch(batch).await;
            let is_silent = of_batch.iter().all(is_unsure);
            attempts.extend(of_batch);
            if is_silent && leave_untried(&mut attempts, events.len()) {
                break;
            }
        }
        attempts
    }

    /// One attempt at up to 100 `events`, with an outcome for each, in order. Where the
    /// batch itself is refused, for the sake of one of them or of its size, each is
    /// sent alone: what is wrong with one is no matter of the others.
    pub(crate) async fn emit_batch(&self, events: &[WireEvent]) -> Vec<Attempt> {
        match self.emit_together(events).await {
            Ok(attempts) => attempts,
            Err(failed) if events.len() > 1 && failed.is_of_the_batch() => {
                self.emit_one_by_one(events).await
            }
            Err(failed) => vec![Err(failed); events.len()],
        }
    }

    async fn emit_one_by_one(&self, events: &[WireEvent]) -> Vec<Attempt> {
        let mut attempts = Vec::with_capacity(events.len());
        for event in events {
            attempts.push(self.emit(event).await);
            if leave_untried(&mut attempts, events.len()) {
                break;
            }
        }
        attempts
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
        let request = request.headers(self.own_headers.next());
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

/// Whether the last attempt had no clear answer. If so, those up to the number of `events`
/// come to the same, as far as that goes without having been tried.
fn leave_untried(attempts: &mut Vec<Attempt>, events: usize) -> bool {
    let last = attempts.last().and_then(|attempt| attempt.as_ref().err());
    let untried = last.and_then(Failed::for_the_untried);
    if let Some(failed) = &untried {
        attempts.resize(events, Err(failed.clone()));
    }
    untried.is_some()
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

fn batch_result(event: &WireEvent, result: Value) -> Attempt {
    if let Ok(refused) = serde_json::from_value::<RefusedResult>(result.clone()) {
        let http_status = refused.error.status;
        if refused.status == "unknown" {
            return Err(unsure_because(http_status, &refused.error));
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
}
