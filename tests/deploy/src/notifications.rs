//! A subscriber to the stack's topic: takes its messages over HTTP and keeps them
//! in the file where a story looks for them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::failure::Failure;

/// What the subscriber knows.
#[derive(Debug)]
struct Kept {
    file: File,
    /// What confirms the subscription, once it has come.
    token: Option<String>,
}

/// A subscriber, as long as it is not dropped.
#[derive(Debug)]
pub(crate) struct Subscriber {
    url: String,
    file: PathBuf,
    kept: Arc<Mutex<Kept>>,
    _stop: DropGuard,
}

impl Subscriber {
    /// Listens on a free port and adds to `notifications.jsonl` in `folder`.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("notifications.jsonl");
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(Failure::io("no file for notifications"))?;
        let kept = Arc::new(Mutex::new(Kept { file, token: None }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(Failure::io("no port for notifications"))?;
        let address = listener.local_addr();
        let address = address.map_err(Failure::io("no port for notifications"))?;
        let routes = Router::new()
            .route("/", post(take))
            .with_state(Arc::clone(&kept));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let _ = axum::serve(listener, routes)
                .with_graceful_shutdown(stopped)
                .await;
        });
        Ok(Self {
            url: format!("http://{address}/"),
            file: path,
            kept,
            _stop: stop.drop_guard(),
        })
    }

    /// Where the topic is to send.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The messages, a JSON text a line.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What confirms the subscription, once it has come.
    pub(crate) fn token(&self) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.token.clone()
    }
}

/// Amazon SNS Developer Guide: "Parsing Amazon SNS message formats".
async fn take(State(kept): State<Arc<Mutex<Kept>>>, body: Bytes) -> StatusCode {
    let Ok(sent) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let taken: io::Result<()> = match (sent["Type"].as_str(), sent["Message"].as_str()) {
        (Some("Notification"), Some(message)) => {
            kept.file.write_all(format!("{message}\n").as_bytes())
        }
        (Some("SubscriptionConfirmation"), _) => {
            kept.token = sent["Token"].as_str().map(str::to_owned);
            Ok(())
        }
        _ => return StatusCode::BAD_REQUEST,
    };
    match taken {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
