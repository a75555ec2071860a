//! A key for one customer learns nothing of another: whether there is such a
//! customer changes no byte of any answer, on any route.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "../../local/stack/tests/support/mod.rs"]
mod support;
#[path = "routes/template.rs"]
mod template;

use axum::http::header::DATE;
use ledger::{ApiKeyRow, NewApiKey, Scope};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stack::System;
use support::{Caller, start};
use template::template_routes;

/// An answer to the byte, but for the time of day.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// A request on `path` that is about `customer_id`, wherever the route takes it.
async fn ask(system: &System, method: &str, path: &str, customer_id: &str, key: &str) -> Answer {
    let path = path
        .replace("{customer_id}", customer_id)
        .replace("{event_id}", "job-0")
        .replace("{version}", "0123456789abcdef")
        .replace("{name}", "dashboard.css");
    let query = if path.starts_with("/dashboard") {
        format!("customer={customer_id}&expires=4102444800&signature=00")
    } else if path.starts_with("/v1/usage/reservations/") {
        format!("customer_id={customer_id}")
    } else {
        "event_id=job-0".to_owned()
    };
    let event = json!({
        "event_id": "job-0", "customer_id": customer_id, "quantity": 1, "action_type": "read",
    });
    let body = match path.as_str() {
        "/v1/usage" => event,
        "/v1/usage/batch" => json!({ "events": [event] }),
        "/v1/usage/reservations" => json!({
            "reservation_id": "run-0", "customer_id": customer_id, "quantity": 1,
            "action_type": "read",
        }),
        "/v1/events" => json!({
            "specversion": "1.0", "id": "job-0", "source": "/strangers", "type": "read",
            "subject": customer_id,
        }),
        _ => json!({ "stripe_customer_id": customer_id }),
    };
    // The only route that looks at it.
    let content_type = match path.as_str() {
        "/v1/events" => "application/cloudevents+json",
        _ => "application/json",
    };
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("{}{path}?{query}", system.url());
    let request = support::http().request(method, url).bearer_auth(key);
    let request = request.header("content-type", content_type);
    let response = request.body(body.to_string()).send().await.unwrap();
    let headers = response.headers().iter().filter(|(name, _)| *name != DATE);
    Answer {
        status: response.status().as_u16(),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        body: response.text().await.unwrap(),
    }
}

/// A key of `scope` for `customer_id` alone.
async fn a_key(system: &System, scope: Scope, customer_id: &str) -> SecretString {
    let made = NewApiKey::generate(vec![scope], system.clock().now()).unwrap();
    let customer_id = billing::CustomerId::parse(customer_id).unwrap();
    let row = ApiKeyRow {
        customers: Some(vec![customer_id]),
        ..made.row
    };
    system.ledger().put_api_key(&row).await.unwrap();
    made.key
}

#[tokio::test]
async fn no_route_tells_a_stranger_whether_a_customer_exists() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let (mine, theirs) = (caller.onboard("mine").await, caller.onboard("theirs").await);
    caller.emit(&theirs, "job", 8).await;
    // As long as the other's, for an answer may name its length.
    let nobody = format!("cus_{}", "0".repeat(theirs.len() - "cus_".len()));
    let mut asked = 0;
    for scope in [Scope::Emit, Scope::Read, Scope::Admin] {
        let key = a_key(&system, scope, &mine).await;
        let none = SecretString::from("mk_none");
        for (key, is_key) in [(&key, true), (&none, false)] {
            for (_, method, path) in template_routes() {
                let key = key.expose_secret();
                let there = ask(&system, &method, &path, &theirs, key).await;
                let nowhere = ask(&system, &method, &path, &nobody, key).await;
                assert_eq!(there, nowhere, "{method} {path}");
                // A description is for everybody, and so are the files of a page; a
                // link bears its own signature; a batch answers for each event, where
                // the key may emit at all.
                let has_outcomes = path == "/v1/usage/batch" && scope != Scope::Read;
                let expected = match (path.as_str(), is_key) {
                    ("/openapi.json", _) => 200,
                    (path, _) if path.starts_with("/dashboard/assets/") => 200,
                    (path, _) if path.starts_with("/dashboard") => 403,
                    (_, false) => 401,
                    _ if has_outcomes => 200,
                    (_, true) => 403,
                };
                assert_eq!(there.status, expected, "{method} {path} {}", there.body);
                if has_outcomes && is_key {
                    let body: Value = serde_json::from_str(&there.body).unwrap();
                    let error = &body["results"][0]["error"];
                    assert_eq!(error["type"], "urn:meterline:problem:forbidden");
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 6 * 12, "{asked}");
    // The same request does find the event, where the key is for its customer.
    let key = a_key(&system, Scope::Read, &theirs).await;
    let path = "/v1/usage/{customer_id}";
    let own = ask(&system, "GET", path, &theirs, key.expose_secret()).await;
    assert_eq!(own.status, 200, "{}", own.body);
    system.stop().await.unwrap();
}

/// What is no JSON, and what says that it is compressed, would be refused with 400 and
/// 415, were it read.
#[tokio::test]
async fn who_may_not_is_told_so_before_the_body_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let (mine, theirs) = (caller.onboard("mine").await, caller.onboard("theirs").await);
    let key = a_key(&system, Scope::Read, &mine).await;
    let mut asked = Vec::new();
    for (_, method, path) in template_routes() {
        // A link to a dashboard bears its own signature.
        let is_keyed = !path.starts_with("/dashboard");
        if !is_keyed || !matches!(method.as_str(), "POST" | "DELETE") {
            continue;
        }
        let url = format!("{}{}", system.url(), path.replace("{customer_id}", &theirs));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for encoding in ["identity", "gzip"] {
            let request = support::http().request(method.clone(), &url);
            let request = request.bearer_auth(key.expose_secret());
            let request = request.header("content-encoding", encoding).body("{");
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 403, "{method} {path} {encoding}");
        }
        asked.push(path);
    }
    for path in [
        "/v1/customers",
        "/v1/usage",
        "/v1/usage/batch",
        "/v1/events",
    ] {
        assert!(asked.iter().any(|it| it == path), "{asked:?}");
    }
    // For which customer, only the body can say: it is read of who may emit for one.
    let key = a_key(&system, Scope::Emit, &mine).await;
    let url = format!("{}/v1/usage", system.url());
    let request = support::http().post(url).bearer_auth(key.expose_secret());
    assert_eq!(request.body("{").send().await.unwrap().status(), 400);
    system.stop().await.unwrap();
}
