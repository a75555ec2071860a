//! Real TLS: a server on this machine, under an authority that nobody knows.

use std::time::Duration;

use meterline_client::{AccessError, Builder, Emit, Meterline, SettingsError};
use test_support::Authority;

/// Whoever asks may act.
const ALLOWED: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 44\r\n\r\n\
    {\"allowed\":true,\"status\":\"active\",\"units\":0}";

/// A client of a Meterline under `authority`.
fn client(authority: &Authority) -> Builder {
    let (address, _) = authority.serve("127.0.0.1", ALLOWED);
    Meterline::builder(format!("https://{address}"), "mk_test").retry_budget(Duration::ZERO)
}

#[tokio::test]
async fn a_meterline_under_an_authority_of_ones_own_is_believed_where_it_is_trusted() {
    let (own, others) = (Authority::create(), Authority::create());
    let both = client(&own).root_certificate(others.pem());
    let both = both.root_certificate(own.pem()).build().unwrap();
    assert!(both.access("cus_1").await.unwrap().allowed);
    for builder in [client(&own), client(&own).root_certificate(others.pem())] {
        let unknown = builder.build().unwrap().access("cus_1").await;
        assert!(
            matches!(unknown, Err(AccessError::Unavailable { .. })),
            "{unknown:?}"
        );
    }
}

/// The usual slips: the wrong file, or one that is cut off.
#[test]
fn what_holds_no_certificate_is_an_error_at_the_start() {
    let pem = Authority::create().pem();
    let (cut, _) = pem.split_at(pem.len() / 2);
    let no_certificate = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for wrong in ["", "no PEM", cut, no_certificate] {
        let builder = Meterline::builder("https://meter.example", "mk_test");
        let refused = builder.root_certificate(wrong).build();
        assert!(
            matches!(refused, Err(SettingsError::InvalidRootCertificate { .. })),
            "{wrong:?}: {refused:?}"
        );
    }
}
