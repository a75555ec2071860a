//! Real TLS: a server on this machine, with a certificate made for the test.

use std::error::Error;
use std::fs;
use std::iter::successors;
use std::net::SocketAddr;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Builder, Credentials, Region};
use sha2::{Digest, Sha256};
use test_support::Authority;

use super::*;
use crate::connection::configuration;

/// What DynamoDB answers where there is no table.
const NO_TABLES: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n\
    content-length: 17\r\n\r\n{\"TableNames\":[]}";

/// Asks the DynamoDB at `address` for its tables; an error with all its causes.
async fn list_tables(address: SocketAddr, trust_store: TrustStore) -> Result<(), String> {
    let aws = configuration(trust_store).await.unwrap();
    let config = Builder::from(&aws)
        .endpoint_url(format!("https://{address}"))
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .retry_config(RetryConfig::disabled());
    let client = Client::from_conf(config.build());
    let listed = client.list_tables().send().await;
    listed.map(|_| ()).map_err(|error| {
        let causes = successors(error.source(), |&error| error.source());
        causes.map(|cause| format!("{cause}; ")).collect()
    })
}

/// A bundle that holds `bytes`.
fn refused(bytes: &[u8]) -> CaBundleError {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    match store(Some(file.path())) {
        Err(TrustError::CaBundle { path, source }) if path == file.path() => source,
        other => panic!("{other:?}"),
    }
}

/// The keys are told apart by their hashes, from the page of the source.
#[test]
fn the_program_holds_the_five_authorities_that_amazon_recommends() {
    let roots = roots(AMAZON_ROOTS).unwrap();
    let keys = roots.roots.iter().map(|root| {
        let key = &root.subject_public_key_info;
        // The sequence around it, which the anchor leaves out.
        let length = u16::try_from(key.len()).unwrap().to_be_bytes();
        let header = match length {
            [0, short @ ..=0x7f] => vec![0x30, short],
            [0, long] => vec![0x30, 0x81, long],
            [high, low] => vec![0x30, 0x82, high, low],
        };
        hex::encode(Sha256::digest([&header, key.as_ref()].concat()))
    });
    let expected = [
        "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
        "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
        "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
        "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
        "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
    ];
    assert_eq!(keys.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_server_whose_authority_is_unknown_is_refused() {
    let (address, serving) = Authority::create().serve("127.0.0.1", NO_TABLES);
    let refused = list_tables(address, store(None).unwrap()).await;
    let causes = refused.unwrap_err();
    assert!(causes.contains("UnknownIssuer"), "{causes}");
    // Nothing was sent to it.
    let server = serving.join().unwrap().unwrap_err().to_string();
    assert!(server.contains("UnknownCA"), "{server}");
}

#[tokio::test]
async fn a_bundle_of_ones_own_is_believed() {
    let authority = Authority::create();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    let others = Authority::create().pem();
    fs::write(&bundle, others + &authority.pem()).unwrap();
    let trusting = || store(Some(bundle.path())).unwrap();

    let (address, serving) = authority.serve("127.0.0.1", NO_TABLES);
    assert_eq!(list_tables(address, trusting()).await, Ok(()));
    serving.join().unwrap().unwrap();

    let (address, _) = authority.serve("dynamodb.example", NO_TABLES);
    let causes = list_tables(address, trusting()).await.unwrap_err();
    assert!(causes.contains("not valid for name"), "{causes}");
}

#[test]
fn a_file_that_is_no_bundle_is_named() {
    let nowhere = store(Some(Path::new("/nowhere.pem"))).unwrap_err();
    let text = nowhere.to_string();
    assert!(text.contains("AWS_CA_BUNDLE names /nowhere.pem"), "{text}");
    let source = nowhere.source().unwrap();
    assert_eq!(source.to_string(), "it cannot be read");

    assert!(matches!(refused(b""), CaBundleError::Empty));
    assert!(matches!(refused(b"no PEM"), CaBundleError::Empty));
    let cut = &AMAZON_ROOTS[..AMAZON_ROOTS.len() / 2];
    assert!(matches!(refused(cut), CaBundleError::NotPem(_)));
    let key = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let junk = [AMAZON_ROOTS, key.as_bytes()].concat();
    assert!(matches!(refused(&junk), CaBundleError::NoCertificate(_)));
}
