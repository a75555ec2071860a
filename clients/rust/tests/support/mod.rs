//! A Meterline that follows a script and then records: on a port of its own, over HTTP.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use meterline_client::{Builder, Meterline};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const KEY: &str = "mk_test";

/// What is done with one request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Records, then breaks the connection.
    RecordAndVanish,
    /// Breaks the connection.
    Vanish,
    /// Answers this status and body, with `Retry-After` if seconds are given.
    Answer(u16, Value, Option<u64>),
}

pub(crate) struct Scripted {
    url: String,
    scene: Arc<Mutex<Scene>>,
}

#[derive(Default)]
struct Scene {
    script: VecDeque<Step>,
    /// What happens to requests once the script is through; none: they are recorded.
    afterwards: Option<Step>,
    /// Content by event id.
    recorded: BTreeMap<String, Value>,
    /// By id: units, and where they stand.
    reservations: BTreeMap<String, (u64, &'static str)>,
    /// Of the hard limit; none: without one.
    limit_units: Option<u64>,
    /// The events of each request, or the reservation that it is about.
    requests: Vec<Vec<Value>>,
    denial: Option<String>,
    /// What was asked of each access.
    questions: Vec<BTreeMap<String, String>>,
    /// Of each request, if it carries a trace.
    traceparents: Vec<String>,
    /// The id of an event that is refused for good.
    refused: Option<String>,
    /// The key may emit this event and, if it is set, no other.
    allowed: Option<String>,
    /// The id of an event that is always told to come later.
    put_off: Option<String>,
}

impl Scripted {
    pub(crate) async fn start(script: impl IntoIterator<Item = Step>) -> Self {
        let scene = Arc::new(Mutex::new(Scene {
            script: script.into_iter().collect(),
            ..Scene::default()
        }));
        let router = Router::new()
            .route("/v1/usage", post(single))
            .route("/v1/usage/batch", post(batch))
            .route("/v1/usage/reservations", post(reserve))
            .route("/v1/usage/reservations/{reservation_id}", delete(release))
            .route("/v1/customers/{customer_id}/access", get(access))
            .layer(from_fn_with_state(Arc::clone(&scene), note_trace))
            .with_state(Arc::clone(&scene));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, scene }
    }

    /// A client with little patience.
    pub(crate) fn builder(&self) -> Builder {
        Meterline::builder(&self.url, KEY)
            .retry_budget(Duration::from_secs(20))
            .request_timeout(Duration::from_secs(10))
    }

    pub(crate) fn client(&self) -> Meterline {
        self.builder().build().unwrap()
    }

    pub(crate) fn always(&self, step: Option<Step>) {
        self.scene.lock().unwrap().afterwards = step;
    }

    /// What comes next.
    pub(crate) fn follow(&self, script: impl IntoIterator<Item = Step>) {
        self.scene.lock().unwrap().script.extend(script);
    }

    pub(crate) fn deny(&self, reason: &str) {
        self.scene.lock().unwrap().denial = Some(reason.to_owned());
    }

    /// Of each request that carried a trace.
    pub(crate) fn traceparents(&self) -> Vec<String> {
        self.scene.lock().unwrap().traceparents.clone()
    }

    /// What was asked of each access.
    pub(crate) fn questions(&self) -> Vec<BTreeMap<String, String>> {
        self.scene.lock().unwrap().questions.clone()
    }

    pub(crate) fn refuse(&self, event_id: &str) {
        self.scene.lock().unwrap().refused = Some(event_id.to_owned());
    }

    pub(crate) fn refuse_key_for_all_but(&self, event_id: &str) {
        self.scene.lock().unwrap().allowed = Some(event_id.to_owned());
    }

    /// An event of this id is told to come later, however often it comes.
    pub(crate) fn put_off(&self, event_id: &str) {
        self.scene.lock().unwrap().put_off = Some(event_id.to_owned());
    }

    pub(crate) fn limit_units(&self, units: u64) {
        self.scene.lock().unwrap().limit_units = Some(units);
    }

    /// Where a reservation stands.
    pub(crate) fn reservation(&self, reservation_id: &str) -> Option<&'static str> {
        let scene = self.scene.lock().unwrap();
        let reservation = scene.reservations.get(reservation_id);
        reservation.map(|(_, status)| *status)
    }

    pub(crate) fn held_units(&self) -> u64 {
        self.scene.lock().unwrap().held_units()
    }

    /// The ids of the events of each request, or that of its reservation.
    pub(crate) fn requests(&self) -> Vec<Vec<String>> {
        let scene = self.scene.lock().unwrap();
        let id = |sent: &Value| {
            let id = sent["event_id"].as_str();
            let id = id.or(sent["reservation_id"].as_str());
            id.unwrap().to_owned()
        };
        let ids = |events: &Vec<Value>| events.iter().map(id).collect();
        scene.requests.iter().map(ids).collect()
    }

    /// Units by event id.
    pub(crate) fn recorded(&self) -> BTreeMap<String, u64> {
        let scene = self.scene.lock().unwrap();
        let recorded = scene.recorded.iter();
        recorded
            .map(|(id, event)| (id.clone(), event["quantity"].as_u64().unwrap()))
            .collect()
    }
}

impl Scene {
    fn next(&mut self, events: Vec<Value>) -> Option<Step> {
        self.requests.push(events);
        self.script.pop_front().or_else(|| self.afterwards.clone())
    }

    /// The status and body that a single event would be answered with.
    fn record(&mut self, event: &Value) -> (u16, Value) {
        let id = event["event_id"].as_str().unwrap().to_owned();
        if self.refused.as_deref() == Some(&id) {
            return (400, problem_body(400, "invalid-field"));
        }
        if self.allowed.as_ref().is_some_and(|allowed| *allowed != id) {
            return (403, problem_body(403, "forbidden"));
        }
        if self.put_off.as_deref() == Some(&id) {
            return (429, problem_body(429, "rate-limited"));
        }
        let mut content = event.clone();
        let reservation_id = content.as_object_mut().unwrap().remove("reservation_id");
        let known = self.recorded.get(&id).cloned();
        let duplicate = known.is_some();
        if known.is_some_and(|known| known != content) {
            return (409, problem_body(409, "conflict"));
        }
        self.recorded.insert(id.clone(), content);
        let mut answer = json!({
            "event_id": id, "status": "delivered", "duplicate": duplicate,
            "quantity": event["quantity"], "customer_status": "active",
        });
        if let Some(reservation_id) = reservation_id {
            let reservation = self.reservations.get_mut(reservation_id.as_str().unwrap());
            let (_, status) = reservation.unwrap();
            *status = "settled";
            answer["reservation"] = json!(status);
        }
        (200, answer)
    }

    fn held_units(&self) -> u64 {
        let held = self.reservations.values();
        held.filter(|(_, status)| *status == "held")
            .map(|(units, _)| units)
            .sum()
    }

    fn reserve(&mut self, wanted: &Value) -> (u16, Value) {
        let id = wanted["reservation_id"].as_str().unwrap();
        let units = wanted["quantity"].as_u64().unwrap();
        match self.reservations.get(id) {
            Some(known) if *known == (units, "held") => return (200, self.shown(id)),
            Some(_) => return (409, problem_body(409, "conflict")),
            None => {}
        }
        let left = self.limit_units.map(|most| most - self.held_units());
        if left.is_some_and(|left| units > left) {
            let mut problem = problem_body(402, "limit-reached");
            problem["left_units"] = json!(left);
            return (402, problem);
        }
        self.reservations.insert(id.to_owned(), (units, "held"));
        (201, self.shown(id))
    }

    fn release(&mut self, id: &str) -> (u16, Value) {
        match self.reservations.get_mut(id) {
            None => return (404, problem_body(404, "not-found")),
            Some((_, status)) if *status == "held" => *status = "released",
            Some(_) => {}
        }
        (200, self.shown(id))
    }

    fn shown(&self, id: &str) -> Value {
        let (units, status) = self.reservations[id];
        json!({
            "reservation_id": id, "customer_id": "cus_1", "status": status, "quantity": units,
            "action_type": "document_processed", "period_start": "2026-01-01T00:00:00Z",
            "expires_at": "2026-01-31T12:05:00Z", "customer_status": "active",
        })
    }
}

/// Begins a call by one look at it, in which nobody else gets on.
pub(crate) async fn begin<T>(mut call: Pin<&mut impl Future<Output = T>>) {
    let looked_at = poll_fn(|context| Poll::Ready(call.as_mut().poll(context)));
    assert!(looked_at.await.is_pending());
}

pub(crate) fn problem_body(status: u16, kind: &str) -> Value {
    json!({
        "type": format!("urn:meterline:problem:{kind}"), "title": kind, "status": status,
        "detail": "as the script says",
    })
}

pub(crate) fn answer(status: u16, kind: &str) -> Step {
    Step::Answer(status, problem_body(status, kind), None)
}

async fn note_trace(
    State(scene): State<Arc<Mutex<Scene>>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(carried) = request.headers().get("traceparent") {
        let carried = carried.to_str().unwrap().to_owned();
        scene.lock().unwrap().traceparents.push(carried);
    }
    next.run(request).await
}

async fn single(
    State(scene): State<Arc<Mutex<Scene>>>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> Response {
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    follow(&scene, &event, |scene| scene.record(&event))
}

async fn reserve(State(scene): State<Arc<Mutex<Scene>>>, Json(wanted): Json<Value>) -> Response {
    follow(&scene, &wanted, |scene| scene.reserve(&wanted))
}

async fn release(
    State(scene): State<Arc<Mutex<Scene>>>,
    Path(reservation_id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    assert_eq!(query["customer_id"], "cus_1");
    let sent = json!({ "reservation_id": reservation_id });
    follow(&scene, &sent, |scene| scene.release(&reservation_id))
}

/// What the script says of a request; else, and before a connection breaks, its work.
fn follow(
    scene: &Mutex<Scene>,
    sent: &Value,
    work: impl FnOnce(&mut Scene) -> (u16, Value),
) -> Response {
    let mut scene = scene.lock().unwrap();
    match scene.next(vec![sent.clone()]) {
        None => shown(work(&mut scene)),
        Some(step) => {
            if matches!(step, Step::RecordAndVanish) {
                work(&mut scene);
            }
            drop(scene);
            play(step)
        }
    }
}

async fn batch(State(scene): State<Arc<Mutex<Scene>>>, Json(body): Json<Value>) -> Response {
    let events = body["events"].as_array().unwrap().clone();
    let mut scene = scene.lock().unwrap();
    let step = scene.next(events.clone());
    if matches!(step, Some(Step::Vanish | Step::Answer(..))) {
        drop(scene);
        return play(step.unwrap());
    }
    let result = |event: &Value| match scene.record(event) {
        (200, answer) => answer,
        (_, error) => json!({ "event_id": event["event_id"], "status": "invalid", "error": error }),
    };
    let results: Vec<Value> = events.iter().map(result).collect();
    drop(scene);
    match step {
        Some(step) => play(step),
        None => Json(json!({ "results": results })).into_response(),
    }
}

async fn access(
    State(scene): State<Arc<Mutex<Scene>>>,
    Path(customer_id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    assert_eq!(customer_id, "cus_1");
    let mut scene = scene.lock().unwrap();
    scene.questions.push(query);
    let reason = scene.denial.clone();
    Json(json!({
        "allowed": reason.is_none(), "reason": reason, "status": "active", "units": 0, "limit": null,
    }))
}

fn play(step: Step) -> Response {
    match step {
        // Unwinding ends the connection's task, and so the connection, without
        // an answer; this way it prints no panic.
        Step::Vanish | Step::RecordAndVanish => std::panic::resume_unwind(Box::new(())),
        Step::Answer(status, body, None) => shown((status, body)),
        Step::Answer(status, body, Some(seconds)) => {
            let status = StatusCode::from_u16(status).unwrap();
            let headers = [("retry-after", seconds.to_string())];
            (status, headers, Json(body)).into_response()
        }
    }
}

fn shown((status, body): (u16, Value)) -> Response {
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}
