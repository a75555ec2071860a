//! Servers for the agent to talk to, on ports of their own.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::anthropic::Anthropic;
use agent::documents::DocumentAgent;
use agent::job::Job;
use agent::operations::Clients;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use meterline_client::Meterline;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const KEY: &str = "mk_test";

/// The event of `caring-for-a-bicycle-chain.txt` in the job `monday`, whichever
/// language the agent is written in.
pub(crate) const BICYCLE_CHAIN_EVENT_ID: &str = "job-5dd32e059084bb07532c59defd38f01c5fd137ca";

/// What the scripted Meterline does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Records and says so.
    Record,
    /// Records, then breaks the connection.
    RecordAndVanish,
    /// Breaks the connection.
    Vanish,
    /// Answers this status and body, with `Retry-After` if seconds are given.
    Answer(u16, Value, Option<u64>),
}

/// A Meterline that follows a script, then its last word for everything else.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    state: Arc<Mutex<Scene>>,
}

#[derive(Debug)]
struct Scene {
    script: VecDeque<Step>,
    afterwards: Step,
    recorded: BTreeSet<String>,
    requests: Vec<Value>,
}

impl Scripted {
    pub(crate) async fn start(script: impl IntoIterator<Item = Step>, afterwards: Step) -> Self {
        let state = Arc::new(Mutex::new(Scene {
            script: script.into_iter().collect(),
            afterwards,
            recorded: BTreeSet::new(),
            requests: Vec::new(),
        }));
        let router = Router::new()
            .route("/v1/usage", post(usage))
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Changes what happens once the script is through.
    pub(crate) fn then_always(&self, afterwards: Step) {
        self.state.lock().unwrap().afterwards = afterwards;
    }

    /// The bodies so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(crate) fn requested_ids(&self) -> Vec<String> {
        let id = |body: &Value| body["event_id"].as_str().unwrap().to_owned();
        self.requests().iter().map(id).collect()
    }

    pub(crate) fn recorded(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().recorded.clone()
    }

    pub(crate) fn client(&self, retry_for: Duration) -> Meterline {
        let builder = Meterline::builder(&self.url, KEY).retry_budget(retry_for);
        builder.build().unwrap()
    }

    pub(crate) fn clients(&self, patience: Duration) -> Clients {
        Clients {
            patient: self.client(patience),
            hasty: self.client(Duration::ZERO),
            patience,
        }
    }
}

async fn usage(
    State(state): State<Arc<Mutex<Scene>>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    let event_id = body["event_id"].as_str().unwrap().to_owned();
    let (step, duplicate) = {
        let mut scene = state.lock().unwrap();
        let step = scene.script.pop_front().unwrap_or(scene.afterwards.clone());
        let records = matches!(step, Step::Record | Step::RecordAndVanish);
        let duplicate = records && !scene.recorded.insert(event_id.clone());
        scene.requests.push(body.clone());
        (step, duplicate)
    };
    match step {
        Step::Record => Json(json!({
            "event_id": event_id,
            "status": "delivered",
            "duplicate": duplicate,
            "quantity": body["quantity"],
            "customer_status": "active",
        }))
        .into_response(),
        // Unwinding ends the connection's task, and so the connection, without
        // an answer; this way it prints no panic.
        Step::Vanish | Step::RecordAndVanish => std::panic::resume_unwind(Box::new(())),
        Step::Answer(status, body, retry_after) => {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = retry_after.map(|seconds| [("retry-after", seconds.to_string())]);
            match headers {
                Some(headers) => (status, headers, Json(body)).into_response(),
                None => (status, Json(body)).into_response(),
            }
        }
    }
}

/// A refusal of Meterline's own, and no gateway's: its type says so, after its title.
pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Step {
    let kind = title.to_lowercase().replace(' ', "-");
    let kind = format!("urn:meterline:problem:{kind}");
    let body = json!({ "type": kind, "title": title, "status": status, "detail": detail });
    Step::Answer(status, body, None)
}

/// Anthropic's API, simulated; its address.
pub(crate) async fn start_anthropic() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(anthropic_simulator::serve(listener, std::future::pending()));
    url
}

pub(crate) async fn document_agent(meterline: &Scripted, retry_for: Duration) -> DocumentAgent {
    let url = start_anthropic().await;
    DocumentAgent {
        anthropic: Anthropic::new(&url, &"key".into(), "claude-haiku-4-5", 400).unwrap(),
        meterline: meterline.client(retry_for),
        customer_id: "cus_1".to_owned(),
        subscription_item_id: None,
        job: Job::parse("monday").unwrap(),
    }
}
