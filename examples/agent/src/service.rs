//! A web service: its address, and a client that speaks to it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A web service under a base address, with the credentials for it.
#[derive(Clone, Debug)]
pub struct Service {
    client: Client,
    base_url: String,
    credentials: (HeaderName, HeaderValue),
}

/// Why a service cannot be spoken to, found before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Not an address.
    #[error("{base_url:?} is not an http:// or https:// address")]
    InvalidUrl {
        /// What was given.
        base_url: String,
    },
    /// The key has characters that no header may hold; they are not shown.
    #[error("the key for {base_url} cannot be sent in a header")]
    InvalidKey {
        /// The service's address.
        base_url: String,
    },
    /// The client could not be built.
    #[error("no HTTP client: {0}")]
    Client(String),
}

impl Service {
    /// A service at `base_url`. Each request carries `header`: `prefix`, then `key`.
    ///
    /// # Errors
    /// A [`ServiceError`] for an address or a key that cannot be used.
    pub(crate) fn new(
        base_url: &str,
        header: HeaderName,
        prefix: &str,
        key: &SecretString,
        answer_timeout: Duration,
    ) -> Result<Self, ServiceError> {
        let url = Url::parse(base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| ServiceError::InvalidUrl {
                base_url: base_url.to_owned(),
            })?;
        let base_url = base_url.trim_end_matches('/').to_owned();
        let mut value =
            HeaderValue::try_from(format!("{prefix}{}", key.expose_secret())).map_err(|_| {
                ServiceError::InvalidKey {
                    base_url: base_url.clone(),
                }
            })?;
        value.set_sensitive(true);
        Ok(Self {
            client: client(&url, answer_timeout)?,
            base_url,
            credentials: (header, value),
        })
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        let (name, value) = self.credentials.clone();
        self.client
            .post(format!("{}{path}", self.base_url))
            .header(name, value)
    }
}

/// A client with its own TLS: ring and the roots of Mozilla, the same on every
/// machine, with or without certificates installed.
fn client(url: &Url, answer_timeout: Duration) -> Result<Client, ServiceError> {
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ServiceError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(answer_timeout)
        // Following one would take the key, and perhaps the event, elsewhere.
        .redirect(Policy::none());
    if is_this_machine(url) {
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|error| ServiceError::Client(describe(error)))
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
    use super::*;

    fn service(base_url: &str, key: &str) -> Result<Service, ServiceError> {
        let header = reqwest::header::AUTHORIZATION;
        let timeout = Duration::from_secs(1);
        Service::new(base_url, header, "Bearer ", &key.into(), timeout)
    }

    #[test]
    fn neither_a_key_nor_an_error_about_it_shows_it() {
        let service = service("https://meter.example/", "mk_secret").unwrap();
        assert_eq!(service.base_url, "https://meter.example");
        assert!(!format!("{service:?}").contains("mk_secret"));
        let refused = self::service("https://meter.example", "mk_secret\n").unwrap_err();
        assert!(!format!("{refused:?} {refused}").contains("mk_secret"));
    }

    #[test]
    fn only_web_addresses_are_taken() {
        for base_url in ["", "meter.example", "ftp://meter.example"] {
            let refused = service(base_url, "key");
            assert!(
                matches!(refused, Err(ServiceError::InvalidUrl { .. })),
                "{base_url}"
            );
        }
    }
}
