//! The connection to the API, and its TLS.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::SettingsError;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client with its own TLS: ring, the roots of Mozilla and those that were given, the
/// same on every machine, with or without certificates installed.
pub(crate) fn client(
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
