//! The HTTP client of this process's own calls, and how their addresses are written.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;

/// No answer takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The TLS settings are unusable.
    #[error("TLS could not be set up")]
    Tls(#[from] rustls::Error),
    /// The client's settings are.
    #[error("the HTTP client could not be set up")]
    Http(#[from] reqwest::Error),
}

/// A client that needs nothing of the machine: no CA certificates, no default
/// cryptography.
pub(crate) fn client() -> Result<Client, HttpClientError> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(ANSWER_TIMEOUT);
    Ok(client.build()?)
}

/// `text` as one segment of a path, or one name or value of a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
