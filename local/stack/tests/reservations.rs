//! Units that are held before they are used: over HTTP, by many agents at once,
//! with the rollup at work beside them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use meterline_cli::Rebuilder;
use serde_json::{Value, json};
use stack::connection::Connection;
use tokio_util::sync::CancellationToken;

use crate::support::{Story, pump_all, settle};

const MINUTE_S: i64 = 60;
const DAY_S: i64 = 24 * 60 * MINUTE_S;
const ACTION: &str = "document_processed";

impl Story {
    /// With a hard limit of `units`.
    async fn limited(units: u64) -> Self {
        let story = Self::start().await;
        story
            .limit(json!({ "units": units, "enforcement": "hard" }))
            .await;
        story
    }

    async fn limit(&self, body: Value) {
        let path = format!("/v1/customers/{}/spending-limit", self.customer_id);
        let (status, answer) = self.caller.put(&path, body).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn reserve(&self, id: &str, quantity: u64) -> (u16, Value) {
        self.reserve_with(id, json!({ "quantity": quantity })).await
    }

    async fn reserve_with(&self, id: &str, mut body: Value) -> (u16, Value) {
        body["reservation_id"] = json!(id);
        body["customer_id"] = json!(self.customer_id);
        body["action_type"] = json!(ACTION);
        self.caller.post("/v1/usage/reservations", body).await
    }

    async fn release(&self, id: &str) -> (u16, Value) {
        let path = format!(
            "/v1/usage/reservations/{id}?customer_id={}",
            self.customer_id
        );
        self.caller.delete(&path).await
    }

    /// What became of the reservation, of an event of `quantity` that names it.
    async fn emit(&self, event_id: &str, quantity: u64, reservation_id: Option<&str>) -> Value {
        let (status, mut answer) = self
            .caller
            .post(
                "/v1/usage",
                json!({
                    "event_id": event_id, "customer_id": self.customer_id, "quantity": quantity,
                    "action_type": ACTION, "reservation_id": reservation_id,
                }),
            )
            .await;
        assert!(matches!(status, 200 | 202), "{answer}");
        answer["reservation"].take()
    }

    /// Used, held and left, as `access` has them.
    async fn standing(&self) -> (u64, u64, u64) {
        let path = format!("/v1/customers/{}/access", self.customer_id);
        let (status, access) = self.caller.get(&path).await;
        assert_eq!(status, 200, "{access}");
        let limit = &access["spending_limit"];
        let of = |name: &str| limit[name].as_u64().unwrap();
        (of("used_units"), of("held_units"), of("left_units"))
    }

    /// At rest, each sum is that of its parts.
    async fn assert_sums_agree(&self) {
        pump_all(&self.system).await;
        let connection = Connection::embedded(self.system.dynamodb_url());
        let ledger = self.system.ledger().clone();
        let rebuilder = Rebuilder::new(ledger, connection.streams_client());
        let rebuilder = rebuilder.with_stream_delay(Duration::ZERO);
        let report = rebuilder.check(|_| {}).await.unwrap();
        let differences: Vec<_> = report.differences.iter().map(ToString::to_string).collect();
        assert_eq!(differences, [""; 0]);
    }
}

#[tokio::test]
async fn units_are_held_until_usage_settles_them() {
    let story = Story::limited(100).await;
    let (status, held) = story.reserve("run-1", 60).await;
    assert_eq!((status, &held["status"]), (201, &json!("held")), "{held}");
    assert_eq!(story.standing().await, (0, 60, 40));
    // The same again is the same one.
    let (status, again) = story.reserve("run-1", 60).await;
    assert_eq!((status, &again["expires_at"]), (200, &held["expires_at"]));
    assert_eq!(story.standing().await, (0, 60, 40));

    let (status, refused) = story.reserve("run-2", 41).await;
    assert_eq!(
        (status, &refused["type"], &refused["left_units"]),
        (
            402,
            &json!("urn:meterline:problem:limit-reached"),
            &json!(40)
        )
    );
    // What was refused may be asked for again, smaller.
    assert_eq!(story.reserve("run-2", 40).await.0, 201);
    let path = format!("/v1/customers/{}/access", story.customer_id);
    assert_eq!(story.caller.get(&path).await.1["allowed"], false);

    // Fewer than were reserved: all of the hold ends, and what was used counts.
    assert_eq!(story.emit("job-1", 50, Some("run-1")).await, "settled");
    // Between the log and the totals it is held, still.
    assert_eq!(story.standing().await, (0, 100, 0));
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (50, 40, 10));
    // More than were reserved, too.
    assert_eq!(story.emit("job-2", 45, Some("run-2")).await, "settled");
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (95, 0, 5));
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_repeat_settles_nothing_twice_and_says_the_same() {
    let story = Story::limited(100).await;
    story.reserve("run-1", 30).await;
    for _ in 0..3 {
        assert_eq!(story.emit("job-1", 30, Some("run-1")).await, "settled");
        pump_all(&story.system).await;
        assert_eq!(story.standing().await, (30, 0, 70));
    }
    // Without the reservation it is the same event.
    assert_eq!(story.emit("job-1", 30, None).await, "settled");
    // Another one cannot settle it again, and is recorded all the same.
    assert_eq!(
        story.emit("job-2", 5, Some("run-1")).await,
        "settled_before"
    );
    assert_eq!(story.emit("job-3", 5, Some("nobodys")).await, "unknown");
    assert_eq!(story.emit("job-4", 5, None).await, Value::Null);
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (45, 0, 55));
    // The id is used up.
    let (status, used_up) = story.reserve("run-1", 30).await;
    assert_eq!(
        (status, &used_up["reservation_status"]),
        (409, &json!("settled"))
    );
    assert_eq!(story.release("run-1").await.1["status"], "settled");
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_given_back_or_expires_may_be_held_by_others() {
    let story = Story::limited(10).await;
    story.reserve("run-1", 10).await;
    for _ in 0..2 {
        let (status, released) = story.release("run-1").await;
        assert_eq!((status, &released["status"]), (200, &json!("released")));
        assert_eq!(story.standing().await, (0, 0, 10));
    }
    assert_eq!(story.emit("job-1", 1, Some("run-1")).await, "released");
    pump_all(&story.system).await;
    let nobody = story.release("nobodys").await;
    assert_eq!(
        (nobody.0, &nobody.1["type"]),
        (404, &json!("urn:meterline:problem:not-found"))
    );

    let short = json!({ "quantity": 9, "expires_in_s": 60 });
    assert_eq!(story.reserve_with("run-2", short).await.0, 201);
    assert_eq!(story.reserve("run-3", 1).await.0, 402);
    story.clock.advance_s(MINUTE_S);
    // Nobody needs to wait for the minute run.
    assert_eq!(story.reserve("run-3", 5).await.0, 201);
    assert_eq!(story.standing().await, (1, 5, 4));
    assert_eq!(story.emit("job-2", 1, Some("run-2")).await, "expired");
    // And it comes in any case.
    story.clock.advance_s(10 * MINUTE_S);
    let report = story.system.redeliver().await.unwrap();
    assert_eq!(report.limits.expired, 1);
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (2, 0, 8));
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_settles_a_reservation_whose_time_is_over_as_long_as_nobody_ended_it() {
    let story = Story::limited(10).await;
    story
        .reserve_with("run-1", json!({ "quantity": 10, "expires_in_s": 1 }))
        .await;
    story.clock.advance_s(MINUTE_S);
    assert_eq!(story.emit("job-1", 10, Some("run-1")).await, "settled");
    assert_eq!(story.system.redeliver().await.unwrap().limits.expired, 0);
    assert_eq!(story.reserve("run-2", 1).await.0, 402);
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (10, 0, 0));
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_hold_belongs_to_its_period_and_its_usage_to_that_in_which_it_is_billed() {
    let story = Story::limited(10).await;
    story.reserve("run-1", 10).await;
    story.clock.advance_s(32 * DAY_S);
    settle(&story.system).await;
    // The new period has its own.
    assert_eq!(story.standing().await, (0, 0, 10));
    assert_eq!(story.emit("job-1", 4, Some("run-1")).await, "settled");
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (4, 0, 6));
    assert_eq!(story.reserve("run-2", 7).await.0, 402);
    assert_eq!(story.reserve("run-2", 6).await.0, 201);
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_in_money_holds_what_the_units_would_cost() {
    let story = Story::start().await;
    // Two cents a unit.
    story
        .limit(json!({ "amount": "1.00", "enforcement": "hard" }))
        .await;
    assert_eq!(story.reserve("run-1", 30).await.0, 201);
    let (status, refused) = story.reserve("run-2", 21).await;
    assert_eq!((status, &refused["left_amount"]), (402, &json!("0.40")));
    assert_eq!(story.reserve("run-2", 20).await.0, 201);
    story.emit("job-1", 10, Some("run-1")).await;
    pump_all(&story.system).await;
    assert_eq!(story.reserve("run-3", 21).await.0, 402);
    assert_eq!(story.reserve("run-3", 20).await.0, 201);
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn more_reservations_expire_in_a_minute_than_a_page_lists() {
    let story = Story::limited(130).await;
    for n in 0..130 {
        let body = json!({ "quantity": 1, "expires_in_s": 1 });
        assert_eq!(story.reserve_with(&format!("run-{n}"), body).await.0, 201);
    }
    assert_eq!(story.reserve("one-more", 1).await.0, 402);
    story.clock.advance_s(60);
    let report = story.system.redeliver().await.unwrap().limits;
    assert_eq!((report.expired, report.failed), (130, 0));
    assert_eq!(story.standing().await, (0, 0, 130));
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_hard_limit_everything_is_held_and_counts_once_there_is_one() {
    let story = Story::start().await;
    assert_eq!(story.reserve("run-1", 500).await.0, 201);
    story
        .limit(json!({ "units": 600, "enforcement": "soft" }))
        .await;
    assert_eq!(story.reserve("run-2", 500).await.0, 201);
    story
        .limit(json!({ "units": 1_200, "enforcement": "hard" }))
        .await;
    assert_eq!(story.standing().await, (0, 1_000, 200));
    assert_eq!(story.reserve("run-3", 201).await.0, 402);
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_batch_settles_each_reservation_that_its_events_name() {
    let story = Story::limited(100).await;
    story.reserve("run-1", 10).await;
    story.reserve("run-2", 10).await;
    let event = |id: &str, reservation_id: Option<&str>| {
        json!({
            "event_id": id, "customer_id": story.customer_id, "quantity": 7,
            "action_type": ACTION, "reservation_id": reservation_id,
        })
    };
    let events = [
        event("a", Some("run-1")),
        event("b", Some("run-2")),
        event("c", Some("run-2")),
        event("d", None),
        event("e", Some("a b")),
    ];
    let batch = json!({ "events": events });
    let (status, answer) = story.caller.post("/v1/usage/batch", batch).await;
    assert_eq!(status, 200, "{answer}");
    let of = |n: usize| answer["results"][n]["reservation"].clone();
    assert_eq!(of(0), "settled");
    // Of two that name the same one, one settles it.
    let two = [of(1), of(2)];
    assert!(two.contains(&json!("settled")) && two.contains(&json!("settled_before")));
    assert_eq!(of(3), Value::Null);
    assert_eq!(answer["results"][4]["error"]["field"], "reservation_id");
    pump_all(&story.system).await;
    assert_eq!(story.standing().await, (28, 0, 72));
    story.assert_sums_agree().await;
    story.system.stop().await.unwrap();
}

/// What one agent does until it is refused.
async fn act(story: &Story, agent: usize, units: u64) -> u64 {
    let mut used = 0;
    for round in 0.. {
        let id = format!("agent-{agent}-{round}");
        let (status, answer) = story.reserve(&id, units).await;
        match status {
            402 => break,
            // Too many at once: nothing is held by it.
            503 => continue,
            _ => assert_eq!(status, 201, "{answer}"),
        }
        match (agent + round) % 5 {
            // Some change their mind, and some use less than they held.
            0 => drop(story.release(&id).await),
            1 => {
                assert_eq!(story.emit(&id, 1, Some(&id)).await, "settled");
                used += 1;
            }
            _ => {
                assert_eq!(story.emit(&id, units, Some(&id)).await, "settled");
                used += units;
            }
        }
        // Whoever only gives back would never end.
        if round > 30 {
            break;
        }
    }
    used
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_agents_at_once_do_not_overrun_a_hard_limit() {
    const LIMIT: u64 = 300;
    let story = Arc::new(Story::limited(LIMIT).await);
    let over = CancellationToken::new();
    let rolling_up = async {
        while !over.is_cancelled() {
            story.system.pump_stream().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let acting = async {
        let agents = (0..100).map(|agent| {
            let story = Arc::clone(&story);
            tokio::spawn(async move { act(&story, agent, 1 + agent as u64 % 3).await })
        });
        let used = join_all(agents).await;
        over.cancel();
        used.into_iter().map(Result::unwrap).sum::<u64>()
    };
    let ((), used) = tokio::join!(rolling_up, acting);
    story.assert_sums_agree().await;
    let (counted, held, left) = story.standing().await;
    assert_eq!((counted, held), (used, 0));
    assert!(used <= LIMIT, "{used} units of {LIMIT} were used");
    // Nothing of it is lost: what is left can be held, and no more.
    assert_eq!(left, LIMIT - used);
    assert_eq!(story.reserve("too-much", left + 1).await.0, 402);
    if left > 0 {
        assert_eq!(story.reserve("the-rest", left).await.0, 201);
    }
    println!("100 agents used {used} units of {LIMIT}");
    let story = Arc::into_inner(story).unwrap();
    story.system.stop().await.unwrap();
}
