//! Deliveries to a Stripe that answers as a test says: what it refuses, and how.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use billing::{
    ActionType, BillingTime, Clock, CustomerId, EventId, Quantity, Timestamp, UsageEvent,
    UsageStatus,
};
use ledger::{Recorded, Transition, UsageEventRow};
use metering::{Delivered, Deliverer, Sending};
use serde_json::{Value, json};
use stripe::SecretString;
use tokio::net::TcpListener;

use crate::support::tables::Tables;

const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// What the scripted Stripe does with requests to its meter event stream.
#[derive(Default)]
struct Script {
    /// Requests whose answers are lost, before any other.
    lost: usize,
    /// The status and the code for requests with the event of an identifier.
    guilty: BTreeMap<String, (u16, &'static str)>,
    /// The status, the code and the seconds to wait for every request.
    every: Option<(u16, &'static str, u64)>,
    /// Identifiers that were taken, request by request.
    taken: Vec<Vec<String>>,
    requests: usize,
}

type Shared = Arc<Mutex<Script>>;

struct Story {
    tables: Tables,
    deliverer: Deliverer,
    script: Shared,
}

impl Story {
    async fn start() -> Self {
        let script = Shared::default();
        let router = Router::new()
            .route("/v2/billing/meter_event_session", post(session))
            .route("/v2/billing/meter_event_stream", post(take))
            .with_state(Arc::clone(&script));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = stripe::Config::new(SecretString::from("sk_test_1"))
            .with_api_base(&url)
            .with_meter_events_base(&url)
            .with_retry_delay_ms(1, 1);
        let stripe = stripe::Client::new(config).unwrap();
        let tables = Tables::start().await;
        let clock = Arc::new(StoppedClock);
        Self {
            deliverer: Deliverer::new(tables.ledger.clone(), stripe, clock),
            tables,
            script,
        }
    }

    async fn recorded(&self, count: usize) -> Vec<UsageEventRow> {
        let mut rows = Vec::with_capacity(count);
        for n in 0..count {
            let row = a_row(&format!("job-{n}"), NOW);
            let recorded = self.tables.ledger.record_usage_event(&row, NOW, 0).await;
            assert_eq!(recorded.unwrap(), Recorded::New);
            rows.push(row);
        }
        rows
    }

    /// The first delivery of what was recorded.
    async fn deliver_first(&self, rows: &[UsageEventRow]) -> Vec<Delivered> {
        let sendings: Vec<Sending<'_>> = rows.iter().map(Sending::first).collect();
        let delivered = self.deliverer.send(&sendings).await.each.into_iter();
        delivered.map(|delivery| delivery.outcome).collect()
    }

    fn blame(&self, row: &UsageEventRow, status: u16, code: &'static str) {
        let identifier = row.identifier.as_str().to_owned();
        let mut script = self.script.lock().unwrap();
        script.guilty.insert(identifier, (status, code));
    }

    fn lose_answers(&self, answers: usize) {
        self.script.lock().unwrap().lost = answers;
    }

    fn refuse_every(&self, status: u16, code: &'static str, retry_after_s: u64) {
        self.script.lock().unwrap().every = Some((status, code, retry_after_s));
    }

    async fn row(&self, row: &UsageEventRow) -> UsageEventRow {
        let found = self.tables.ledger.usage_event(&row.identifier).await;
        found.unwrap().unwrap()
    }

    /// Every identifier that was taken, in order.
    fn taken(&self) -> Vec<String> {
        let mut taken = self.script.lock().unwrap().taken.concat();
        taken.sort();
        taken
    }

    fn requests(&self) -> usize {
        self.script.lock().unwrap().requests
    }
}

async fn session() -> Json<Value> {
    Json(json!({
        "id": "mes_1", "object": "v2.billing.meter_event_session", "livemode": false,
        "authentication_token": "token", "created": "2026-01-31T12:00:00Z",
        "expires_at": "2026-01-31T12:15:00Z",
    }))
}

async fn take(State(script): State<Shared>, Json(body): Json<Value>) -> Response {
    let identifiers: Vec<String> = body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["identifier"].as_str().unwrap().to_owned())
        .collect();
    let mut script = script.lock().unwrap();
    script.requests += 1;
    if script.lost > 0 {
        script.lost -= 1;
        // Unwinding ends the connection without an answer, and prints no panic.
        drop(script);
        std::panic::resume_unwind(Box::new(()));
    }
    if let Some((status, code, retry_after_s)) = script.every {
        return refusal(status, code, Some(retry_after_s));
    }
    let guilty = identifiers.iter().find_map(|id| script.guilty.get(id));
    if let Some((status, code)) = guilty {
        return refusal(*status, code, None);
    }
    script.taken.push(identifiers);
    Json(json!({})).into_response()
}

fn refusal(status: u16, code: &str, retry_after_s: Option<u64>) -> Response {
    let body = json!({ "error": {
        "type": "invalid_request_error", "code": code, "message": "Refused.",
    }});
    let retry_after = retry_after_s.unwrap_or_default().to_string();
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("retry-after", retry_after)], Json(body)).into_response()
}

fn a_row(event_id: &str, first_attempt_at: Timestamp) -> UsageEventRow {
    let event = UsageEvent {
        event_id: EventId::parse(event_id).unwrap(),
        customer_id: CustomerId::parse("cus_1").unwrap(),
        subscription_item_id: None,
        quantity: Quantity::new(1).unwrap(),
        action_type: ActionType::parse("document_processed").unwrap(),
        occurred_at: None,
        source: None,
    };
    let billing_time = BillingTime::Billable {
        billed_at: NOW,
        period_start: NOW,
        carried_over: false,
    };
    let token = event_id.to_owned();
    UsageEventRow::new(
        &event,
        NOW,
        billing_time,
        "operations",
        token,
        first_attempt_at,
    )
}

#[tokio::test]
async fn a_hundred_events_are_one_request() {
    let story = Story::start().await;
    let rows = story.recorded(100).await;
    let outcomes = story.deliver_first(&rows).await;
    assert_eq!(outcomes, vec![Delivered::Delivered; 100]);
    assert_eq!((story.requests(), story.taken().len()), (1, 100));
    assert_eq!(story.row(&rows[99]).await.status, UsageStatus::Delivered);
}

#[tokio::test]
async fn guilty_events_are_found_and_rejected_alone() {
    let story = Story::start().await;
    let rows = story.recorded(100).await;
    let guilty = [0, 41, 42, 99];
    for n in guilty {
        story.blame(&rows[n], 400, "meter_event_invalid_value");
    }
    let outcomes = story.deliver_first(&rows).await;
    for (n, (row, outcome)) in rows.iter().zip(&outcomes).enumerate() {
        let stored = story.row(row).await;
        if guilty.contains(&n) {
            let stripe_code = "meter_event_invalid_value".to_owned();
            assert_eq!(stored.stripe_code.as_ref(), Some(&stripe_code));
            assert_eq!(*outcome, Delivered::Rejected { stripe_code });
            assert_eq!(stored.status, UsageStatus::Rejected);
        } else {
            assert_eq!(*outcome, Delivered::Delivered, "{n}");
            assert_eq!(stored.status, UsageStatus::Delivered);
        }
    }
    let mut taken = story.taken();
    taken.dedup();
    assert_eq!(taken.len(), 96);
    // Each guilty one costs at most two requests a halving.
    assert!(story.requests() <= 1 + 4 * 2 * 7, "{}", story.requests());
}

#[tokio::test]
async fn only_codes_that_are_known_to_be_final_reject() {
    for (status, code, is_final) in [
        (400, "meter_event_customer_not_found", true),
        (400, "timestamp_too_far_in_past", true),
        (400, "something_new", false),
        (401, "meter_event_invalid_value", false),
        (403, "meter_event_invalid_value", false),
        (404, "no_meter", false),
        (500, "no_meter", false),
    ] {
        let story = Story::start().await;
        let rows = story.recorded(2).await;
        story.blame(&rows[0], status, code);
        let outcomes = story.deliver_first(&rows).await;
        let stored = story.row(&rows[0]).await;
        let stripe_code = code.to_owned();
        if is_final {
            assert_eq!(outcomes[0], Delivered::Rejected { stripe_code }, "{code}");
            assert_eq!(stored.status, UsageStatus::Rejected);
        } else {
            assert_eq!(outcomes[0], Delivered::Pending, "{status} {code}");
            assert_eq!(stored.status, UsageStatus::Pending);
        }
    }
}

#[tokio::test]
async fn a_wait_beyond_the_budget_is_left_to_redelivery() {
    let story = Story::start().await;
    let rows = story.recorded(1).await;
    story.refuse_every(429, "rate_limit", 3_600);
    let outcomes = story.deliverer.deliver(&rows).await;
    assert_eq!((outcomes, story.requests()), (vec![Delivered::Pending], 1));
}

#[tokio::test]
async fn an_event_past_its_send_window_is_quarantined_and_the_others_go() {
    let story = Story::start().await;
    let mut rows = story.recorded(1).await;
    let old = a_row("old", NOW.plus_ms(-23 * 3_600_000));
    let ledger = &story.tables.ledger;
    ledger.record_usage_event(&old, NOW, 0).await.unwrap();
    rows.insert(0, old);
    let outcomes = story.deliverer.deliver(&rows).await;
    assert_eq!(outcomes, [Delivered::Quarantined, Delivered::Delivered]);
    assert_eq!(story.taken(), [rows[1].identifier.as_str()]);
    assert_eq!(story.row(&rows[0]).await.status, UsageStatus::Quarantined);
}

#[tokio::test]
async fn what_somebody_else_settled_is_told_as_they_settled_it() {
    let story = Story::start().await;
    let rows = story.recorded(3).await;
    let settled = [
        UsageStatus::Delivered,
        UsageStatus::Voiding,
        UsageStatus::Rejected,
    ];
    for (row, to) in rows.iter().zip(settled) {
        let transition = Transition {
            from: UsageStatus::Pending,
            to,
            at: NOW,
            stripe_code: None,
        };
        let ledger = &story.tables.ledger;
        ledger
            .transition_usage_event(&row.identifier, transition)
            .await
            .unwrap();
    }
    let outcomes = story.deliverer.deliver(&rows).await;
    assert_eq!(
        outcomes,
        [
            Delivered::Delivered,
            Delivered::Settled(UsageStatus::Voiding),
            Delivered::Settled(UsageStatus::Rejected),
        ]
    );
}

#[tokio::test]
async fn what_may_have_been_taken_before_is_not_rejected_but_quarantined() {
    let story = Story::start().await;
    let rows = story.recorded(3).await;
    let code = "archived_meter";
    for row in &rows {
        story.blame(row, 400, code);
    }
    // Sent for the second time, by whoever finds it pending.
    let again = story.deliverer.deliver(&rows[..1]).await;
    assert_eq!(again, [Delivered::Quarantined]);
    // The first time, with an answer lost on the way: alone, and in a request of
    // two that is halved.
    for rows in [&rows[1..2], &rows[1..3]] {
        story.lose_answers(1);
        let first = story.deliver_first(rows).await;
        assert_eq!(*first.last().unwrap(), Delivered::Quarantined);
    }
    for row in &rows {
        let stored = story.row(row).await;
        assert_eq!(stored.status, UsageStatus::Quarantined);
        assert_eq!(stored.stripe_code.as_deref(), Some(code));
    }
}

#[tokio::test]
async fn a_delivery_tells_whether_anything_got_through_to_stripe() {
    for (status, code, got_through) in [
        (429, "rate_limit", false),
        (503, "trouble", false),
        (401, "api_key_expired", true),
        (400, "something_new", true),
    ] {
        let story = Story::start().await;
        let rows = story.recorded(2).await;
        story.refuse_every(status, code, 3_600);
        let sendings: Vec<Sending<'_>> = rows.iter().map(Sending::again).collect();
        let deliveries = story.deliverer.send(&sendings).await;
        assert_eq!(deliveries.got_through, got_through, "{status} {code}");
        assert!(
            deliveries
                .each
                .iter()
                .all(|delivery| delivery.outcome == Delivered::Pending)
        );
    }
    let story = Story::start().await;
    let rows = story.recorded(2).await;
    let sendings = [Sending::first(&rows[0]), Sending::first(&rows[1])];
    assert!(story.deliverer.send(&sendings).await.got_through);
    assert!(story.deliverer.send(&[]).await.got_through);
}
