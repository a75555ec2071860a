//! Usage that is taken back: in every state, by every way, cut off anywhere.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use billing::{CustomerId, Timestamp, UsageStatus};
use metering::{CreditError, Found, Void, VoidError};
use serde_json::json;

use crate::story::{DAY_S, HOUR_S, MINUTE_S, Story, findings};

impl Story {
    /// From now on it is about another customer, whose first `days` are free.
    async fn onboard_in_trial(&mut self, days: u32) {
        let body = json!({
            "email": "trial@example.com", "external_id": "trial",
            "payment_method": "pm_card_visa", "trial_period_days": days,
        });
        let (status, answer) = self.caller.post("/v1/customers", body).await;
        assert_eq!(status, 201, "{answer}");
        let customer_id = answer["customer_id"].as_str().unwrap();
        self.customer_id = CustomerId::parse(customer_id).unwrap();
    }

    /// One batch of events that are named by their numbers.
    async fn emit_many(&self, name: &str, count: u32, quantity: u64) {
        let event = |number: u32| {
            json!({
                "event_id": format!("{name}-{number}"), "customer_id": self.customer_id,
                "quantity": quantity, "action_type": "document_processed",
            })
        };
        let events: Vec<_> = (0..count).map(event).collect();
        let batch = json!({ "events": events });
        let (status, answer) = self.caller.post("/v1/usage/batch", batch).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// One batch of single units, of which Stripe's answer is lost.
    async fn emit_many_unanswered(&self, name: &str, count: u32) {
        self.strike("lose_answer").await;
        self.emit_many(name, count, 1).await;
        self.heal().await;
    }

    /// Until `seconds` before the end of the customer's period.
    async fn advance_to_before_the_end(&self, seconds: i64) {
        let period_end = self.customer().await.period_end;
        let left_s = period_end.ms_since(self.now()) / 1_000;
        self.clock.advance_s(left_s - seconds);
    }

    /// Two hours, in which the period ends and its invoice becomes a draft, and three in
    /// which that is final.
    async fn end_period_in_hours(&self) {
        for seconds in [2 * HOUR_S + 60, 90 * MINUTE_S, 90 * MINUTE_S] {
            self.clock.advance_s(seconds);
            self.settle().await;
        }
    }

    /// What the customer's invoices come to, without what is a draft still.
    async fn invoiced(&self) -> i64 {
        let stripe = self.system.stripe();
        let invoices = stripe.list_all_invoices(self.customer_id.as_str()).await;
        let invoices = invoices.unwrap().into_iter();
        let is_final = |it: &stripe::Invoice| it.status_transitions.finalized_at.is_some();
        invoices.filter(is_final).map(|it| it.total).sum()
    }

    async fn summed_by_stripe(&self) -> i64 {
        self.settle().await;
        let customer = self.system.ledger().customer(&self.customer_id).await;
        let customer = customer.unwrap().unwrap();
        let window = stripe::ListMeterEventSummaries {
            customer: self.customer_id.to_string(),
            start_time: customer.period_start.unix_s() / 60 * 60,
            end_time: customer.period_end.unix_s() / 60 * 60,
            value_grouping_window: None,
        };
        let stripe = self.system.stripe();
        let summaries = stripe.list_meter_event_summaries(&customer.item.meter_id, &window);
        summaries
            .await
            .unwrap()
            .iter()
            .map(|it| it.aggregated_value)
            .sum()
    }
}

/// Polls `future` so many times, then drops it, as a crash would.
async fn cut_off<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_delivered_event_is_cancelled_and_stays_voided() {
    let story = Story::start().await;
    story.emit("kept", 3).await;
    story.emit("wrong", 5).await;
    assert_eq!(story.void("wrong").await.unwrap(), Void::Cancelled);
    assert_eq!(story.void("wrong").await.unwrap(), Void::Before);
    let history: Vec<_> = story
        .row("wrong")
        .await
        .history
        .iter()
        .map(|it| it.status)
        .collect();
    use UsageStatus::{Delivered, Pending, Voided, Voiding};
    assert_eq!(history, [Pending, Delivered, Voiding, Voided]);
    assert_eq!(story.in_stripe().await, (1, 3));
    assert_eq!(story.summed_by_stripe().await, 3);
    story.pump().await;
    assert_eq!(story.totals().await, (3, 0));
    let event = json!({
        "event_id": "wrong", "customer_id": story.customer_id, "quantity": 5,
        "action_type": "document_processed",
    });
    let (status, _) = story.caller.post("/v1/usage", event).await;
    assert_eq!(status, 409);
    assert!(story.credits().await.is_empty());
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_pending_event_is_cancelled_whether_stripe_has_it_or_not() {
    let story = Story::start().await;
    for kind in ["error_before", "lose_answer"] {
        story.emit_in_vain(kind, 5, kind).await;
        assert_eq!(story.void(kind).await.unwrap(), Void::Cancelled);
    }
    story.pump().await;
    story.clock.advance_s(120);
    // Redelivery has nothing to send, and a late sender's would be a repeat.
    let report = story.system.redeliver().await.unwrap();
    assert_eq!(report.delivered, 0, "{report:?}");
    assert_eq!(story.in_stripe().await, (0, 0));
    assert_eq!(story.totals().await, (0, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_stripe_never_took_is_voided_without_it() {
    let story = Story::start().await;
    let before = story.now().plus_ms(-2 * DAY_S * 1_000);
    let event = json!({
        "event_id": "held", "customer_id": story.customer_id, "quantity": 5,
        "action_type": "document_processed", "occurred_at": before.to_string(),
    });
    let (_, held) = story.caller.post("/v1/usage", event).await;
    assert_eq!(held["status"], "held", "{held}");
    assert_eq!(story.void("held").await.unwrap(), Void::NeverBilled);
    assert_eq!(story.in_stripe().await, (0, 0));
    let nobodys = story.void("nobody's").await.unwrap_err();
    assert!(matches!(nobodys, VoidError::NoSuchEvent));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rejected_event_is_cancelled_whether_stripe_counts_it_or_not() {
    let story = Story::start().await;
    for kind in ["error_before", "lose_answer"] {
        story.emit_in_vain(kind, 5, kind).await;
        story
            .move_row(kind, UsageStatus::Pending, UsageStatus::Rejected)
            .await;
        assert_eq!(story.void(kind).await.unwrap(), Void::Cancelled);
    }
    assert_eq!(story.in_stripe().await, (0, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rejected_event_that_stripe_cancels_no_more_waits_for_reconcile() {
    let story = Story::start().await;
    for (event_id, kind) in [("counted", "lose_answer"), ("not-counted", "error_before")] {
        story.emit_in_vain(event_id, 5, kind).await;
        story
            .move_row(event_id, UsageStatus::Pending, UsageStatus::Rejected)
            .await;
    }
    story.clock.advance_s(26 * HOUR_S);
    for event_id in ["counted", "not-counted"] {
        let refused = story.void(event_id).await.unwrap_err();
        assert!(matches!(refused, VoidError::FateUnknown), "{refused}");
        assert_eq!(story.status(event_id).await, UsageStatus::Rejected);
    }
    let counted = story.void_found("counted", Some(Found::Counted)).await;
    assert!(is_credit_of(&counted.unwrap(), 10));
    let found = Some(Found::NotCounted);
    let not = story.void_found("not-counted", found).await;
    assert_eq!(not.unwrap(), Void::NeverBilled);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_day_the_customer_is_credited_once() {
    let story = Story::start().await;
    story.emit("kept", 3).await;
    story.emit("wrong", 5).await;
    story.clock.advance_s(26 * HOUR_S);
    let Void::Credited {
        minor_units: 10,
        transaction_id: Some(id),
        ..
    } = story.void("wrong").await.unwrap()
    else {
        panic!("no credit of 10 cents");
    };
    assert_eq!(story.void("wrong").await.unwrap(), Void::Before);
    let credits = story.credits().await;
    assert_eq!((credits.len(), credits[0].amount), (1, -10));
    assert_eq!(credits[0].id, id);
    // The meter still has it: the invoice says 8 units, and 10 cents less due.
    assert_eq!(story.in_stripe().await, (2, 8));
    story.pump().await;
    assert_eq!(story.totals().await, (3, 0));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_of_a_trial_is_credited_with_nothing() {
    let mut story = Story::start().await;
    story.onboard_in_trial(14).await;
    story.emit("tried", 5).await;
    story.clock.advance_s(26 * HOUR_S);
    let voided = story.void("tried").await.unwrap();
    assert!(is_credit_of(&voided, 0), "{voided:?}");
    assert_eq!(story.credits().await.len(), 0);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_on_a_final_invoice_is_credited_by_its_line() {
    let story = Story::start().await;
    story.emit("kept", 30).await;
    story.emit("wrong", 5).await;
    let customer = story.system.ledger().customer(&story.customer_id).await;
    let period_end = customer.unwrap().unwrap().period_end;
    let left_s = period_end.ms_since(story.now()) / 1_000;
    for seconds in [left_s + 60, 2 * HOUR_S, 2 * HOUR_S] {
        story.clock.advance_s(seconds);
        story.settle().await;
    }
    let stripe = story.system.stripe();
    let invoices = stripe.list_all_invoices(story.customer_id.as_str()).await;
    let invoice = invoices.unwrap().into_iter().find(|it| it.total == 70);
    assert!(invoice.unwrap().status_transitions.finalized_at.is_some());
    let voided = story.void("wrong").await.unwrap();
    assert!(
        matches!(
            voided,
            Void::Credited {
                minor_units: 10,
                ..
            }
        ),
        "{voided:?}"
    );
    assert_eq!(story.credits().await[0].amount, -10);
    story.system.stop().await.unwrap();
}

fn is_credit_of(voided: &Void, cents: i64) -> bool {
    matches!(voided, Void::Credited { minor_units, .. } if *minor_units == cents)
}

#[tokio::test]
async fn within_a_day_usage_on_a_final_invoice_is_credited_too() {
    let story = Story::start().await;
    story.advance_to_before_the_end(2 * HOUR_S).await;
    story.emit("kept", 30).await;
    story.emit("wrong", 5).await;
    story.end_period_in_hours().await;
    assert_eq!(story.invoiced().await, 70);
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 10), "{voided:?}");
    assert_eq!(story.void("wrong").await.unwrap(), Void::Before);
    let credits = story.credits().await;
    assert_eq!((credits.len(), credits[0].amount), (1, -10));
    // Meter and invoice agree still.
    assert_eq!(story.in_stripe().await, (2, 35));
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_draft_follows_the_meter_until_it_is_nearly_final() {
    let story = Story::start().await;
    story.advance_to_before_the_end(HOUR_S).await;
    story.emit("kept", 30).await;
    story.emit("early", 5).await;
    story.emit("late", 7).await;
    story.clock.advance_s(HOUR_S + 60);
    story.settle().await;
    assert_eq!(story.void("early").await.unwrap(), Void::Cancelled);
    story.clock.advance_s(50 * MINUTE_S);
    let voided = story.void("late").await.unwrap();
    assert!(is_credit_of(&voided, 14), "{voided:?}");
    story.clock.advance_s(HOUR_S);
    story.settle().await;
    // 30 that are kept, and 7 that are credited.
    assert_eq!(story.invoiced().await, 74);
    assert_eq!(story.credits().await.len(), 1);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_of_a_canceled_subscription_is_credited_where_an_invoice_has_it() {
    for invoice_now in [true, false] {
        let story = Story::start().await;
        story.emit("kept", 30).await;
        story.emit("wrong", 5).await;
        story.clock.advance_s(HOUR_S);
        let subscription_id = story.customer().await.subscription_id;
        let stripe = story.system.stripe();
        let cancel = stripe::CancelSubscription { invoice_now };
        let options = stripe::RequestOptions::new();
        let canceled = stripe.cancel_subscription(&subscription_id, &cancel, &options);
        canceled.await.unwrap();
        for _ in 0..3 {
            story.settle().await;
            story.clock.advance_s(90 * MINUTE_S);
        }
        let voided = story.void("wrong").await.unwrap();
        if invoice_now {
            assert!(is_credit_of(&voided, 10), "{voided:?}");
        } else {
            assert_eq!(voided, Void::Cancelled);
        }
        story.system.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_void_that_the_final_invoice_overtook_is_not_guessed_at() {
    let story = Story::start().await;
    story.advance_to_before_the_end(2 * HOUR_S).await;
    story.emit("wrong", 5).await;
    story
        .move_row("wrong", UsageStatus::Delivered, UsageStatus::Voiding)
        .await;
    story.end_period_in_hours().await;
    let refused = story.void("wrong").await.unwrap_err();
    assert!(matches!(refused, VoidError::FateUnknown), "{refused}");
    assert_eq!(story.status("wrong").await, UsageStatus::Voiding);
    let counted = story.void_found("wrong", Some(Found::Counted)).await;
    assert!(is_credit_of(&counted.unwrap(), 10));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_pending_when_its_invoice_became_final_waits_for_reconcile() {
    let story = Story::start().await;
    story.advance_to_before_the_end(2 * HOUR_S).await;
    story.emit_in_vain("counted", 5, "lose_answer").await;
    story.emit_in_vain("not-counted", 7, "error_before").await;
    story.end_period_in_hours().await;
    assert_eq!(story.invoiced().await, 10);
    for event_id in ["counted", "not-counted"] {
        let refused = story.void(event_id).await.unwrap_err();
        assert!(matches!(refused, VoidError::FateUnknown), "{refused}");
        assert_eq!(story.status(event_id).await, UsageStatus::Quarantined);
    }
    // Nothing was sent to where no invoice bills it.
    assert_eq!(story.in_stripe().await, (1, 5));
    let counted = story.void_found("counted", Some(Found::Counted)).await;
    assert!(is_credit_of(&counted.unwrap(), 10));
    let found = Some(Found::NotCounted);
    let not = story.void_found("not-counted", found).await;
    assert_eq!(not.unwrap(), Void::NeverBilled);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn in_tiers_a_credit_waits_for_the_final_invoice() {
    let mut story = Story::start().await;
    story.sell_in_tiers().await;
    let onboarded = story.caller.onboard("in tiers").await;
    story.customer_id = CustomerId::parse(&onboarded).unwrap();
    story.emit("kept", 10).await;
    story.emit("wrong", 5).await;
    story.clock.advance_s(26 * HOUR_S);
    let refused = story.void("wrong").await.unwrap_err();
    assert!(
        matches!(refused, VoidError::Credit(CreditError::NotFinal)),
        "{refused}"
    );
    assert_eq!(story.status("wrong").await, UsageStatus::Voiding);

    let customer = story.system.ledger().customer(&story.customer_id).await;
    let period_end = customer.unwrap().unwrap().period_end;
    let left_s = period_end.ms_since(story.now()) / 1_000;
    for seconds in [left_s + 60, 2 * HOUR_S, 2 * HOUR_S] {
        story.clock.advance_s(seconds);
        story.settle().await;
    }
    // 5 units are 7.5 cents, rounded to 8, and with them the tier's dollar goes.
    let voided = story.void("wrong").await.unwrap();
    assert!(
        matches!(
            voided,
            Void::Credited {
                minor_units: 108,
                ..
            }
        ),
        "{voided:?}"
    );
    assert_eq!(story.credits().await[0].amount, -108);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn imported_usage_is_credited_for_stripe_has_it_under_another_name() {
    let story = Story::start().await;
    let customer_id = story.customer_id.clone();
    let at_s = story.now().unix_s();
    story.note_late(&customer_id, "imported", at_s, 5).await;
    let voided = story.void("imported").await.unwrap();
    assert!(
        matches!(
            voided,
            Void::Credited {
                minor_units: 10,
                ..
            }
        ),
        "{voided:?}"
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_quarantined_event_waits_for_reconcile_unless_stripe_still_cancels_it() {
    let story = Story::start().await;
    for event_id in ["counted", "not-counted"] {
        story.emit_in_vain(event_id, 5, "lose_answer").await;
    }
    story.emit_in_vain("late", 7, "error_before").await;
    story.quarantine_what_is_pending().await;
    for event_id in ["counted", "not-counted"] {
        let refused = story.void(event_id).await.unwrap_err();
        assert!(matches!(refused, VoidError::FateUnknown), "{refused}");
        assert_eq!(story.status(event_id).await, UsageStatus::Quarantined);
    }
    let counted = story.void_found("counted", Some(Found::Counted)).await;
    assert!(matches!(
        counted.unwrap(),
        Void::Credited {
            minor_units: 10,
            ..
        }
    ));
    let not = story
        .void_found("not-counted", Some(Found::NotCounted))
        .await;
    assert_eq!(not.unwrap(), Void::NeverBilled);

    // Sent in vain a day ago, and received just before its window ended.
    story.emit_in_vain("received-late", 7, "error_before").await;
    story.pump().await;
    story.clock.advance_s(22 * HOUR_S);
    story.strike("lose_answer").await;
    story.system.redeliver().await.unwrap();
    story.heal().await;
    story.clock.advance_s(4 * HOUR_S);
    story.system.redeliver().await.unwrap();
    assert_eq!(
        story.status("received-late").await,
        UsageStatus::Quarantined
    );
    assert_eq!(story.void("received-late").await.unwrap(), Void::Cancelled);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_void_that_was_left_for_a_day_is_not_guessed_at() {
    let story = Story::start().await;
    story.emit("wrong", 5).await;
    story
        .move_row("wrong", UsageStatus::Delivered, UsageStatus::Voiding)
        .await;
    story.clock.advance_s(26 * HOUR_S);
    let refused = story.void("wrong").await.unwrap_err();
    assert!(matches!(refused, VoidError::FateUnknown), "{refused}");
    assert_eq!(story.status("wrong").await, UsageStatus::Voiding);
    let settled = story
        .void_found("wrong", Some(Found::Counted))
        .await
        .unwrap();
    assert!(matches!(
        settled,
        Void::Credited {
            minor_units: 10,
            ..
        }
    ));
    story.system.stop().await.unwrap();
}

/// Voids an event of each run, cut off at its first poll, its second, and so on
/// until one runs through; the same call ends each.
async fn cut_off_at_every_poll(story: &Story, name: &str) -> u32 {
    for polls in 0.. {
        let event_id = format!("{name}-{polls}");
        let first = cut_off(story.void(&event_id), polls).await;
        let second = story.void(&event_id).await.unwrap();
        assert_eq!(story.status(&event_id).await, UsageStatus::Voided);
        if let Some(first) = first {
            assert_ne!(first.unwrap(), Void::Before);
            assert_eq!(second, Void::Before);
            return polls + 1;
        }
    }
    unreachable!("a void that never ends");
}

/// More events than a void has polls.
const EVENTS: u32 = 100;

#[tokio::test]
async fn cut_off_anywhere_a_cancellation_is_ended_by_the_same_call() {
    let story = Story::start().await;
    story.emit_many("delivered", EVENTS, 1).await;
    story.emit_many_unanswered("sent", EVENTS / 2).await;
    let voided = cut_off_at_every_poll(&story, "delivered").await;
    let unsettled = cut_off_at_every_poll(&story, "sent").await;
    assert!(voided.min(unsettled) > 5, "{voided} {unsettled}");
    story.pump().await;
    let kept = u64::from(EVENTS - voided);
    let pending = u64::from(EVENTS / 2 - unsettled);
    assert_eq!(story.totals().await, (kept, pending));
    assert_eq!(story.in_stripe().await, (kept + pending, kept + pending));
    assert!(story.credits().await.is_empty());
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn cut_off_anywhere_usage_on_a_final_invoice_is_credited_and_never_cancelled() {
    let story = Story::start().await;
    story.advance_to_before_the_end(2 * HOUR_S).await;
    story.emit_many("billed", EVENTS, 3).await;
    story.end_period_in_hours().await;
    let voided = cut_off_at_every_poll(&story, "billed").await;
    let credits = story.credits().await;
    assert_eq!(credits.len(), voided as usize);
    assert!(credits.iter().all(|credit| credit.amount == -6));
    let events = u64::from(EVENTS);
    assert_eq!(story.in_stripe().await, (events, events * 3));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn cut_off_anywhere_a_credit_is_given_once() {
    let story = Story::start().await;
    story.emit_many("late", EVENTS, 3).await;
    story.clock.advance_s(26 * HOUR_S);
    let voided = cut_off_at_every_poll(&story, "late").await;
    assert!(voided > 5, "{voided}");
    let credits = story.credits().await;
    assert_eq!(credits.len(), voided as usize);
    assert!(credits.iter().all(|credit| credit.amount == -6));
    let row = story.row("late-0").await;
    let period_start: Timestamp = row.period_start.unwrap();
    let ledger = story.system.ledger();
    let sum = ledger.void_credits(&row, period_start).await.unwrap();
    assert_eq!(
        (sum.units, sum.minor_units),
        (u64::from(voided) * 3, i64::from(voided) * 6)
    );
    story.system.stop().await.unwrap();
}
