//! `meterline reconcile` and what was carried over into the next period, though a
//! sending whose answer was lost had brought it to Stripe in the one before.

use std::time::Duration;

use billing::{CustomerId, EventId, Identifier, Timestamp, UsageStatus};
use ledger::{Transition, UsageEventRow};
use metering::{Prospect, Redriven};
use meterline_cli::reconcile::FindingKind::{
    Ambiguous, BilledBefore, InvoiceDiffers, StripeHas, Uncertain, Unexplained,
};
use meterline_cli::reconcile::{CustomerReport, Repair};
use meterline_cli::{RebuildReport, Rebuilder, ReconcileOptions};
use serde_json::json;
use stack::connection::Connection;

use crate::story::clocked::{ClockedCustomer, advance, onboard_on_a_clock, since};
use crate::story::{DAY_S, HOUR_S, MINUTE_S, Story, findings};

/// Usage of a month whose invoice is final, of which redelivery heard only then that
/// Stripe has it: by the log it was carried over.
struct CarriedOver {
    story: Story,
    customer: ClockedCustomer,
}

impl CarriedOver {
    /// With `events` of 5 units each, all emitted in one minute.
    async fn with(events: &[&str]) -> Self {
        let it = Self::pending(events).await;
        it.end_the_period().await;
        it.story.heal().await;
        it.story.system.redeliver().await.unwrap();
        it.rest().await;
        it
    }

    /// Stripe has the events, and nobody knows yet.
    async fn pending(events: &[&str]) -> Self {
        let story = Story::start().await;
        let customer = onboard_on_a_clock(&story).await;
        let id = customer.customer_id.as_str();
        story.emit_for(id, "before", 3).await;
        advance(&story, &customer, customer.started_s + 20 * DAY_S).await;
        story.strike("lose_answer").await;
        for event_id in events {
            assert_eq!(story.emit_for(id, event_id, 5).await, "pending");
        }
        Self { story, customer }
    }

    /// Emits 5 units of `occurred_s`.
    async fn emit_of(&self, event_id: &str, occurred_s: i64) -> String {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer.customer_id, "quantity": 5,
            "action_type": "document_processed", "occurred_at": occurred_s,
        });
        let (_, emitted) = self.story.caller.post("/v1/usage", event).await;
        emitted["status"].as_str().unwrap().to_owned()
    }

    /// Its invoice is made, and final.
    async fn end_the_period(&self) {
        let (story, customer) = (&self.story, &self.customer);
        let after_draft_s = customer.started_s + 31 * DAY_S + 3 * HOUR_S;
        advance(story, customer, after_draft_s).await;
        advance(story, customer, customer.started_s + 32 * DAY_S).await;
        story.pump().await;
    }

    async fn rest(&self) {
        self.story.rest().await;
    }

    async fn row(&self, event_id: &str) -> UsageEventRow {
        let event_id = EventId::parse(event_id).unwrap();
        let identifier = Identifier::of(&self.customer.customer_id, &event_id);
        let row = self.story.system.ledger().usage_event(&identifier).await;
        row.unwrap().unwrap()
    }

    async fn reconcile(&self, repair: Repair) -> CustomerReport {
        let options = since(&self.customer, 40).with_repair(repair);
        let customer_id: &CustomerId = &self.customer.customer_id;
        self.story.reconcile_range(customer_id, options).await
    }

    /// Of the month that the events were carried into alone.
    async fn reconcile_later_month(&self, repair: Repair) -> CustomerReport {
        let at = |days| Timestamp::from_unix_s(self.customer.started_s + days * DAY_S);
        let options = ReconcileOptions::new(at(31), at(40)).unwrap();
        let options = options.with_repair(repair);
        let customer_id = &self.customer.customer_id;
        self.story.reconcile_range(customer_id, options).await
    }

    async fn check_totals(&self) -> RebuildReport {
        let system = &self.story.system;
        let streams = Connection::embedded(system.dynamodb_url()).streams_client();
        let rebuilder =
            Rebuilder::new(system.ledger().clone(), streams).with_stream_delay(Duration::ZERO);
        rebuilder.check(|_| {}).await.unwrap()
    }
}

#[tokio::test]
async fn it_is_billed_once_and_reconcile_says_when() {
    let it = CarriedOver::with(&["late"]).await;
    let row = it.row("late").await;
    assert_eq!(row.status, UsageStatus::Delivered);
    assert!(row.carried_over);
    assert_eq!(row.told_at, [row.occurred_at]);
    assert_eq!(it.story.in_stripe().await, (2, 8));

    let dry = it.reconcile(Repair::Nothing).await;
    let found = findings(&dry);
    assert!(found.contains(&(BilledBefore, vec!["late"])), "{dry:?}");
    assert!(found.contains(&(InvoiceDiffers, vec![])), "{dry:?}");
    assert_eq!(found.len(), 2, "{dry:?}");
    assert_eq!(it.row("late").await, row);

    it.reconcile(Repair::Open).await;
    let repaired = it.row("late").await;
    assert!(!repaired.carried_over);
    assert_eq!(repaired.billed_at, Some(repaired.occurred_at));
    assert!(repaired.period_start < row.period_start);
    it.rest().await;
    let after = it.reconcile(Repair::Nothing).await;
    assert_eq!(findings(&after), []);
    assert_eq!((after.log_units, after.stripe_units), (8, 8));
    assert_eq!(it.story.in_stripe().await, (2, 8));
}

#[tokio::test]
async fn the_totals_move_with_it() {
    let it = CarriedOver::with(&["late"]).await;
    it.reconcile(Repair::Open).await;
    it.rest().await;
    let report = it.check_totals().await;
    assert_eq!(report.differences, []);
}

#[tokio::test]
async fn one_that_was_given_up_meanwhile_is_found_where_it_happened() {
    let it = CarriedOver::pending(&["late"]).await;
    it.end_the_period().await;
    // It is carried over, and still gets no answer until its send window is over.
    it.story.system.redeliver().await.unwrap();
    assert!(it.row("late").await.carried_over);
    it.story.heal().await;
    it.story.quarantine_what_is_pending().await;
    assert_eq!(it.row("late").await.status, UsageStatus::Quarantined);

    let dry = it.reconcile(Repair::Nothing).await;
    assert!(
        findings(&dry).contains(&(BilledBefore, vec!["late"])),
        "{dry:?}"
    );
    it.reconcile(Repair::Open).await;
    let row = it.row("late").await;
    assert_eq!(row.status, UsageStatus::Delivered);
    assert_eq!(row.billed_at, Some(row.occurred_at));
    it.rest().await;
    assert_eq!(findings(&it.reconcile(Repair::Nothing).await), []);
    assert_eq!(it.story.in_stripe().await, (2, 8));
}

#[tokio::test]
async fn of_two_alike_none_is_chosen() {
    let it = CarriedOver::pending(&["a"]).await;
    // The other one never arrived, and is carried over for good.
    it.story.heal().await;
    it.story.strike("error_before").await;
    let id = it.customer.customer_id.as_str();
    assert_eq!(it.story.emit_for(id, "b", 5).await, "pending");
    it.end_the_period().await;
    it.story.heal().await;
    it.story.system.redeliver().await.unwrap();
    it.rest().await;
    let before = [it.row("a").await, it.row("b").await];
    let report = it.reconcile(Repair::Open).await;
    let candidates = (Ambiguous, vec!["a", "b"]);
    assert!(findings(&report).contains(&candidates), "{report:?}");
    assert_eq!([it.row("a").await, it.row("b").await], before);

    // The operator reads in Stripe's list that it has "a" from the month before.
    let [a, b] = before;
    let redriver = it.story.redriver();
    let beside_it = a.occurred_at.plus_ms(-DAY_S * 1_000);
    let between = a.occurred_at.plus_ms(DAY_S * 1_000);
    for (row, at) in [
        (&a, beside_it),
        (&a, between),
        (&a, it.story.now()),
        (&b, beside_it),
    ] {
        let refused = redriver.note_in_stripe_at(row, at).await;
        let never_then = matches!(refused, Redriven::Left(Prospect::NotAtThisTime));
        assert!(never_then, "{at}: {refused:?}");
    }
    let noted = redriver.note_in_stripe_at(&a, a.occurred_at).await;
    assert!(matches!(noted, Redriven::Noted), "{noted:?}");
    assert!(!it.row("a").await.carried_over);
    it.rest().await;
    assert_eq!(findings(&it.reconcile(Repair::Nothing).await), []);
    assert_eq!(it.check_totals().await.differences, []);
}

#[tokio::test]
async fn a_range_without_the_later_period_decides_nothing() {
    let it = CarriedOver::with(&["late"]).await;
    let options = since(&it.customer, 30).with_repair(Repair::Open);
    let id = &it.customer.customer_id;
    let report = it.story.reconcile_range(id, options).await;
    assert_eq!(findings(&report), [(Unexplained, vec![])]);
    assert!(it.row("late").await.carried_over);
}

#[tokio::test]
async fn it_is_found_at_the_time_that_stripe_was_told() {
    let it = CarriedOver::pending(&[]).await;
    let ahead_s = it.customer.started_s + 20 * DAY_S + 4 * MINUTE_S;
    assert_eq!(it.emit_of("ahead", ahead_s).await, "pending");
    let told = it.row("ahead").await.billed_at;
    assert!(told < Some(it.row("ahead").await.occurred_at));
    it.end_the_period().await;
    it.story.heal().await;
    it.story.system.redeliver().await.unwrap();
    it.rest().await;

    let report = it.reconcile(Repair::Open).await;
    assert!(
        findings(&report).contains(&(BilledBefore, vec!["ahead"])),
        "{report:?}"
    );
    assert_eq!(it.row("ahead").await.billed_at, told);
    it.rest().await;
    assert_eq!(findings(&it.reconcile(Repair::Nothing).await), []);
}

#[tokio::test]
async fn every_time_that_was_told_is_looked_at() {
    let it = CarriedOver::pending(&["late"]).await;
    it.end_the_period().await;
    it.story.system.redeliver().await.unwrap();
    let once = it.row("late").await;
    for days in [62, 63] {
        let to_s = it.customer.started_s + days * DAY_S + 3 * HOUR_S;
        advance(&it.story, &it.customer, to_s).await;
    }
    it.story.heal().await;
    it.story.system.redeliver().await.unwrap();
    it.rest().await;
    let twice = it.row("late").await;
    let told = [once.occurred_at, once.billed_at.unwrap()];
    assert_eq!(
        (twice.status, &*twice.told_at),
        (UsageStatus::Delivered, &told[..])
    );

    let options = since(&it.customer, 80).with_repair(Repair::Open);
    let id = &it.customer.customer_id;
    let report = it.story.reconcile_range(id, options).await;
    assert!(
        findings(&report).contains(&(BilledBefore, vec!["late"])),
        "{report:?}"
    );
    let row = it.row("late").await;
    assert_eq!(row.billed_at, Some(row.occurred_at));
}

#[tokio::test]
async fn what_was_recorded_late_was_told_no_earlier_time() {
    let it = CarriedOver::pending(&[]).await;
    it.story.heal().await;
    it.end_the_period().await;
    let occurred_s = it.customer.started_s + 20 * DAY_S;
    assert_eq!(it.emit_of("recorded late", occurred_s).await, "delivered");
    let row = it.row("recorded late").await;
    assert!(row.carried_over);
    assert_eq!(row.told_at, []);
    let redriver = it.story.redriver();
    let refused = redriver.note_in_stripe_at(&row, row.occurred_at).await;
    let never_then = matches!(refused, Redriven::Left(Prospect::NotAtThisTime));
    assert!(never_then, "{refused:?}");
    assert_eq!(it.row("recorded late").await, row);
}

#[tokio::test]
async fn an_operators_mistake_is_undone() {
    let it = CarriedOver::with(&["late"]).await;
    let before = it.row("late").await;
    let redriver = it.story.redriver();
    let noted = redriver.note_in_stripe_at(&before, before.occurred_at);
    assert!(matches!(noted.await, Redriven::Noted));
    let moved = it.row("late").await;
    let back = redriver.note_in_stripe_at(&moved, before.billed_at.unwrap());
    assert!(matches!(back.await, Redriven::Noted));
    let after = it.row("late").await;
    let times = |row: &UsageEventRow| {
        let UsageEventRow {
            billed_at,
            period_start,
            carried_over,
            ..
        } = *row;
        (billed_at, period_start, carried_over, row.told_at.clone())
    };
    assert_eq!(times(&after), times(&before));
    it.rest().await;
    assert_eq!(it.check_totals().await.differences, []);
}

#[tokio::test]
async fn the_list_says_what_the_word_would_do() {
    let it = CarriedOver::with(&["late"]).await;
    let row = it.row("late").await;
    let told = row.occurred_at.unix_s().to_string();
    let never = (row.occurred_at.unix_s() + 1).to_string();
    for (at, outcome) in [
        (
            &told,
            format!("to be noted as delivered, billed at {}", row.occurred_at),
        ),
        (&never, "Stripe was never told this time".to_owned()),
    ] {
        let customer_id = it.customer.customer_id.as_str();
        let (status, out, err) = it
            .story
            .meterline(&[
                "redrive",
                "--status",
                "delivered",
                "--customer",
                customer_id,
                "--event",
                "late",
                "--in-stripe",
                "--at",
                at,
            ])
            .await;
        assert_eq!(status, Some(0), "{err}");
        assert!(out.contains(&outcome), "{out}");
    }
    assert_eq!(it.row("late").await, row);
}

#[tokio::test]
async fn the_reason_of_a_refusal_goes_with_it() {
    let it = CarriedOver::pending(&["late"]).await;
    it.end_the_period().await;
    it.story.system.redeliver().await.unwrap();
    let row = it.row("late").await;
    let refused = Transition {
        from: UsageStatus::Pending,
        to: UsageStatus::Quarantined,
        at: it.story.now(),
        stripe_code: Some("archived_meter"),
    };
    let ledger = it.story.system.ledger();
    let moved = ledger.transition_usage_event(&row.identifier, refused);
    moved.await.unwrap();
    let row = it.row("late").await;
    assert_eq!(row.stripe_code.as_deref(), Some("archived_meter"));
    let noted = it
        .story
        .redriver()
        .note_in_stripe_at(&row, row.occurred_at)
        .await;
    assert!(matches!(noted, Redriven::Noted), "{noted:?}");
    assert_eq!(it.row("late").await.stripe_code, None);
}

#[tokio::test]
async fn a_moment_after_a_repair_the_totals_are_in_flight() {
    let it = CarriedOver::with(&["late"]).await;
    it.reconcile(Repair::Open).await;
    assert_eq!(findings(&it.reconcile(Repair::Nothing).await), []);
    let later = it.reconcile_later_month(Repair::Nothing).await;
    assert_eq!(findings(&later), []);
}

#[tokio::test]
async fn what_stripe_may_have_from_before_the_range_is_not_sent_again() {
    let it = CarriedOver::with(&["late"]).await;
    it.story.clock.advance_s(26 * HOUR_S);
    let report = it.reconcile_later_month(Repair::OpenAndLost).await;
    assert_eq!(findings(&report), [(Uncertain, vec!["late"])]);
    assert!(!report.agrees());
    assert_eq!(it.row("late").await.status, UsageStatus::Delivered);
    assert_eq!(it.story.in_stripe().await, (2, 8));
}

#[tokio::test]
async fn two_errors_that_cancel_each_other_out_hide_nothing() {
    let it = CarriedOver::with(&["late"]).await;
    // The next one is in Stripe, on the same day, and nobody knows.
    let later_s = it.customer.started_s + 32 * DAY_S + 17 * MINUTE_S;
    advance(&it.story, &it.customer, later_s).await;
    it.story.strike("lose_answer").await;
    let id = it.customer.customer_id.as_str();
    assert_eq!(it.story.emit_for(id, "next", 5).await, "pending");
    it.story.heal().await;
    it.story.quarantine_what_is_pending().await;
    assert_eq!(it.row("next").await.status, UsageStatus::Quarantined);
    let of_the_later_day = it.reconcile_later_month(Repair::Nothing).await;
    assert_eq!(
        (of_the_later_day.log_units, of_the_later_day.stripe_units),
        (5, 5)
    );

    let report = it.reconcile(Repair::Open).await;
    for found in [(BilledBefore, vec!["late"]), (StripeHas, vec!["next"])] {
        assert!(findings(&report).contains(&found), "{report:?}");
    }
    assert_eq!(it.story.in_stripe().await, (3, 13));
    it.rest().await;
    assert_eq!(findings(&it.reconcile(Repair::Nothing).await), []);
}
