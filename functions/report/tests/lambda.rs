//! The program, run as Lambda runs it behind an HTTP API.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use billing::{ActionType, BillingTime, Clock, CustomerId, EventId, Quantity, UsageEvent};
use flate2::read::GzDecoder;
use ledger::{Scope, UsageEventRow};
use serde_json::{Value, json};
use stripe_simulator::DEFAULT_SECRET_KEY;

use crate::runtime_api::invoke;
use crate::story::Story;
use crate::support::world::METER_EVENT_NAME;

/// Everything that means something in an address, and what is not ASCII.
const HARD_ID: &str = "../a/b?c=d&e#f %2F+%\\\"é";

impl Story {
    async fn record(&self, event_id: &str) {
        let usage = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(3).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        };
        let now = self.world.clock.now();
        let time = BillingTime::Billable {
            billed_at: now,
            period_start: self.customer.period_start,
            carried_over: false,
        };
        let token = "token".to_owned();
        let row = UsageEventRow::new(&usage, now, time, METER_EVENT_NAME, token, now);
        let recorded = self.world.ledger.record_usage_event(&row, now, 0).await;
        recorded.unwrap();
    }

    /// The status and body of the program's answer to a request, given as HTTP
    /// APIs give it: the path decoded, the query as it came.
    async fn ask(&self, decoded_path: &str, query: &str) -> (u64, Value) {
        self.ask_as(&self.world.admin_key, decoded_path, query)
            .await
    }

    async fn ask_as(&self, key: &str, decoded_path: &str, query: &str) -> (u64, Value) {
        let answer = self.answer_to(key, decoded_path, query, &[]).await;
        let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), body)
    }

    /// What the program hands back to the HTTP API.
    async fn answer_to(
        &self,
        key: &str,
        decoded_path: &str,
        query: &str,
        headers: &[(&str, &str)],
    ) -> Value {
        let sample = include_str!("../../../events/report.json").replace("$METERLINE_API_KEY", key);
        let mut event: Value = serde_json::from_str(&sample).unwrap();
        event["rawPath"] = json!(decoded_path);
        event["rawQueryString"] = json!(query);
        event["requestContext"]["http"]["path"] = json!(decoded_path);
        for (name, value) in headers {
            event["headers"][name] = json!(value);
        }
        let stripe_url = self.world.stripe_url();
        let variables = [
            ("STRIPE_SECRET_KEY", DEFAULT_SECRET_KEY),
            ("STRIPE_API_BASE", stripe_url.as_str()),
            ("DASHBOARD_LINK_SECRET", "a secret of 32 random characters"),
        ];
        let program = env!("CARGO_BIN_EXE_report");
        let answer = invoke(program, &self.world.tables.url, &variables, &event).await;
        answer.unwrap()
    }
}

#[tokio::test]
async fn an_event_of_any_id_is_found_by_the_query() {
    let story = Story::start().await;
    let customer_id = &story.customer.customer_id;
    let path = format!("/v1/usage/{customer_id}");
    for event_id in [HARD_ID, ".", "..", "/", "a%2Fb", "a+b c"] {
        story.record(event_id).await;
        let mut query = reqwest::Url::parse("http://localhost").unwrap();
        query.query_pairs_mut().append_pair("event_id", event_id);
        let query = query.query().unwrap();
        let (status, event) = story.ask(&path, query).await;
        assert_eq!((status, &event["event_id"]), (200, &json!(event_id)));
    }
}

#[tokio::test]
async fn an_event_of_a_plain_id_is_found_by_the_path_too() {
    let story = Story::start().await;
    let customer_id = &story.customer.customer_id;
    let plain_id = "job-7_v1.2:a~b";
    story.record(plain_id).await;
    let path = format!("/v1/usage/{customer_id}/{plain_id}");
    let (status, event) = story.ask(&path, "").await;
    assert_eq!((status, &event["event_id"]), (200, &json!(plain_id)));
    // Neither form takes one id for another.
    for (path, query, status) in [
        (path.clone(), "event_id=", 200),
        (format!("/v1/usage/{customer_id}"), "", 400),
        (format!("/v1/usage/{customer_id}"), "id=job-7", 400),
        (format!("/v1/usage/{customer_id}"), "event_id=job-7", 404),
        (format!("/v1/usage/{customer_id}/a/b"), "", 404),
        (format!("/v1/usage/{customer_id} x"), "event_id=job-7", 400),
    ] {
        let answered = story.ask(&path, query).await;
        assert_eq!(answered.0, status, "{path}?{query}: {}", answered.1);
    }
}

/// API Gateway's answers are JSON: what is no text goes through it in base64 (Amazon API
/// Gateway Developer Guide: "Working with binary media types for HTTP APIs").
#[tokio::test]
async fn a_compressed_file_of_the_dashboard_comes_through_whole() {
    let story = Story::start().await;
    let path = "/dashboard/assets/0123456789abcdef/dashboard.css";
    let plain = story.answer_to("none", path, "", &[]).await;
    assert_eq!(plain["isBase64Encoded"], false);
    let plain = plain["body"].as_str().unwrap();
    assert!(plain.contains("prefers-color-scheme"), "{plain}");

    let gzip = [("accept-encoding", "gzip, deflate, br, zstd")];
    let packed = story.answer_to("none", path, "", &gzip).await;
    assert_eq!(packed["headers"]["content-encoding"], "gzip");
    assert_eq!(packed["headers"]["content-type"], "text/css; charset=utf-8");
    assert_eq!(packed["isBase64Encoded"], true);
    let packed = STANDARD.decode(packed["body"].as_str().unwrap()).unwrap();
    let mut unpacked = String::new();
    GzDecoder::new(packed.as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain);
}

/// The dots in a decoded path are resolved before it is routed: what was asked
/// about one customer may be about another by then. The key decides at the end.
#[tokio::test]
async fn a_path_that_turns_into_anothers_is_judged_as_anothers() {
    let story = Story::start().await;
    let mine = &story.customer.customer_id;
    let other = CustomerId::parse("cus_other").unwrap();
    let key = story
        .world
        .api_key(Scope::Read, Some(vec![mine.clone()]))
        .await;
    for (path, status) in [
        (format!("/v1/customers/{mine}/usage"), 200),
        (format!("/v1/customers/{other}/usage"), 403),
        (
            format!("/v1/usage/{mine}/../../customers/{other}/usage"),
            403,
        ),
        (format!("/v1/usage/{mine}/../{other}/job-7"), 403),
        (
            format!("/v1/usage/{other}/../../customers/{mine}/usage"),
            200,
        ),
        (format!("/v1/customers/{mine}/../{other}/usage"), 403),
        (
            format!("/v1/customers/{mine}/../../../../../etc/passwd"),
            404,
        ),
        (format!("/v1/customers/{other}/usage#/../{mine}/usage"), 403),
        (format!("/v1/customers/{other}/usage?/../{mine}/usage"), 403),
        (format!("/v1/customers/{mine}\\..\\{other}/usage"), 403),
        (format!("/v1/customers/{mine}\0/usage"), 400),
        (format!("/v1/customers/{mine}\u{202e}/usage"), 400),
    ] {
        let (answered, body) = story.ask_as(&key, &path, "").await;
        assert_eq!(answered, status, "{path}: {body}");
    }
}

/// What is not JSON reaches its reader as it is, in whatever form the HTTP API takes it.
#[tokio::test]
async fn an_export_comes_through_the_http_api_whole() {
    let story = Story::start().await;
    for event_id in ["é, \"quoted\"", "b"] {
        story.record(event_id).await;
    }
    let path = format!("/v1/customers/{}/events/export", story.customer.customer_id);
    for (format, content_type, lines) in [
        ("csv", "text/csv; charset=utf-8", 2),
        ("jsonl", "application/x-ndjson", 1),
    ] {
        let query = format!("format={format}&limit=1");
        let key = &story.world.admin_key;
        let answer = story.answer_to(key, &path, &query, &[]).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(answer["headers"]["content-type"], content_type);
        let link = answer["headers"]["link"].as_str().unwrap();
        let next = format!("<{path}?format={format}&limit=1&cursor=");
        assert!(link.starts_with(&next), "{link}");
        let body = answer["body"].as_str().unwrap();
        let body = match answer["isBase64Encoded"].as_bool().unwrap() {
            true => String::from_utf8(STANDARD.decode(body).unwrap()).unwrap(),
            false => body.to_owned(),
        };
        assert_eq!(body.lines().count(), lines, "{body}");
    }
}
