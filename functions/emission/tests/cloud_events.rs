//! Stories of `POST /v1/events`: the requests that emitters of CloudEvents make, in
//! each content mode.

use billing::{Timestamp, UsageStatus};
use ledger::Scope;
use serde_json::{Value, json};

use crate::story::{HOUR_MS, Story, problem};

const STRUCTURED: (&str, &str) = ("content-type", "application/cloudevents+json");
const BATCHED: (&str, &str) = ("content-type", "application/cloudevents-batch+json");
const JSON: (&str, &str) = ("content-type", "application/json");

impl Story {
    fn cloud_event(&self, id: &str) -> Value {
        json!({
            "specversion": "1.0",
            "id": id,
            "source": "/agents/7",
            "type": "document_processed",
            "subject": self.customer.customer_id,
            "data": { "quantity": 3 },
        })
    }

    fn cloud_event_with(&self, id: &str, name: &str, value: Value) -> Value {
        let mut event = self.cloud_event(id);
        event[name] = value;
        event
    }

    async fn send(&self, event: &Value) -> (u16, Value) {
        self.post("/v1/events", event, &[STRUCTURED]).await
    }

    async fn send_batch(&self, events: &Value) -> (u16, Value) {
        self.post("/v1/events", events, &[BATCHED]).await
    }

    /// In binary mode: `headers` beside those that every event has.
    async fn send_binary(&self, headers: &[(&str, &str)], data: &Value) -> (u16, Value) {
        let customer_id = self.customer.customer_id.as_str();
        let mut all = vec![
            JSON,
            ("ce-specversion", "1.0"),
            ("ce-type", "document_processed"),
            ("ce-source", "/agents/7"),
            ("ce-subject", customer_id),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| name == other));
        all.extend(headers);
        self.post("/v1/events", data, &all).await
    }

    async fn occurred_at(&self, id: &str) -> String {
        self.row(id).await.occurred_at.to_string()
    }
}

fn without(mut event: Value, name: &str) -> Value {
    event.as_object_mut().unwrap().remove(name);
    event
}

fn statuses(answer: &Value) -> Vec<&str> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|result| result["status"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_event_is_usage_and_is_answered_as_usage() {
    let story = Story::start().await;
    let (status, answer) = story.send(&story.cloud_event("job-1")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer,
        json!({
            "event_id": "job-1", "status": "delivered", "duplicate": false,
            "quantity": 3, "customer_status": "active",
        })
    );
    assert_eq!(story.in_stripe().await, (1, 3));
    let row = story.row("job-1").await;
    assert_eq!(row.source.unwrap().as_str(), "/agents/7");
    assert_eq!(row.occurred_at, story.world.now());
    assert_eq!(row.action_type.as_str(), "document_processed");
}

#[tokio::test]
async fn what_is_durable_and_not_in_stripe_is_accepted_and_a_repeat_brings_it_there() {
    let story = Story::start().await;
    story.world.break_stream(503, 3).await;
    let (status, answer) = story.send(&story.cloud_event("job-1")).await;
    assert_eq!((status, &answer["status"]), (202, &json!("pending")));
    story.world.assert_faults_are_used_up().await;
    let (status, answer) = story.send(&story.cloud_event("job-1")).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)));
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn a_repeat_is_a_duplicate_in_whatever_mode_it_comes() {
    let story = Story::start().await;
    let first = story.cloud_event("job-1");
    story.send(&first).await;
    // A trace is another one each time; and what is not set may be null.
    let mut traced = story.cloud_event_with("job-1", "traceparent", json!("00-af-b7-01"));
    traced["time"] = Value::Null;
    traced["data"] = json!({ "quantity": 3, "pages": [1, 2] });
    let mut encoded = without(story.cloud_event("job-1"), "data");
    encoded["data_base64"] = json!("eyJxdWFudGl0eSI6M30=");
    for event in [&first, &traced, &encoded] {
        let (status, answer) = story.send(event).await;
        assert_eq!(
            (status, &answer["duplicate"]),
            (200, &json!(true)),
            "{event}"
        );
    }
    let data = json!({ "quantity": 3 });
    let (status, answer) = story.send_binary(&[("ce-id", "job-1")], &data).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)));
    let (_, answer) = story.send_batch(&json!([first])).await;
    assert_eq!(answer["duplicates"], 1, "{answer}");
    assert_eq!(story.in_stripe().await, (1, 3));
}

#[tokio::test]
async fn one_id_of_two_sources_is_a_conflict_and_never_a_repeat() {
    let story = Story::start().await;
    story.send(&story.cloud_event("job-1")).await;
    let elsewhere = story.cloud_event_with("job-1", "source", json!("/agents/8"));
    let (status, answer) = story.send(&elsewhere).await;
    assert_eq!((status, &answer["type"]), (409, &problem("conflict")));
    // Nor is it the event of an agent that has no sources.
    let (status, _) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 409);
    story.emit(&story.event("job-2", 3)).await;
    assert_eq!(story.send(&story.cloud_event("job-2")).await.0, 409);
    assert_eq!(story.in_stripe().await, (2, 6));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_the_attributes_name() {
    let story = Story::start().await;
    for name in ["specversion", "id", "source", "type", "subject"] {
        let with = |value| story.cloud_event_with("job-1", name, value);
        let missing = without(story.cloud_event("job-1"), name);
        for event in [missing, with(Value::Null), with(json!("")), with(json!(1))] {
            assert_refused(&story, &event, name).await;
        }
    }
    for (name, value, field) in [
        ("specversion", json!("0.3"), "specversion"),
        ("specversion", json!("1.0.2"), "specversion"),
        ("id", json!("x".repeat(256)), "id"),
        ("source", json!("two words"), "source"),
        ("source", json!("x".repeat(256)), "source"),
        ("type", json!("com.example/processed"), "type"),
        ("subject", json!("ada@example.com"), "subject"),
        ("time", json!("yesterday"), "time"),
        ("time", json!("2026-01-31 12:00:00"), "time"),
        ("time", json!("2026-01-31T12:00:00"), "time"),
        ("time", json!("1999-01-31T12:00:00Z"), "time"),
        ("time", json!(1_769_860_800), "time"),
        ("data", json!({ "quantity": 0 }), "data.quantity"),
        ("data", json!({ "quantity": 1.5 }), "data.quantity"),
        ("data", json!({ "quantity": "3" }), "data.quantity"),
        ("data", json!({ "quantity": -1 }), "data.quantity"),
        ("data", json!([3]), "data"),
        ("data", json!(3), "data"),
        ("data", json!("{\"quantity\":3}"), "data"),
        ("data_base64", json!("e30="), "data_base64"),
        ("datacontenttype", json!("text/plain"), "datacontenttype"),
        ("datacontenttype", json!("json"), "datacontenttype"),
        ("datacontenttype", json!(7), "datacontenttype"),
        ("dataschema", json!({}), "dataschema"),
        ("meterlinereservation", json!("a/b"), "meterlinereservation"),
        ("Time", json!("2026-01-31T12:00:00Z"), "Time"),
        ("event_id", json!("job-2"), "event_id"),
    ] {
        assert_refused(&story, &story.cloud_event_with("job-1", name, value), field).await;
    }
    for (encoded, field) in [
        ("not Base64", "data_base64"),
        ("bm8gSlNPTg==", "data_base64"),
        // A key twice, and no object.
        ("eyJhIjoxLCJhIjoyfQ==", "data_base64"),
        ("WzNd", "data"),
    ] {
        let mut event = without(story.cloud_event("job-1"), "data");
        event["data_base64"] = json!(encoded);
        assert_refused(&story, &event, field).await;
    }
    assert_eq!(story.status_in_log("job-1").await, None);
}

async fn assert_refused(story: &Story, event: &Value, field: &str) {
    let (status, answer) = story.send(event).await;
    assert_eq!((status, &answer["field"]), (400, &json!(field)), "{event}");
    let detail = answer["detail"].as_str().unwrap();
    assert!(detail.starts_with(field), "{detail}");
}

#[tokio::test]
async fn what_nothing_bills_is_refused_by_the_attributes_name_too() {
    let story = Story::start().await;
    let long_ago = story.world.now().plus_ms(-60 * 24 * HOUR_MS);
    let event = story.cloud_event_with("job-1", "time", json!(long_ago.to_string()));
    assert_refused(&story, &event, "time").await;
    let event = story.cloud_event_with("job-1", "subject", json!("cus_nobody"));
    let (status, answer) = story.send(&event).await;
    assert_eq!(
        (status, &answer["type"]),
        (404, &problem("customer-not-found"))
    );
}

#[tokio::test]
async fn what_is_not_known_of_an_event_is_let_pass() {
    let story = Story::start().await;
    let mut event = story.cloud_event("job-1");
    for (name, value) in [
        ("dataschema", json!("https://example.com/usage.json")),
        (
            "datacontenttype",
            json!("application/vnd.example+json; charset=utf-8"),
        ),
        (
            "traceparent",
            json!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
        ("sampledrate", json!(3)),
        ("isurgent", json!(true)),
        ("quantity", json!(9)),
        ("data", json!({ "quantity": 4, "model": { "name": "m" } })),
    ] {
        event[name] = value;
    }
    let (status, answer) = story.send(&event).await;
    assert_eq!((status, &answer["quantity"]), (200, &json!(4)), "{answer}");
}

#[tokio::test]
async fn an_extension_names_the_reservation_that_an_event_settles() {
    let story = Story::start().await;
    let reservation = json!({
        "reservation_id": "run-7", "customer_id": story.customer.customer_id, "quantity": 5,
        "action_type": "document_processed",
    });
    let (status, answer) = story
        .post("/v1/usage/reservations", &reservation, &[])
        .await;
    assert_eq!(status, 201, "{answer}");
    let event = story.cloud_event_with("job-1", "meterlinereservation", json!("run-7"));
    let (status, answer) = story.send(&event).await;
    assert_eq!(
        (status, &answer["reservation"]),
        (200, &json!("settled")),
        "{answer}"
    );
    // It is no part of the content.
    let (status, answer) = story.send(&story.cloud_event("job-1")).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(true)));
    let headers = [("ce-id", "job-2"), ("ce-meterlinereservation", "run-7")];
    let (status, answer) = story.send_binary(&headers, &json!({})).await;
    assert_eq!(
        (status, &answer["reservation"]),
        (200, &json!("settled_before"))
    );
}

#[tokio::test]
async fn an_event_that_says_no_quantity_is_one_unit() {
    let story = Story::start().await;
    for (id, data) in [
        ("null", Value::Null),
        ("empty", json!({})),
        ("other", json!({ "pages": 9 })),
        ("null-quantity", json!({ "quantity": null })),
    ] {
        let (status, answer) = story.send(&story.cloud_event_with(id, "data", data)).await;
        assert_eq!((status, &answer["quantity"]), (200, &json!(1)), "{answer}");
    }
    // Where there are no data, nothing is of their type.
    let mut bare = without(story.cloud_event("bare"), "data");
    bare["datacontenttype"] = json!("text/plain");
    let (status, answer) = story.send(&bare).await;
    assert_eq!((status, &answer["quantity"]), (200, &json!(1)), "{answer}");
    assert_eq!(story.in_stripe().await, (5, 5));
}

#[tokio::test]
async fn a_time_is_one_instant_in_whatever_offset_it_is_written() {
    let story = Story::start().await;
    // A whole second, and not before the subscription.
    let at = Timestamp::from_unix_s(story.world.now().unix_s() + 1);
    let utc = at.to_string();
    let east = at.plus_ms(HOUR_MS).to_string().replace('Z', "+01:00");
    let west = at.plus_ms(-HOUR_MS).to_string().replace('Z', "-01:00");
    let event = story.cloud_event_with("job-1", "time", json!(utc));
    assert_eq!(story.send(&event).await.0, 200);
    assert_eq!(story.occurred_at("job-1").await, utc);
    for same in [east, west, utc.replace('Z', ".000Z"), utc.replace('T', "t")] {
        let event = story.cloud_event_with("job-1", "time", json!(same));
        let (status, answer) = story.send(&event).await;
        assert_eq!(
            (status, &answer["duplicate"]),
            (200, &json!(true)),
            "{same}"
        );
    }
    let later = utc.replace('Z', ".5Z");
    let event = story.cloud_event_with("job-1", "time", json!(later));
    assert_eq!(story.send(&event).await.0, 409);
}

#[tokio::test]
async fn of_a_batch_each_event_has_an_outcome_and_a_bad_one_spoils_no_other() {
    let story = Story::start().await;
    let (status, answer) = story
        .send_batch(&json!([
            story.cloud_event("first"),
            story.cloud_event_with("fractional", "data", json!({ "quantity": 0.5 })),
            without(story.cloud_event("nameless"), "id"),
            story.cloud_event_with("nobody", "subject", json!("cus_nobody")),
            "not an event",
            story.cloud_event("first"),
            story.cloud_event_with("first", "source", json!("/agents/8")),
            story.cloud_event("last"),
        ]))
        .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        statuses(&answer),
        [
            "delivered",
            "invalid",
            "invalid",
            "invalid",
            "invalid",
            "delivered",
            "conflict",
            "delivered"
        ]
    );
    let counts = ["delivered", "pending", "duplicates", "rejected"];
    let counts = counts.map(|name| answer[name].as_u64().unwrap());
    assert_eq!(counts, [2, 0, 1, 5]);
    let results = &answer["results"];
    assert_eq!(results[1]["event_id"], "fractional");
    assert_eq!(results[1]["error"]["field"], "data.quantity");
    assert_eq!(results[2]["error"]["field"], "id");
    assert_eq!(results[2].get("event_id"), None);
    assert_eq!(results[3]["error"]["type"], problem("customer-not-found"));
    assert_eq!(results[5]["duplicate"], true);
    assert_eq!(results[6]["error"]["type"], problem("conflict"));
    assert_eq!(story.in_stripe().await, (2, 6));
}

#[tokio::test]
async fn a_batch_is_a_list_of_one_to_a_hundred_and_one_request_to_stripe() {
    let story = Story::start().await;
    // A second request to the stream would fail.
    story
        .world
        .break_stripe(json!({
            "kind": "error_before", "status": 503, "skip": 1, "times": 9,
            "path_prefix": "/v2/billing/meter_event_stream",
        }))
        .await;
    let event = |n: usize| story.cloud_event(&format!("job-{n}"));
    let hundred: Vec<Value> = (0..100).map(event).collect();
    let (status, answer) = story.send_batch(&json!(hundred)).await;
    assert_eq!(
        (status, &answer["delivered"]),
        (200, &json!(100)),
        "{answer}"
    );
    assert_eq!(story.in_stripe().await, (100, 300));
    let beyond: Vec<Value> = (100..201).map(event).collect();
    for body in [
        json!(beyond),
        json!([]),
        json!({}),
        story.cloud_event("alone"),
    ] {
        let (status, answer) = story.send_batch(&body).await;
        assert_eq!(
            (status, &answer["type"]),
            (400, &problem("invalid-request"))
        );
    }
    assert_eq!(story.status_in_log("job-100").await, None);
    // And one event is no list.
    let (status, _) = story.send(&json!([story.cloud_event("alone")])).await;
    assert_eq!(status, 400);
    assert_eq!(story.status_in_log("alone").await, None);
}

#[tokio::test]
async fn in_binary_mode_attributes_are_headers_and_the_body_is_the_data() {
    let story = Story::start().await;
    let now = story.world.now().to_string();
    let headers = [
        ("ce-id", "job%201%20%E2%82%AC"),
        ("ce-time", &now),
        ("ce-traceparent", "00"),
    ];
    let (status, answer) = story.send_binary(&headers, &json!({ "quantity": 3 })).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["event_id"], "job 1 \u{20ac}");
    assert_eq!(story.occurred_at("job 1 \u{20ac}").await, now);
    // As senders of older versions write what has spaces.
    let quoted = [("ce-id", "\"job \\\"2\\\"\"")];
    let (_, answer) = story.send_binary(&quoted, &json!({})).await;
    assert_eq!(answer["event_id"], "job \"2\"", "{answer}");
    assert_eq!(story.row("job \"2\"").await.quantity, 1);
    for (header, field) in [
        (("ce-specversion", "0.3"), "specversion"),
        (("ce-id", ""), "id"),
        (("ce-id", "%C0%A0"), "id"),
        (("ce-subject", "ada@example.com"), "subject"),
        (("ce-source", ""), "source"),
        (("ce-time", "1769860800"), "time"),
        (("ce-data_base64", "e30="), "data_base64"),
        (("ce-event-id", "job-4"), "event-id"),
    ] {
        let headers = [("ce-id", "job-3"), header];
        let headers = if header.0 == "ce-id" {
            &headers[1..]
        } else {
            &headers
        };
        let (status, answer) = story.send_binary(headers, &json!({})).await;
        assert_eq!(
            (status, &answer["field"]),
            (400, &json!(field)),
            "{header:?}"
        );
    }
    let twice = [("ce-id", "job-3"), ("ce-id", "job-4")];
    let (status, answer) = story.send_binary(&twice, &json!({})).await;
    assert_eq!((status, &answer["field"]), (400, &json!("id")));
    let (status, answer) = story.send_binary(&[("ce-id", "job-3")], &json!(3)).await;
    assert_eq!((status, &answer["field"]), (400, &json!("data")));
    assert_eq!(story.in_stripe().await, (2, 4));
}

#[tokio::test]
async fn an_event_in_binary_mode_may_have_no_body() {
    let story = Story::start().await;
    let request = story.world.http.post(format!("{}/v1/events", story.url));
    let request = request
        .bearer_auth(&story.key)
        .header("ce-specversion", "1.0")
        .header("ce-id", "job-1")
        .header("ce-source", "/agents/7")
        .header("ce-type", "document_processed")
        .header("ce-subject", story.customer.customer_id.as_str());
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(story.in_stripe().await, (1, 1));
}

#[tokio::test]
async fn the_content_type_says_what_a_request_is() {
    let story = Story::start().await;
    let event = story.cloud_event("job-1");
    for taken in [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents+json;charset=\"UTF-8\"",
        "Application/CloudEvents+JSON; charset=UTF-8; profile=usage",
    ] {
        let (status, answer) = story
            .post("/v1/events", &event, &[("content-type", taken)])
            .await;
        assert_eq!(status, 200, "{taken}: {answer}");
    }
    let batch = (
        "content-type",
        "application/cloudevents-batch+json; charset=utf-8",
    );
    let (status, _) = story.post("/v1/events", &json!([event]), &[batch]).await;
    assert_eq!(status, 200);
    let data = [
        ("ce-id", "job-2"),
        ("content-type", "text/json; charset=utf-8"),
    ];
    assert_eq!(story.send_binary(&data, &json!({})).await.0, 200);
    for refused in [
        "application/json",
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/cloudevents+avro",
        "application/cloudevents-batch",
        "application/cloudevents+json; charset=iso-8859-1",
        "application/x-www-form-urlencoded",
        "text/plain",
        "cloudevents",
        "",
    ] {
        let (status, answer) = story
            .post("/v1/events", &event, &[("content-type", refused)])
            .await;
        assert_eq!(
            (status, &answer["type"]),
            (415, &problem("unsupported-media-type")),
            "{refused}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("application/cloudevents+json"), "{detail}");
    }
    let (status, _) = story.post("/v1/events", &event, &[]).await;
    assert_eq!(status, 415);
    let (status, _) = story
        .post("/v1/events", &event, &[STRUCTURED, BATCHED])
        .await;
    assert_eq!(status, 415);
    let forms = [("ce-id", "job-3"), ("content-type", "application/xml")];
    assert_eq!(story.send_binary(&forms, &json!({})).await.0, 415);
    let (status, answer) = story
        .post(
            "/v1/events",
            &event,
            &[STRUCTURED, ("content-encoding", "gzip")],
        )
        .await;
    assert_eq!(
        (status, &answer["type"]),
        (415, &problem("unsupported-encoding"))
    );
    assert_eq!(story.in_stripe().await, (2, 4));
}

#[tokio::test]
async fn one_event_is_as_large_as_one_of_usage_and_a_batch_as_a_batch() {
    let story = Story::start().await;
    let padded = |id: &str, bytes: usize| {
        let bare = story.cloud_event_with(id, "note", json!("")).to_string();
        story.cloud_event_with(id, "note", json!("x".repeat(bytes - bare.len())))
    };
    assert_eq!(story.send(&padded("job-1", 64 * 1024)).await.0, 200);
    assert_eq!(story.send(&padded("job-2", 64 * 1024 + 1)).await.0, 413);
    let list = "[]".len();
    let within = json!([padded("job-3", 256 * 1024 - list)]);
    assert_eq!(story.send_batch(&within).await.0, 200);
    let beyond = json!([padded("job-4", 256 * 1024 - list + 1)]);
    assert_eq!(story.send_batch(&beyond).await.0, 413);
    assert_eq!(story.in_stripe().await, (2, 6));
}

#[tokio::test]
async fn only_who_may_emit_for_the_subject_may_send_its_events() {
    let mut story = Story::start().await;
    let other = story.world.onboard(None).await;
    let mine = story.customer.customer_id.clone();
    let theirs = story.cloud_event_with("job-1", "subject", json!(other.customer_id));
    story.key = story
        .world
        .api_key(vec![Scope::Emit], Some(vec![mine]))
        .await;
    assert_eq!(story.send(&theirs).await.0, 403);
    let batch = json!([theirs, story.cloud_event("job-1")]);
    let (status, answer) = story.send_batch(&batch).await;
    assert_eq!((status, &answer["delivered"]), (200, &json!(1)));
    assert_eq!(answer["results"][0]["error"]["type"], problem("forbidden"));
    story.key = story.world.api_key(vec![Scope::Read], None).await;
    assert_eq!(story.send(&story.cloud_event("job-2")).await.0, 403);
    story.key = "mk_none".to_owned();
    assert_eq!(story.send(&story.cloud_event("job-2")).await.0, 401);
    assert_eq!(story.world.in_stripe(&other.customer_id).await, (0, 0));
}

#[tokio::test]
async fn what_was_voided_stays_voided() {
    let story = Story::start().await;
    story.send(&story.cloud_event("job-1")).await;
    story
        .move_to("job-1", UsageStatus::Delivered, UsageStatus::Voided)
        .await;
    let (status, answer) = story.send(&story.cloud_event("job-1")).await;
    assert_eq!((status, &answer["type"]), (409, &problem("voided")));
}
