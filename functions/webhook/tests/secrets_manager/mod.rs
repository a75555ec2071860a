//! Secrets Manager over HTTP, as far as reading versions of secrets goes (AWS Secrets
//! Manager API reference: GetSecretValue, by the AWS JSON 1.1 protocol).
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use web::{RotatedSecret, SecretReader};

#[derive(Clone, Default)]
pub(crate) struct SecretsManager {
    pub(crate) url: String,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Versions by the secrets' ARNs, the current one last.
    versions: Mutex<BTreeMap<String, Vec<String>>>,
    reads: AtomicUsize,
    is_away: AtomicBool,
}

impl SecretsManager {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let manager = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            kept: Arc::default(),
        };
        let routes = Router::new()
            .route("/", post(answer))
            .with_state(Arc::clone(&manager.kept));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        manager
    }

    /// A new version of `arn`, which is the current one.
    pub(crate) fn put(&self, arn: &str, value: &str) {
        let mut versions = self.kept.versions.lock().unwrap();
        let versions = versions.entry(arn.to_owned()).or_default();
        versions.push(value.to_owned());
    }

    /// How often a secret was asked for.
    pub(crate) fn reads(&self) -> usize {
        self.kept.reads.load(Ordering::SeqCst)
    }

    /// Whether it answers nobody.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.kept.is_away.store(is_away, Ordering::SeqCst);
    }

    pub(crate) fn reader(&self, arn: &str) -> SecretReader {
        SecretReader::new(self.client(), "SECRET_ARN".to_owned(), arn.to_owned())
    }

    /// The same, which reads as often as it is asked.
    pub(crate) fn eager_reader(&self, arn: &str) -> SecretReader {
        self.reader(arn).with_pause(Duration::ZERO)
    }

    fn client(&self) -> aws_sdk_secretsmanager::Client {
        let config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build();
        aws_sdk_secretsmanager::Client::from_conf(config)
    }

    /// `arn`, read once, and to be read again.
    pub(crate) async fn secret(&self, arn: &str) -> RotatedSecret {
        let reader = self.reader(arn);
        let current: SecretString = reader.current().await.unwrap();
        RotatedSecret::new(current, Some(reader))
    }
}

async fn answer(State(kept): State<Arc<Kept>>, body: Bytes) -> (StatusCode, String) {
    kept.reads.fetch_add(1, Ordering::SeqCst);
    if kept.is_away.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "{}".to_owned());
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    let versions = kept.versions.lock().unwrap();
    let versions = versions.get(request["SecretId"].as_str().unwrap());
    let mut versions = versions.into_iter().flatten().rev();
    let version = match request["VersionStage"].as_str() {
        Some("AWSPREVIOUS") => versions.nth(1),
        _ => versions.next(),
    };
    match version {
        Some(value) => (StatusCode::OK, json!({ "SecretString": value }).to_string()),
        None => (
            StatusCode::BAD_REQUEST,
            json!({ "__type": "ResourceNotFoundException" }).to_string(),
        ),
    }
}
