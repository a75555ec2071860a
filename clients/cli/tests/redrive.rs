//! What was given up, sent again on the operator's word.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use billing::{CustomerId, HeldReason, Timestamp, UsageStatus};
use metering::{Delivered, Prospect, Redriven};
use serde_json::{Value, json};
use stripe::UsageApi;

use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::{DAY_S, Story};

impl Story {
    /// One batch of single units that Stripe does not take.
    async fn emit_many_in_vain(&self, name: &str, count: u64) {
        let event = |number: u64| {
            json!({
                "event_id": format!("{name}-{number}"), "customer_id": self.customer_id,
                "quantity": 1, "action_type": "document_processed",
            })
        };
        let events: Vec<_> = (0..count).map(event).collect();
        self.strike("error_before").await;
        let batch = json!({ "events": events });
        let (status, answer) = self.caller.post("/v1/usage/batch", batch).await;
        assert_eq!(
            (status, &answer["pending"]),
            (200, &json!(count)),
            "{answer}"
        );
        self.heal().await;
    }

    /// The customer's subscription is to end at `ends_at`, as far as is known.
    async fn end_subscription(&self, ends_at: Option<Timestamp>) {
        let ledger = self.system.ledger();
        let read = ledger.customer(&self.customer_id).await.unwrap().unwrap();
        let mut row = read.clone();
        row.subscription_ends_at = ends_at;
        ledger.update_customer(&read, row).await.unwrap();
        // What is remembered of a customer is forgotten.
        self.clock.advance_s(60);
    }
}

fn is_delivered(redriven: &Redriven) -> bool {
    matches!(redriven, Redriven::Sent(Delivered::Delivered))
}

#[tokio::test]
async fn quarantined_and_rejected_events_are_sent_in_a_window_of_their_own() {
    let story = Story::start().await;
    story.emit_in_vain("quarantined", 5, "error_before").await;
    story.emit_in_vain("rejected", 7, "error_before").await;
    story
        .move_row("rejected", UsageStatus::Pending, UsageStatus::Rejected)
        .await;
    story.quarantine_what_is_pending().await;
    for event_id in ["quarantined", "rejected"] {
        let before = story.row(event_id).await;
        let redriven = story.redrive(event_id).await;
        assert!(is_delivered(&redriven), "{redriven:?}");
        let row = story.row(event_id).await;
        assert_eq!(row.status, UsageStatus::Delivered);
        assert_eq!(row.first_attempt_at, story.now());
        assert_eq!(row.billed_at, before.billed_at);
        let again = story.redrive(event_id).await;
        assert!(
            matches!(
                again,
                Redriven::Left(Prospect::NotGivenUp(UsageStatus::Delivered))
            ),
            "{again:?}"
        );
        // As it was listed before: somebody has been faster.
        let stale = story.redriver().redrive(&[before]).await;
        assert!(matches!(stale[0], Redriven::Changed), "{stale:?}");
    }
    assert_eq!(story.in_stripe().await, (2, 12));
    story.pump().await;
    assert_eq!(story.totals().await, (12, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn in_a_long_period_what_is_older_than_stripe_takes_is_billed_now() {
    let mut story = Story::start().await;
    story.sell_by_the_year().await;
    let onboarded = story.caller.onboard("by the year").await;
    story.customer_id = CustomerId::parse(&onboarded).unwrap();
    story.emit_in_vain("old", 5, "error_before").await;
    story.quarantine_what_is_pending().await;
    story.clock.advance_s(50 * DAY_S);
    let redriven = story.redrive("old").await;
    assert!(is_delivered(&redriven), "{redriven:?}");
    let (row, customer) = (story.row("old").await, story.customer().await);
    assert_eq!(row.billed_at, Some(story.now()));
    assert_eq!(row.period_start, Some(customer.period_start));
    assert!(row.occurred_at >= customer.period_start && row.carried_over);
    assert_eq!(story.in_stripe().await, (1, 5));
    story.pump().await;
    assert_eq!(story.totals().await, (5, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_held_event_is_billed_once_it_has_a_period() {
    let story = Story::start().await;
    story.end_subscription(Some(story.now())).await;
    assert_eq!(story.emit("held", 5).await, "held");
    let left = story.redrive("held").await;
    assert!(
        matches!(
            left,
            Redriven::Left(Prospect::Held(HeldReason::AfterSubscription))
        ),
        "{left:?}"
    );
    story.end_subscription(None).await;
    let redriven = story.redrive("held").await;
    assert!(is_delivered(&redriven), "{redriven:?}");
    let row = story.row("held").await;
    assert_eq!(
        (row.billed_at, row.held_reason),
        (Some(row.occurred_at), None)
    );
    assert_eq!(story.in_stripe().await, (1, 5));
    story.pump().await;
    assert_eq!(story.totals().await, (5, 0));
    let held = story.system.ledger().held_totals(&story.customer_id).await;
    let held: u64 = held
        .unwrap()
        .iter()
        .map(|it| it.tally.units(UsageStatus::Held))
        .sum();
    assert_eq!(held, 0);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_from_before_the_subscription_stays_held() {
    let story = Story::start().await;
    let before = story.now().plus_ms(-2 * DAY_S * 1_000);
    let event = json!({
        "event_id": "held", "customer_id": story.customer_id, "quantity": 5,
        "action_type": "document_processed", "occurred_at": before.to_string(),
    });
    story.caller.post("/v1/usage", event).await;
    let left = story.redrive("held").await;
    assert!(
        matches!(
            left,
            Redriven::Left(Prospect::Held(HeldReason::BeforeSubscription))
        ),
        "{left:?}"
    );
    assert_eq!(story.row("held").await.status, UsageStatus::Held);
    story.system.stop().await.unwrap();
}

/// More events than a redrive has polls.
const EVENTS: u64 = 60;

#[tokio::test]
async fn cut_off_anywhere_redelivery_ends_a_redrive() {
    let story = Story::start().await;
    story.emit_many_in_vain("job", EVENTS).await;
    let mut polls = 0;
    let redriven = loop {
        let event_id = format!("job-{polls}");
        story
            .move_row(&event_id, UsageStatus::Pending, UsageStatus::Rejected)
            .await;
        let row = story.row(&event_id).await;
        let rows = [row];
        let redriver = story.redriver();
        let mut redriving = pin!(redriver.redrive(&rows));
        let mut left = polls;
        polls += 1;
        let ended = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            redriving.as_mut().poll(context).map(Some)
        });
        if let Some(outcomes) = ended.await {
            break outcomes;
        }
    };
    assert!(
        polls > 3 && is_delivered(&redriven[0]),
        "{polls} {redriven:?}"
    );
    story.pump().await;
    story.clock.advance_s(120);
    story.system.redeliver().await.unwrap();
    story.pump().await;
    for number in 0..EVENTS {
        let event_id = format!("job-{number}");
        if story.row(&event_id).await.status == UsageStatus::Rejected {
            // It was cut off before it began.
            assert!(is_delivered(&story.redrive(&event_id).await));
        }
        assert_eq!(story.row(&event_id).await.status, UsageStatus::Delivered);
    }
    assert_eq!(story.in_stripe().await, (EVENTS, EVENTS));
    story.pump().await;
    assert_eq!(story.totals().await, (EVENTS, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_stripe_has_is_noted_and_not_sent() {
    let story = Story::start().await;
    // Stripe counts it, and its answer is lost.
    story.strike("lose_answer").await;
    assert_eq!(story.emit("taken", 5).await, "pending");
    story.heal().await;
    assert_eq!(story.in_stripe().await, (1, 5));
    story.quarantine_what_is_pending().await;
    let before = story.row("taken").await;
    let note = async |row| story.redriver().note_in_stripe(&[row]).await.pop().unwrap();
    assert!(matches!(note(before.clone()).await, Redriven::Noted));
    assert_eq!(story.row("taken").await.status, UsageStatus::Delivered);
    assert_eq!(story.in_stripe().await, (1, 5));

    // As it was listed before: somebody has been faster.
    assert!(matches!(note(before).await, Redriven::Changed));
    let again = note(story.row("taken").await).await;
    let delivered = Prospect::NotGivenUp(UsageStatus::Delivered);
    assert!(matches!(again, Redriven::Left(left) if left == delivered));
    story.pump().await;
    assert_eq!(story.totals().await, (5, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rejected_event_that_stripe_has_is_noted_and_a_held_one_never_is() {
    let story = Story::start().await;
    // Stripe counts it, and a report of another sending came after.
    assert_eq!(story.emit("taken", 5).await, "delivered");
    story
        .move_row("taken", UsageStatus::Delivered, UsageStatus::Rejected)
        .await;
    let customer_id = story.customer_id.to_string();
    let of = |status| {
        [
            "redrive",
            "--customer",
            &customer_id,
            "--yes",
            "--in-stripe",
            "--status",
            status,
        ]
    };
    let (status, out, err) = story.meterline(&of("rejected")).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(out.ends_with("noted as delivered\n"), "{out}");
    let row = story.row("taken").await;
    assert_eq!(
        (row.status, row.stripe_code),
        (UsageStatus::Delivered, None)
    );
    assert_eq!(story.in_stripe().await, (1, 5));
    story.pump().await;
    assert_eq!(story.totals().await, (5, 0));
    let (status, _, err) = story.meterline(&of("held")).await;
    assert_ne!(status, Some(0), "{err}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_carried_over_is_not_noted_in_a_period_that_may_be_the_wrong_one() {
    let story = Story::start().await;
    story.emit_in_vain("late", 5, "error_before").await;
    story.quarantine_what_is_pending().await;
    let mut row = story.row("late").await;
    row.told_at.push(row.occurred_at);
    let noted = story.redriver().note_in_stripe(&[row]).await;
    assert!(matches!(noted[0], Redriven::Left(Prospect::CarriedOver)));
    assert_eq!(story.row("late").await.status, UsageStatus::Quarantined);
    story.system.stop().await.unwrap();
}

fn is_without_item(redriven: &Redriven) -> bool {
    let held = Prospect::Held(HeldReason::NoSubscriptionItem);
    matches!(redriven, Redriven::Left(left) if *left == held)
}

#[tokio::test]
async fn an_event_without_an_item_is_sent_once_its_customer_has_one() {
    for usage_api in UsageApi::ALL {
        let story = Story::with_usage_api(usage_api).await;
        story.sell_tokens().await;
        assert_eq!(story.emit_tokens("held", 700).await, "held");
        let left = story.redrive("held").await;
        assert!(is_without_item(&left), "{usage_api}: {left:?}");
        assert_eq!(story.row("held").await.status, UsageStatus::Held);

        story.subscribe_to_tokens().await;
        let redriven = story.redrive("held").await;
        assert!(is_delivered(&redriven), "{usage_api}: {redriven:?}");
        let row = story.row("held").await;
        assert_eq!((row.held_reason, &*row.meter_event_name), (None, TOKENS));
        assert_eq!(story.units_of(TOKENS).await, 700, "{usage_api}");
        assert_eq!(story.units_of(DOCUMENTS).await, 0, "{usage_api}");
        story.pump().await;
        assert_eq!(story.totals().await, (700, 0));
        story.system.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_list_names_the_meter_and_what_a_held_event_waits_for() {
    let story = Story::start().await;
    story.sell_tokens().await;
    assert_eq!(story.emit_tokens("held", 700).await, "held");
    let customer_id = &story.customer_id;
    let list = ["redrive", "--status", "held"];
    let (status, out, err) = story.meterline(&list).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let line = format!(
        "{customer_id}  \"held\"  700 llm_tokens  held: no_subscription_item: its customer has no \
         item of the meter that counts llm.output; run `meterline catalog subscribe --customer \
         {customer_id}`, then this again\n"
    );
    assert_eq!(out, line);

    story.subscribe_to_tokens().await;
    let (status, out, err) = story.meterline(&[&list[..], &["--json"]].concat()).await;
    assert_eq!(status, Some(0), "{out}{err}");
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["meter_event_name"], TOKENS);
    let outcome = line["outcome"].as_str().unwrap();
    assert!(outcome.contains("billed at"), "{outcome}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rejected_event_follows_the_catalog_of_today_and_a_quarantined_one_keeps_its_meter() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    for event_id in ["rejected", "quarantined"] {
        story.emit_in_vain(event_id, 5, "error_before").await;
    }
    story
        .move_row("rejected", UsageStatus::Pending, UsageStatus::Rejected)
        .await;
    story.quarantine_what_is_pending().await;
    // Documents are counted as tokens from now on.
    story
        .store_catalog(&[(TOKENS, "document_processed"), (DOCUMENTS, "llm.*")])
        .await;
    for (event_id, meter) in [("rejected", TOKENS), ("quarantined", DOCUMENTS)] {
        let redriven = story.redrive(event_id).await;
        assert!(is_delivered(&redriven), "{redriven:?}");
        assert_eq!(story.row(event_id).await.meter_event_name, meter);
        assert_eq!(story.units_of(meter).await, 5, "{event_id}");
    }
    story.pump().await;
    assert_eq!(story.totals().await, (10, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_quarantined_event_of_a_removed_item_is_not_sent() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.strike("error_before").await;
    assert_eq!(story.emit_tokens("quarantined", 5).await, "pending");
    story.heal().await;
    story.quarantine_what_is_pending().await;
    story.unsubscribe_from_tokens().await;
    let left = story.redrive("quarantined").await;
    assert!(is_without_item(&left), "{left:?}");
    let row = story.row("quarantined").await;
    assert_eq!(row.status, UsageStatus::Quarantined);
    assert_eq!(story.in_stripe().await, (0, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_usage_record_of_before_the_catalog_is_sent_to_the_item_that_its_row_names() {
    use UsageStatus::{Delivered, Pending, Quarantined};
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    for event_id in ["quarantined", "pending"] {
        assert_eq!(story.emit(event_id, 5).await, "delivered");
    }
    story.move_row("quarantined", Delivered, Quarantined).await;
    story.move_row("pending", Delivered, Pending).await;
    story.pump().await;
    // The catalog gives a name to the usage of the item.
    story.sell_tokens().await;
    story.subscribe_to_tokens().await;

    let row = story.row("quarantined").await;
    let Prospect::Send(billing) = story.redriver().prospect(&row).await.unwrap() else {
        panic!("it is not to be sent");
    };
    assert_eq!(billing.meter_event_name, DOCUMENTS);
    // Stripe knows its key, and counts it once.
    let redriven = story.redrive("quarantined").await;
    assert!(is_delivered(&redriven), "{redriven:?}");
    story.clock.advance_s(120);
    story.system.redeliver().await.unwrap();
    assert_eq!(story.row("pending").await.status, Delivered);
    assert_eq!(story.units_of(DOCUMENTS).await, 10);
    story.system.stop().await.unwrap();
}
