//! TLS without a look at the machine: the roots are bundled, because an image
//! may hold no CA certificates, and the provider is named, because a process
//! default could be another or none.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// TLS by the bundled roots and ring, for every client of the public Internet: Stripe's,
/// and others of the same program.
///
/// # Errors
/// Where rustls refuses its settings.
pub fn client_config() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
