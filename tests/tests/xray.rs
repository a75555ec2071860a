//! What each function's program tells X-Ray's daemon, which here is a socket: every
//! call that a sampled invocation makes, and nothing of whom it is about.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "../../functions/emission/tests/support/lambda.rs"]
mod lambda;
#[path = "../../local/stack/tests/support/mod.rs"]
mod local;
#[path = "../../functions/emission/tests/support/xray_daemon.rs"]
mod xray_daemon;
mod support {
    pub(crate) use shared::program;
    #[path = "../support/mod.rs"]
    mod shared;
    #[path = "../support/watched.rs"]
    pub(crate) mod watched;
}

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use lambda::invoke_traced;
use local::Caller;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::System;
use support::program;
use support::watched::Watched;
use tempfile::TempDir;
use xray_daemon::{PARENT_ID, TRACE_ID, XrayDaemon, trace};

/// What a function with a Stripe key that is known asks at its start, which is part of
/// no invocation.
const START: [&str; 1] = ["GetItem CustomersTable"];
const STREAM: &str = "POST /v2/billing/meter_event_stream";

/// A system with a customer, an X-Ray daemon, and both ways watched.
struct Place {
    system: System,
    dynamodb: Watched,
    stripe: Watched,
    daemon: XrayDaemon,
    customer_id: String,
    _folder: TempDir,
}

impl Place {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = local::start(folder.path()).await;
        let customer_id = Caller::of(&system).onboard("acme").await;
        Self {
            dynamodb: Watched::start(system.dynamodb_url()),
            stripe: Watched::start(system.stripe_url()),
            system,
            daemon: XrayDaemon::start(),
            customer_id,
            _folder: folder,
        }
    }

    /// A sample event of `events/`.
    fn event(&self, name: &str) -> Value {
        let path = format!("{}/../events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let key = self.system.api_key().expose_secret();
        let event = std::fs::read_to_string(path).unwrap();
        let event = event.replace("$METERLINE_API_KEY", key);
        serde_json::from_str(&event.replace("$CUSTOMER_ID", &self.customer_id)).unwrap()
    }

    /// Gives a function `event`, as an invocation that Lambda has sampled or not.
    async fn invoke(&self, function: &str, event: &Value, sampled: &str) -> Value {
        self.invoke_with(function, event, sampled, &self.daemon.address())
            .await
    }

    async fn invoke_with(
        &self,
        function: &str,
        event: &Value,
        sampled: &str,
        daemon: &str,
    ) -> Value {
        let environment = [
            ("AWS_XRAY_DAEMON_ADDRESS", daemon),
            ("STRIPE_API_BASE", self.stripe.url.as_str()),
            ("STRIPE_METER_EVENTS_BASE", &self.stripe.url),
            (
                "STRIPE_SECRET_KEY",
                self.system.stripe_secret_key().expose_secret(),
            ),
            ("STRIPE_PRICE_LOOKUP_KEY", "agent_operations_monthly"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef"),
            ("DASHBOARD_LINK_SECRET", "a secret of 32 random characters"),
            ("SINGLE_SHARD_STREAM", "true"),
        ];
        let (program, trace) = (program(function), trace(sampled));
        let answered = invoke_traced(
            program.to_str().unwrap(),
            &self.dynamodb.url,
            &environment,
            event,
            Some(&trace),
        );
        answered.await.unwrap()
    }

    /// What was really asked, in the words of [`call`], without what a start asks.
    fn asked(&self, at_the_start: &[&str]) -> Vec<String> {
        let mut asked = self.dynamodb.take_asked();
        assert_eq!(asked[..at_the_start.len()], *at_the_start);
        asked.drain(..at_the_start.len());
        asked.extend(self.stripe.take_asked().iter().map(|it| without_ids(it)));
        asked.sort_unstable();
        asked
    }
}

/// A path's segments that hold what no word does.
fn without_ids(request: &str) -> String {
    let is_id = |segment: &str| {
        segment.starts_with("pm_") || segment.contains(|c: char| c.is_ascii_uppercase() || c == '1')
    };
    let segments = request.split('/').enumerate();
    let segments = segments.map(|(at, segment)| {
        if at > 1 && is_id(segment) {
            "ID"
        } else {
            segment
        }
    });
    segments.collect::<Vec<_>>().join("/")
}

/// What a document is about: `PutItem UsageEventsTable`, `POST /v1/customers/ID`.
fn call(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    if document["namespace"] == "aws" {
        assert_eq!(document["name"], "DynamoDB");
        let table = document["aws"]["table_name"]
            .as_str()
            .unwrap_or("several tables");
        return format!("{} {table}", text(&document["aws"]["operation"]));
    }
    let request = &document["http"]["request"];
    let url = text(&request["url"]);
    let (host, route) = url.trim_start_matches("http://").split_once('/').unwrap();
    assert_eq!(
        (&document["namespace"], &document["name"]),
        (&json!("remote"), &json!(host))
    );
    format!("{} /{route}", text(&request["method"]))
}

fn calls(told: &[Value]) -> Vec<String> {
    let mut calls: Vec<String> = told.iter().map(call).collect();
    calls.sort_unstable();
    calls
}

fn now_s() -> f64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_of_a_sampled_invocation_is_told_and_nothing_of_whom_it_is_about() {
    let place = Place::start().await;
    let onboarding = place.event("onboarding");
    let secret = place.system.api_key().expose_secret().to_owned();
    for (function, event, at_the_start, is_of_stripe) in [
        ("emission", place.event("emission"), &START[..], true),
        ("emission", place.event("emission-batch"), &START, true),
        ("onboarding", onboarding, &START, true),
        ("report", place.event("report"), &START, false),
        ("redelivery", place.event("redelivery"), &START, false),
        ("webhook", place.event("webhook-sweep"), &START, true),
        ("rollup", place.event("rollup"), &[], false),
    ] {
        place.dynamodb.take_asked();
        place.stripe.take_asked();
        let began_s = now_s();
        let answer = place.invoke(function, &event, "1").await;
        let told = place.daemon.told();
        assert_eq!(
            calls(&told),
            place.asked(at_the_start),
            "{function}: {answer}"
        );
        assert!(!told.is_empty(), "{function}");
        let has_stripe = told.iter().any(|it| it["namespace"] == "remote");
        assert!(has_stripe || !is_of_stripe, "{function}");

        let ids: BTreeSet<&str> = told.iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), told.len());
        for document in &told {
            assert_eq!(document["type"], "subsegment");
            assert_eq!(document["trace_id"], TRACE_ID);
            assert_eq!(document["parent_id"], PARENT_ID);
            let times = ["start_time", "end_time"].map(|name| document[name].as_f64().unwrap());
            let in_order = [began_s, times[0], times[1], now_s()];
            assert!(in_order.is_sorted(), "{in_order:?}");
            let text = document.to_string();
            for personal in [
                &place.customer_id,
                "cus_",
                "ada@",
                "sample-",
                "mk_",
                &secret,
            ] {
                assert!(!text.contains(personal), "{text}");
            }
        }
    }
    place.system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_failed_says_how_and_the_one_after_it_that_it_did_not() {
    let place = Place::start().await;
    let record = "PutItem UsageEventsTable";
    let throttled = "com.amazonaws.dynamodb.v20120810#ThrottlingException";
    place
        .dynamodb
        .refuse(record, 400, json!({ "__type": throttled }));
    place.dynamodb.refuse(record, 500, json!({}));
    for (status, kind) in [(503, "api_error"), (429, "rate_limit_error")] {
        let error = json!({ "error": { "type": kind, "message": "later" } });
        place.stripe.refuse(STREAM, status, error);
    }
    let answer = place
        .invoke("emission", &place.event("emission"), "1")
        .await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let told = place.daemon.told();
    let ends_of = |wanted: &str| -> Vec<Value> {
        let of_it = told.iter().filter(|document| call(document) == wanted);
        let end = |document: &Value| {
            json!([
                document["http"]["response"]["status"],
                document["error"],
                document["throttle"],
                document["fault"],
            ])
        };
        of_it.map(end).collect()
    };
    let ended_well = json!([200, null, null, null]);
    assert_eq!(
        ends_of(record),
        [
            json!([400, true, true, null]),
            json!([500, null, null, true]),
            ended_well.clone(),
        ]
    );
    assert_eq!(
        ends_of(STREAM),
        [
            json!([503, null, null, true]),
            json!([429, true, true, null]),
            ended_well,
        ]
    );
    place.system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_told_and_a_daemon_that_is_away_delays_nobody() {
    let place = Place::start().await;
    let event = place.event("emission");
    let emitted = place.invoke("emission", &event, "0").await;
    assert_eq!(emitted["statusCode"], 200, "{emitted}");
    assert_eq!(place.daemon.told(), [Value::Null; 0]);

    // A port where nobody listens, one that cannot be reached, and no address at all.
    let gone = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for daemon in [gone.to_string().as_str(), "240.0.0.1:2000", "nowhere"] {
        let again = place.invoke_with("emission", &event, "1", daemon).await;
        assert_eq!(again["statusCode"], 200, "{daemon}: {again}");
    }
    place.system.stop().await.unwrap();
}
