//! Whose word AWS's servers are believed on.
//!
//! The SDK would read every certificate of the machine, before the first
//! request and for each of its clients anew. Amazon's own few are a part of the
//! program instead: they cost a start nothing, and an image needs to hold none.

use std::io;
use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_http_client::HttpClientError;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// The five that Amazon Trust Services recommends for a trust store of one's own
/// (<https://www.amazontrust.com/repository/>).
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon_roots.pem");

/// Why it is not settled whose word counts.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file that `AWS_CA_BUNDLE` names makes no trust store.
    #[error("AWS_CA_BUNDLE names {}, which cannot be used", path.display())]
    CaBundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CaBundleError,
    },
    /// The TLS stack refused its settings.
    #[error("TLS could not be set up")]
    Tls(#[from] HttpClientError),
}

/// What is wrong with a file of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    /// It is not there, or not to be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// It is cut off, or its base64 is broken.
    #[error("it is not PEM")]
    NotPem(#[from] pem::Error),
    /// Everything would be refused.
    #[error("it holds no certificate")]
    Empty,
    /// One of its certificates is none.
    #[error("it holds what is no certificate")]
    NoCertificate(#[from] rustls::Error),
}

/// Amazon's certificate authorities, or those of the PEM file `ca_bundle` in
/// their place.
///
/// # Errors
/// [`TrustError::CaBundle`]. The SDK panics at a file that it cannot read, so
/// all of it is read here first.
pub(crate) fn store(ca_bundle: Option<&Path>) -> Result<TrustStore, TrustError> {
    let Some(path) = ca_bundle else {
        return Ok(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS));
    };
    let read = || {
        let bytes = std::fs::read(path)?;
        if roots(&bytes)?.is_empty() {
            return Err(CaBundleError::Empty);
        }
        Ok(TrustStore::empty().with_pem_certificate(bytes))
    };
    read().map_err(|source| TrustError::CaBundle {
        path: path.to_owned(),
        source,
    })
}

fn roots(bytes: &[u8]) -> Result<RootCertStore, CaBundleError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bytes) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// A client that believes `trust_store` alone. Clones share their connections.
pub(crate) fn http_client(trust_store: TrustStore) -> Result<SharedHttpClient, TrustError> {
    let context = TlsContext::builder()
        .with_trust_store(trust_store)
        .build()?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
