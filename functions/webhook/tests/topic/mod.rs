//! An SNS topic over HTTP, as far as publishing goes (Amazon SNS API reference:
//! Publish), which keeps what it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_sns::config::retry::RetryConfig;
use aws_sdk_sns::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use notify::Notifier;
use serde_json::Value;
use tokio::net::TcpListener;

pub(crate) const TOPIC_ARN: &str = "arn:aws:sns:us-east-1:123456789012:notifications";

#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) url: String,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    published: Mutex<Vec<BTreeMap<String, String>>>,
    refusals: AtomicUsize,
    lost_answers: AtomicUsize,
}

impl Topic {
    pub(crate) async fn start() -> Self {
        let kept = Arc::new(Kept::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/", post(publish))
            .with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, kept }
    }

    /// Tells this topic, and asks once.
    pub(crate) fn notifier(&self) -> Notifier {
        let config = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(RetryConfig::disabled())
            .build();
        let client = aws_sdk_sns::Client::from_conf(config);
        Notifier::topic(client, TOPIC_ARN.to_owned())
    }

    /// The next publication is not taken.
    pub(crate) fn refuse_next(&self) {
        self.kept.refusals.fetch_add(1, Ordering::SeqCst);
    }

    /// The next publication is taken, and nobody hears of it.
    pub(crate) fn lose_next_answer(&self) {
        self.kept.lost_answers.fetch_add(1, Ordering::SeqCst);
    }

    /// All messages so far, in order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let published = self.kept.published.lock().unwrap();
        let messages = published.iter().map(|fields| &fields["Message"]);
        messages
            .map(|message| serde_json::from_str(message).unwrap())
            .collect()
    }

    /// The kinds of them.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let messages = self.messages();
        let kinds = messages.iter().map(|message| message["kind"].as_str());
        kinds.map(|kind| kind.unwrap().to_owned()).collect()
    }

    /// Those of `kind`.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<Value> {
        let messages = self.messages().into_iter();
        messages.filter(|message| message["kind"] == kind).collect()
    }

    /// The fields of the last publication.
    pub(crate) fn last_request(&self) -> BTreeMap<String, String> {
        self.kept.published.lock().unwrap().last().unwrap().clone()
    }
}

fn counts_down(count: &AtomicUsize) -> bool {
    let down = |n: usize| n.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, down)
        .is_ok()
}

async fn publish(State(kept): State<Arc<Kept>>, body: Bytes) -> (StatusCode, &'static str) {
    let failed = (
        StatusCode::INTERNAL_SERVER_ERROR,
        "<ErrorResponse><Error><Type>Receiver</Type><Code>InternalError</Code></Error>\
         <RequestId>1</RequestId></ErrorResponse>",
    );
    if counts_down(&kept.refusals) {
        return failed;
    }
    let fields: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    assert_eq!(fields["Action"], "Publish");
    assert_eq!(fields["TopicArn"], TOPIC_ARN);
    kept.published.lock().unwrap().push(fields);
    if counts_down(&kept.lost_answers) {
        return failed;
    }
    (
        StatusCode::OK,
        "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
         <MessageId>1</MessageId></PublishResult><ResponseMetadata><RequestId>1</RequestId>\
         </ResponseMetadata></PublishResponse>",
    )
}
