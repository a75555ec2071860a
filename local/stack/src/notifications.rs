//! The topic that the operator is told by, here: an SNS that takes what is
//! published (Amazon SNS API reference: Publish), keeps it in a file and prints
//! a line. Who subscribes to a topic reads that file in its place. And an SES that
//! takes mails (Amazon SES API v2 Reference: SendEmail), and keeps them in another.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use notify::Notifier;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::connection::Connection;
use crate::local_dir::LocalDir;

/// The file, a notification a line.
pub const NOTIFICATIONS_FILE: &str = "notifications.jsonl";
/// The mails, each as SES was asked to send it, a line.
pub const EMAILS_FILE: &str = "emails.jsonl";
/// The topic, which is the only one here.
pub const TOPIC_ARN: &str = "arn:aws:sns:us-east-1:000000000000:meterline";

/// Where SES takes mails.
const SEND_EMAIL_PATH: &str = "/v2/email/outbound-emails";

const TAKEN: &str = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
    <PublishResult><MessageId>local</MessageId></PublishResult>\
    <ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></PublishResponse>";
const REFUSED: &str = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
    <Type>Sender</Type><Code>InvalidParameter</Code>\
    <Message>Only what is published to the one topic is taken</Message></Error>\
    <RequestId>local</RequestId></ErrorResponse>";
const FAILED: &str = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
    <Type>Receiver</Type><Code>InternalError</Code></Error>\
    <RequestId>local</RequestId></ErrorResponse>";

/// The topic and the mails, being served. Dropped, they are gone; the files stay.
#[derive(Debug)]
pub struct Notifications {
    url: String,
    file: PathBuf,
    emails_file: PathBuf,
    serving: JoinHandle<io::Result<()>>,
}

impl Notifications {
    /// Serves both on a free port, and adds to the files in `local_dir`.
    ///
    /// # Errors
    /// Where there is no port, or a file cannot be written.
    pub fn start(local_dir: &LocalDir) -> io::Result<Self> {
        let file = local_dir.file(NOTIFICATIONS_FILE);
        let emails_file = local_dir.file(EMAILS_FILE);
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let kept = Arc::new(Mutex::new(open(&file)?));
        let emails = Arc::new(Mutex::new(open(&emails_file)?));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let routes = Router::new()
            .route("/", post(publish))
            .with_state(kept)
            .route(SEND_EMAIL_PATH, post(send_email).with_state(emails));
        let serving = tokio::spawn(axum::serve(listener, routes).into_future());
        Ok(Self {
            url,
            file,
            emails_file,
            serving,
        })
    }

    /// Tells it, as the functions tell the topic in AWS.
    pub fn notifier(&self, connection: &Connection) -> Notifier {
        Notifier::topic(connection.sns_client(&self.url), TOPIC_ARN.to_owned())
    }

    /// The address of the SNS and of the SES.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was published so far, a JSON text a line.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mails so far, a JSON text a line.
    pub fn emails_file(&self) -> &Path {
        &self.emails_file
    }

    /// What another program needs in its environment to tell it, too.
    pub fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("AWS_ENDPOINT_URL_SNS", &self.url),
            ("AWS_ENDPOINT_URL_SESV2", &self.url),
            ("NOTIFICATION_TOPIC_ARN", TOPIC_ARN),
        ]
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn publish(State(kept): State<Arc<Mutex<File>>>, body: Bytes) -> Response {
    let field = |name: &str| {
        let mut pairs = form_urlencoded::parse(&body);
        let found = pairs.find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned())
    };
    let is_ours = field("Action").as_deref() == Some("Publish")
        && field("TopicArn").as_deref() == Some(TOPIC_ARN);
    let Some(message) = field("Message").filter(|_| is_ours) else {
        return xml(StatusCode::BAD_REQUEST, REFUSED);
    };
    match keep(&kept, &message) {
        Ok(()) => {
            let subject = field("Subject").unwrap_or_default();
            tracing::info!(notification = message, "{subject}");
            xml(StatusCode::OK, TAKEN)
        }
        Err(error) => {
            tracing::error!(%error, "a notification cannot be kept");
            xml(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
        }
    }
}

async fn send_email(State(kept): State<Arc<Mutex<File>>>, body: Bytes) -> Response {
    let email: Option<Value> = serde_json::from_slice(&body).ok();
    let email = email.filter(|email| email["Destination"]["ToAddresses"].is_array());
    let Some(email) = email else {
        let refused = json!({ "message": "A mail has recipients" });
        let kind = [("x-amzn-errortype", "BadRequestException")];
        return (StatusCode::BAD_REQUEST, kind, Json(refused)).into_response();
    };
    match keep(&kept, &email.to_string()) {
        Ok(()) => {
            let subject = &email["Content"]["Simple"]["Subject"]["Data"];
            tracing::info!(%subject, "a mail");
            Json(json!({ "MessageId": "local" })).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a mail cannot be kept");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Adds a line in one write, so that a reader finds whole lines.
fn keep(kept: &Mutex<File>, text: &str) -> io::Result<()> {
    let line = format!("{text}\n");
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.write_all(line.as_bytes())
}

fn xml(status: StatusCode, body: &'static str) -> Response {
    (status, [(CONTENT_TYPE, "text/xml")], body).into_response()
}
