//! An SES over HTTP, as far as sending goes (Amazon SES API v2 Reference: SendEmail),
//! and the operator's receiver of webhooks. Both keep what they get.

use std::collections::VecDeque;
use std::iter::repeat_n;
use std::sync::{Arc, Mutex};

use aws_sdk_sesv2::config::retry::RetryConfig;
use aws_sdk_sesv2::config::{BehaviorVersion, Credentials, Region};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// More answers than any story asks for.
const MANY: usize = 100_000;

/// What is answered next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// The status alone; the request is not taken.
    Status(u16),
    /// It is taken, and nobody hears of it.
    LostAfterTaking,
    /// Elsewhere.
    Redirect,
}

/// A request that the receiver took.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct PostOffice {
    url: String,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    mails: Mutex<Vec<Value>>,
    requests: Mutex<Vec<Request>>,
    /// Requests that came, taken or not.
    knocks: Mutex<usize>,
    mail_answers: Mutex<VecDeque<Answer>>,
    request_answers: Mutex<VecDeque<Answer>>,
}

impl PostOffice {
    pub(crate) async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/v2/email/outbound-emails", post(send_email))
            .route("/hooks", post(receive))
            .route("/elsewhere", post(receive))
            .with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, kept }
    }

    pub(crate) fn receiver_url(&self) -> String {
        format!("{}/hooks", self.url)
    }

    /// A client that asks once.
    pub(crate) fn ses_client(&self) -> aws_sdk_sesv2::Client {
        let config = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build();
        aws_sdk_sesv2::Client::from_conf(config)
    }

    /// SES answers so, one after the other; then it takes what comes.
    pub(crate) fn ses_answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.kept.mail_answers.lock().unwrap().extend(answers);
    }

    /// The receiver answers so.
    pub(crate) fn receiver_answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.kept.request_answers.lock().unwrap().extend(answers);
    }

    /// SES takes nothing until it [recovers](Self::ses_recovers).
    pub(crate) fn ses_is_down(&self) {
        self.ses_answers(repeat_n(Answer::Status(400), MANY));
    }

    pub(crate) fn ses_recovers(&self) {
        self.kept.mail_answers.lock().unwrap().clear();
    }

    /// The receiver takes nothing until it [recovers](Self::receiver_recovers).
    pub(crate) fn receiver_is_down(&self) {
        self.receiver_answers(repeat_n(Answer::Status(500), MANY));
    }

    pub(crate) fn receiver_recovers(&self) {
        self.kept.request_answers.lock().unwrap().clear();
    }

    /// The notifications that mails told, as often as they did.
    pub(crate) fn mailed_ids(&self) -> Vec<String> {
        let id = |mail: &Value| {
            let id = &mail["Content"]["Simple"]["Headers"][0]["Value"];
            id.as_str().unwrap().to_owned()
        };
        self.mails().iter().map(id).collect()
    }

    /// The notifications that requests told, as often as they did.
    pub(crate) fn posted_ids(&self) -> Vec<String> {
        let requests = self.requests();
        let ids = requests.iter().map(|request| request.header("webhook-id"));
        ids.map(str::to_owned).collect()
    }

    /// What SES was asked to send, and took.
    pub(crate) fn mails(&self) -> Vec<Value> {
        self.kept.mails.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.kept.requests.lock().unwrap().clone()
    }

    /// How often the receiver was asked at all.
    pub(crate) fn knocks(&self) -> usize {
        *self.kept.knocks.lock().unwrap()
    }
}

async fn send_email(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(
        authorization.contains("/ses/aws4_request"),
        "{authorization}"
    );
    let answer = kept.mail_answers.lock().unwrap().pop_front();
    let mail = || serde_json::from_slice(&body).unwrap();
    let refused = |status: u16| {
        let kind = [("x-amzn-errortype", "MessageRejected")];
        let message = json!({ "message": "Email address is not verified: ada@mail.example.com" });
        (StatusCode::from_u16(status).unwrap(), kind, Json(message)).into_response()
    };
    match answer {
        None => {
            kept.mails.lock().unwrap().push(mail());
            Json(json!({ "MessageId": "0100" })).into_response()
        }
        Some(Answer::LostAfterTaking) => {
            kept.mails.lock().unwrap().push(mail());
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Some(Answer::Status(status)) => refused(status),
        Some(Answer::Redirect) => refused(400),
    }
}

async fn receive(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    *kept.knocks.lock().unwrap() += 1;
    let answer = kept.request_answers.lock().unwrap().pop_front();
    let take = || {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let request = Request { headers, body };
        kept.requests.lock().unwrap().push(request);
    };
    match answer {
        None => {
            take();
            StatusCode::NO_CONTENT.into_response()
        }
        Some(Answer::LostAfterTaking) => {
            take();
            StatusCode::BAD_GATEWAY.into_response()
        }
        Some(Answer::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Answer::Redirect) => Redirect::temporary("/elsewhere").into_response(),
    }
}
