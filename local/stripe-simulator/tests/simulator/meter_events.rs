//! What meters take, count and refuse.

use reqwest::Method;
use serde_json::json;

use crate::support::{DAY, HOUR, START, Stripe, Subscriber, client, event, send};

const V1: &str = "/v1/billing/meter_events";

fn v1<'a>(identifier: &'a str, customer: &'a str, timestamp: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("event_name", "documents"),
        ("identifier", identifier),
        ("timestamp", timestamp),
        ("payload[stripe_customer_id]", customer),
        ("payload[value]", "1"),
    ]
}

#[tokio::test]
async fn an_identifier_counts_once_whichever_way_it_came() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let now = START.to_string();
    let taken = stripe.post(V1, &v1("one", &ada.customer, &now)).await.ok();
    assert_eq!(taken["object"], "billing.meter_event");
    assert_eq!(taken["identifier"], "one");

    let repeat = stripe.post(V1, &v1("one", &ada.customer, &now)).await;
    assert_eq!(repeat.header("stripe-should-retry"), Some("false"));
    let refusal = repeat.refused(400);
    assert_eq!(refusal["type"], "invalid_request_error");
    let message = "An event already exists with identifier one.";
    assert_eq!(refusal["message"], message);

    let repeat = event("one", &ada.customer, "50", 0);
    let refusal = stripe.post_json("/v2/billing/meter_events", &repeat).await;
    assert_eq!(refusal.refused(400)["message"], message);
    // The stream takes it and does not count it.
    let token = stripe.session().await;
    let twice = event("two", &ada.customer, "10", 0);
    stripe
        .stream(&token, &[repeat, twice.clone(), twice])
        .await
        .ok();
    stripe.settle().await;
    assert_eq!(ada.counted(&stripe).await, 11);
    let path = format!("/_simulator/meter_events?customer={}", ada.customer);
    let held = stripe.get(&path).await;
    assert_eq!((&held["count"], &held["value"]), (&json!(2), &json!(11)));
}

#[tokio::test]
async fn a_burst_counts_each_identifier_once() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    // Forty requests at once, each identifier in four of them.
    let requests = (0..40).map(|request| {
        let usage: Vec<_> = (0..25)
            .map(|index| event(&format!("{}-{index}", request % 10), &ada.customer, "1", 0))
            .collect();
        let (stripe, token) = (&stripe, &token);
        async move { stripe.stream(token, &usage).await.ok() }
    });
    futures_util::future::join_all(requests).await;
    assert_eq!(stripe.settle().await["aggregated"], 250);
    assert_eq!(ada.counted(&stripe).await, 250);
}

#[tokio::test]
async fn v1_takes_one_call_at_a_time_per_customer_and_meter() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let fault = json!({ "path_prefix": V1, "kind": "delay_ms", "delay_ms": 600_000 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let now = START.to_string();
    let (one, two) = (
        v1("one", &ada.customer, &now),
        v1("two", &ada.customer, &now),
    );
    let story = async {
        // The first call is under way once the fault has struck it.
        while stripe.get("/_simulator/faults").await["data"][0]["struck"] == 0 {}
        stripe.post(V1, &two).await.refused(429);
        stripe
            .post(V1, &v1("three", "cus_other", &now))
            .await
            .refused(400);
    };
    tokio::select! {
        answer = stripe.post(V1, &one) => panic!("answered {answer:?}"),
        () = story => {}
    }
}

#[tokio::test]
async fn an_identifier_is_forgotten_after_a_day() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let now = START.to_string();
    stripe.post(V1, &v1("one", &ada.customer, &now)).await.ok();
    stripe.clock.pass(DAY - 1);
    stripe
        .post(V1, &v1("one", &ada.customer, &now))
        .await
        .refused(400);
    stripe.clock.pass(1);
    stripe.post(V1, &v1("one", &ada.customer, &now)).await.ok();
    stripe.settle().await;
    assert_eq!(ada.counted(&stripe).await, 2);
}

#[tokio::test]
async fn timestamps_are_at_most_35_days_old_and_5_minutes_ahead() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    for (offset, code) in [
        (-35 * DAY, None),
        (-35 * DAY - 1, Some("timestamp_too_far_in_past")),
        (300, None),
        (301, Some("timestamp_in_future")),
    ] {
        let identifier = format!("at {offset}");
        let timestamp = (START + offset).to_string();
        let answer = stripe
            .post(V1, &v1(&identifier, &ada.customer, &timestamp))
            .await;
        match code {
            None => assert_eq!(answer.status, 200, "{offset}"),
            Some(code) => assert_eq!(answer.refused(400)["code"], code),
        }
    }
}

#[tokio::test]
async fn the_validating_ways_say_what_is_wrong() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let mut unknown = event("a", &ada.customer, "1", 0);
    unknown["event_name"] = json!("unheard_of");
    let nobody = event("b", "cus_nobody", "1", 0);
    let fraction = event("c", &ada.customer, "1.5", 0);
    let long = event("d", &ada.customer, "1234567890123456", 0);
    for (wrong, code) in [
        (unknown, "no_meter"),
        (nobody, "resource_missing"),
        (fraction, "meter_event_invalid_value"),
        (long, "meter_event_value_too_many_digits"),
    ] {
        let refused = stripe.post_json("/v2/billing/meter_events", &wrong).await;
        assert_eq!(refused.refused(400)["code"], code);
    }
    let identifier = "x".repeat(101);
    let wrong = event(&identifier, &ada.customer, "1", 0);
    let token = stripe.session().await;
    stripe.stream(&token, &[wrong]).await.refused(400);
}

#[tokio::test]
async fn a_session_is_good_for_fifteen_minutes_and_opens_the_stream_only() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [event("one", &ada.customer, "1", 0)];
    stripe.clock.pass(15 * 60 - 1);
    stripe.stream(&token, &usage).await.ok();
    stripe.clock.pass(1);
    let expired = "billing_meter_event_session_expired";
    assert_eq!(
        stripe.stream(&token, &usage).await.refused(401)["code"],
        expired
    );
    let unknown = stripe.stream("sk_test_meterline", &usage).await;
    assert_eq!(unknown.refused(401)["code"], expired);

    let token = stripe.session().await;
    let elsewhere = client()
        .get(format!("{}/v1/account", stripe.url))
        .bearer_auth(&token);
    send(elsewhere).await.refused(401);
    let too_many = vec![event("many", &ada.customer, "1", 0); 101];
    stripe.stream(&token, &too_many).await.refused(400);
    stripe.stream(&token, &[]).await.refused(400);
}

#[tokio::test]
async fn a_cancelled_event_counts_no_more_but_only_within_a_day() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [
        event("one", &ada.customer, "1", 0),
        event("two", &ada.customer, "2", 0),
    ];
    stripe.stream(&token, &usage).await.ok();
    stripe.settle().await;
    let cancel = |identifier| {
        [
            ("type", "cancel"),
            ("event_name", "documents"),
            ("cancel[identifier]", identifier),
        ]
    };
    let path = "/v1/billing/meter_event_adjustments";
    stripe.post(path, &cancel("one")).await.ok();
    assert_eq!(ada.counted(&stripe).await, 2);
    stripe.post(path, &cancel("nobody's")).await.refused(400);
    stripe.clock.pass(DAY + 1);
    stripe.post(path, &cancel("two")).await.refused(400);
    assert_eq!(ada.counted(&stripe).await, 2);
}

#[tokio::test]
async fn summaries_lie_on_minutes_or_on_windows() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let token = stripe.session().await;
    let usage = [
        event("one", &ada.customer, "1", -HOUR),
        event("two", &ada.customer, "2", -HOUR + 59),
        event("three", &ada.customer, "3", 0),
        event("four", &ada.customer, "4", -DAY),
    ];
    stripe.stream(&token, &usage).await.ok();
    stripe.settle().await;
    let path = |start: i64, end: i64, window: &str| {
        format!(
            "/v1/billing/meters/{}/event_summaries?customer={}&start_time={start}&end_time={end}{window}",
            ada.meter, ada.customer
        )
    };
    let values = async |path: &str| -> Vec<(i64, i64)> {
        let list = stripe.get(path).await;
        let of = |summary: &serde_json::Value| {
            let start = summary["start_time"].as_i64().unwrap() - START;
            (start, summary["aggregated_value"].as_i64().unwrap())
        };
        list["data"].as_array().unwrap().iter().map(of).collect()
    };
    let whole = path(START - HOUR, START, "");
    assert_eq!(
        values(&whole).await,
        [(-HOUR, 3)],
        "the end is not part of it"
    );
    let hours = path(START - HOUR, START + HOUR, "&value_grouping_window=hour");
    assert_eq!(values(&hours).await, [(0, 3), (-HOUR, 3)]);
    // The clock stands at noon.
    let days = path(
        START - 36 * HOUR,
        START + 12 * HOUR,
        "&value_grouping_window=day",
    );
    assert_eq!(values(&days).await, [(-12 * HOUR, 6), (-36 * HOUR, 4)]);
    for wrong in [
        path(START + 1, START + 60, ""),
        path(START, START + 60, "&value_grouping_window=hour"),
        path(START, START, ""),
    ] {
        send(stripe.request(Method::GET, &wrong)).await.refused(400);
    }
}
