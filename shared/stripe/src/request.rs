//! One request as data: built by the resources, sent by the client.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use secrecy::SecretString;

use crate::STRIPE_VERSION;
use crate::error::InvalidRequest;
use crate::form::Form;

/// What may stand in a segment of a path as it is; Stripe's ids hold nothing else.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Which of Stripe's two hosts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Host {
    Api,
    MeterEvents,
}

/// What the request shows that it is allowed.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    SecretKey,
    SessionToken(SecretString),
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    None,
    /// v1 (Stripe API reference: Request bodies).
    Form(Form),
    /// v2, JSON already.
    Json(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) host: Host,
    /// With its query.
    pub(crate) path: String,
    pub(crate) body: Body,
    pub(crate) version: &'static str,
    pub(crate) credential: Credential,
}

impl Request {
    fn new(method: Method, path: String, body: Body) -> Self {
        Self {
            method,
            host: Host::Api,
            path,
            body,
            version: STRIPE_VERSION,
            credential: Credential::SecretKey,
        }
    }

    pub(crate) fn get(path: impl Into<String>, query: &Form) -> Self {
        let mut path = path.into();
        if !query.is_empty() {
            path.push('?');
            path.push_str(&query.encode());
        }
        Self::new(Method::GET, path, Body::None)
    }

    /// v1.
    pub(crate) fn post(path: impl Into<String>, form: Form) -> Self {
        Self::new(Method::POST, path.into(), Body::Form(form))
    }

    /// v1. A repeat finds nothing left to do, so it needs no idempotency key
    /// (Stripe API reference: Idempotent requests).
    pub(crate) fn delete(path: impl Into<String>, form: Form) -> Self {
        Self::new(Method::DELETE, path.into(), Body::Form(form))
    }

    /// v2.
    pub(crate) fn post_json(
        path: impl Into<String>,
        body: &impl serde::Serialize,
    ) -> Result<Self, InvalidRequest> {
        let json = serde_json::to_string(body).map_err(|_| InvalidRequest::Json)?;
        Ok(Self::new(Method::POST, path.into(), Body::Json(json)))
    }

    pub(crate) const fn with_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// To the stream's host, as its session.
    pub(crate) fn in_session(mut self, token: SecretString) -> Self {
        self.host = Host::MeterEvents;
        self.credential = Credential::SessionToken(token);
        self
    }
}

/// `id` as a segment of a path. Dots alone would be resolved by the address's
/// parser, percent-encoded or not.
pub(crate) fn segment(id: &str) -> Result<String, InvalidRequest> {
    match id {
        "" | "." | ".." => Err(InvalidRequest::Id),
        _ => Ok(utf8_percent_encode(id, SEGMENT).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(segment("cus_1").unwrap(), "cus_1");
        assert_eq!(segment("a/b?c#d%2Fü").unwrap(), "a%2Fb%3Fc%23d%252F%C3%BC");
        for id in ["", ".", ".."] {
            assert_eq!(segment(id), Err(InvalidRequest::Id), "{id:?}");
        }
    }
}
