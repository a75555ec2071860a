//! `meterline reconcile` on the whole system: what it finds, names and repairs.

use billing::UsageStatus;
use meterline_cli::ReconcileOptions;
use meterline_cli::reconcile::FindingKind::{
    Altered, Ambiguous, InvoiceDiffers, NotInvoiced, PerhapsDoubled, StripeHas, StripeLacks,
    TotalsDiffer, Undelivered, Unexplained,
};
use meterline_cli::reconcile::Repair;
use serde_json::{Value, json};

use crate::story::clocked::{advance, onboard_on_a_clock, since};
use crate::story::{DAY_S, HOUR_S, MINUTE_S, Story, findings};

#[tokio::test]
async fn a_healthy_day_agrees() {
    let story = Story::start().await;
    for (event_id, quantity) in [("a", 3), ("b", 5), ("c", 7)] {
        assert_eq!(story.emit(event_id, quantity).await, "delivered");
        story.clock.advance_s(40 * MINUTE_S);
    }
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), []);
    assert_eq!((report.log_units, report.stripe_units), (15, 15));
    assert!(report.agrees());
}

#[tokio::test]
async fn usage_that_settled_a_reservation_agrees_as_any_other() {
    let story = Story::start().await;
    let of = |event: Value| {
        let mut event = event;
        event["customer_id"] = json!(story.customer_id);
        event["action_type"] = json!("document_processed");
        event
    };
    let held = of(json!({ "reservation_id": "run-1", "quantity": 40 }));
    let (status, held) = story.caller.post("/v1/usage/reservations", held).await;
    assert_eq!(status, 201, "{held}");
    let event = of(json!({ "event_id": "a", "quantity": 38, "reservation_id": "run-1" }));
    let (_, settled) = story.caller.post("/v1/usage", event).await;
    assert_eq!(settled["reservation"], "settled");
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), []);
    assert_eq!((report.log_units, report.stripe_units), (38, 38));
}

#[tokio::test]
async fn what_stripe_has_not_counted_yet_is_in_flight() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    let report = story.reconcile().await;
    assert!(report.agrees(), "{report:?}");
    assert_eq!((report.log_units, report.stripe_units), (3, 0));
    story.clock.advance_s(6 * MINUTE_S);
    let late = story.reconcile().await;
    assert!(
        findings(&late).contains(&(StripeLacks, vec!["a"])),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_row_altered_by_hand_is_named() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.rest().await;
    story.alter("b", 6).await;
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), [(Altered, vec!["b"])]);
    assert_eq!((report.log_units, report.stripe_units), (9, 8));
    assert!(!story.repair().await.agrees());
    assert_eq!(story.row("b").await.quantity, 6);
}

#[tokio::test]
async fn an_event_that_stripe_lost_is_named_and_never_repaired_silently() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.clock.advance_s(2 * HOUR_S + 7 * MINUTE_S);
    story.emit("b", 5).await;
    story.rest().await;
    story.lose_in_stripe("a").await;
    story.clock.advance_s(26 * HOUR_S);
    let report = story.repair().await;
    assert_eq!(findings(&report), [(StripeLacks, vec!["a"])]);
    assert!(!report.agrees());
    assert_eq!(story.row("a").await.status, UsageStatus::Delivered);
    assert_eq!(story.row("a").await.history.len(), 2);
    // On the operator's word.
    assert!(story.reconcile_with(Repair::OpenAndLost).await.agrees());
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
    assert_eq!(story.in_stripe().await, (2, 8));
}

#[tokio::test]
async fn a_row_that_was_deleted_is_missed() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.rest().await;
    story.delete("b").await;
    let unpumped = story.reconcile().await;
    assert_eq!(
        findings(&unpumped),
        [(Unexplained, vec![]), (TotalsDiffer, vec![])]
    );
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), [(Unexplained, vec![])]);
    assert_eq!((report.log_units, report.stripe_units), (3, 8));
}

#[tokio::test]
async fn a_double_under_another_identifier_is_seen() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.double_in_stripe("b").await;
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), [(PerhapsDoubled, vec!["b"])]);
}

#[tokio::test]
async fn a_rejected_event_that_stripe_has_becomes_delivered() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.clock.advance_s(7 * MINUTE_S);
    story.emit("b", 5).await;
    for (event_id, to) in [("a", UsageStatus::Voided), ("b", UsageStatus::Rejected)] {
        story.move_row(event_id, UsageStatus::Delivered, to).await;
    }
    story.rest().await;
    let report = story.repair().await;
    // What was voided was decided.
    let kinds = [(StripeHas, vec!["a"]), (StripeHas, vec!["b"])];
    assert_eq!(findings(&report), kinds);
    let repaired: Vec<bool> = report.findings.iter().map(|it| it.is_repaired).collect();
    assert_eq!(repaired, [false, true]);
    assert_eq!(story.row("a").await.status, UsageStatus::Voided);
    let row = story.row("b").await;
    assert_eq!(
        (row.status, row.stripe_code),
        (UsageStatus::Delivered, None)
    );
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), [(StripeHas, vec!["a"])]);
    assert_eq!(story.totals().await, (5, 0));
}

#[tokio::test]
async fn a_quarantined_event_that_stripe_has_becomes_delivered() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.strike("lose_answer").await;
    assert_eq!(story.emit("b", 5).await, "pending");
    story.heal().await;
    story.quarantine_what_is_pending().await;
    assert_eq!(story.row("b").await.status, UsageStatus::Quarantined);

    let dry = story.reconcile().await;
    assert_eq!(findings(&dry), [(StripeHas, vec!["b"])]);
    assert!(!dry.agrees());
    assert_eq!(story.row("b").await.status, UsageStatus::Quarantined);
    assert!(story.repair().await.agrees());
    assert_eq!(story.row("b").await.status, UsageStatus::Delivered);
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
    assert_eq!(story.in_stripe().await, (2, 8));
    assert_eq!(story.totals().await, (8, 0));
}

#[tokio::test]
async fn a_quarantined_event_that_stripe_lacks_is_sent_again() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.strike("error_before").await;
    assert_eq!(story.emit("b", 5).await, "pending");
    story.heal().await;
    story.quarantine_what_is_pending().await;

    let dry = story.reconcile().await;
    assert_eq!(findings(&dry), [(Undelivered, vec!["b"])]);
    assert_eq!(story.row("b").await.status, UsageStatus::Quarantined);
    let repaired = story.repair().await;
    assert!(repaired.agrees(), "{repaired:?}");
    let row = story.row("b").await;
    assert_eq!(row.status, UsageStatus::Delivered);
    assert_eq!(row.first_attempt_at, story.now());
    story.rest().await;
    assert_eq!(findings(&story.reconcile().await), []);
    assert_eq!(story.in_stripe().await, (2, 8));
}

#[tokio::test]
async fn of_several_explanations_none_is_chosen() {
    let story = Story::start().await;
    for event_id in ["a", "b"] {
        story.emit(event_id, 5).await;
    }
    for event_id in ["a", "b"] {
        let (from, to) = (UsageStatus::Delivered, UsageStatus::Quarantined);
        story.move_row(event_id, from, to).await;
    }
    story.lose_in_stripe("b").await;
    story.pump().await;
    story.clock.advance_s(26 * HOUR_S);
    story.rest().await;
    let report = story.repair().await;
    assert_eq!(findings(&report), [(Ambiguous, vec!["a", "b"])]);
    for event_id in ["a", "b"] {
        let row = story.row(event_id).await;
        assert_eq!(row.status, UsageStatus::Quarantined, "{event_id}");
    }
}

#[tokio::test]
async fn a_period_on_a_test_clock_agrees_down_to_its_invoice() {
    let story = Story::start().await;
    let customer = onboard_on_a_clock(&story).await;
    let id = customer.customer_id.as_str();
    story.emit_for(id, "a", 3).await;
    advance(&story, &customer, customer.started_s + 20 * DAY_S).await;
    story.emit_for(id, "b", 5).await;
    // Past the end of a month and the hour in which its invoice is a draft.
    advance(
        &story,
        &customer,
        customer.started_s + 31 * DAY_S + 3 * HOUR_S,
    )
    .await;
    advance(&story, &customer, customer.started_s + 32 * DAY_S).await;
    story.emit_for(id, "c", 7).await;
    story.rest().await;
    let report = story
        .reconcile_range(&customer.customer_id, since(&customer, 40))
        .await;
    assert_eq!(findings(&report), []);
    assert_eq!((report.log_units, report.stripe_units), (15, 15));
    assert_eq!(report.invoices_compared, 1);
}

#[tokio::test]
async fn the_units_of_an_invoice_in_tiers_are_on_several_lines() {
    let story = Story::start().await;
    story.sell_in_tiers().await;
    let customer = onboard_on_a_clock(&story).await;
    let id = customer.customer_id.as_str();
    story.emit_for(id, "a", 13).await;
    let after_draft_s = customer.started_s + 31 * DAY_S + 3 * HOUR_S;
    advance(&story, &customer, after_draft_s).await;
    story.rest().await;
    let invoices = story.system.stripe().list_all_invoices(id).await.unwrap();
    let billed = invoices.iter().find(|invoice| invoice.total == 125);
    assert_eq!(billed.unwrap().lines.iter().count(), 3);
    let report = story
        .reconcile_range(&customer.customer_id, since(&customer, 40))
        .await;
    assert_eq!(findings(&report), []);
    assert_eq!(report.invoices_compared, 1);
}

#[tokio::test]
async fn usage_that_came_too_late_for_its_invoice_is_found() {
    let story = Story::start().await;
    let customer = onboard_on_a_clock(&story).await;
    let id = customer.customer_id.as_str();
    story.emit_for(id, "a", 3).await;
    advance(
        &story,
        &customer,
        customer.started_s + 31 * DAY_S + 3 * HOUR_S,
    )
    .await;
    advance(&story, &customer, customer.started_s + 32 * DAY_S).await;
    // Past Meterline: straight to Stripe, and into the log as a delivered row.
    story
        .note_late(&customer.customer_id, "late", customer.started_s + DAY_S, 9)
        .await;
    story.rest().await;
    let report = story
        .reconcile_range(&customer.customer_id, since(&customer, 40))
        .await;
    assert_eq!(findings(&report), [(InvoiceDiffers, vec![])]);
    let invoice = &report.findings[0];
    assert_eq!(
        (invoice.log_units, invoice.other_units),
        (Some(12), Some(3))
    );
}

#[tokio::test]
async fn usage_of_a_subscription_that_was_canceled_in_its_period_is_on_no_invoice() {
    let story = Story::start().await;
    story.emit("a", 3).await;
    story.rest().await;
    story.cancel_subscription().await;
    assert_eq!(findings(&story.reconcile().await), []);
    story.clock.advance_s(4 * DAY_S);
    let from = story.now().plus_ms(-10 * DAY_S * 1_000);
    let options = ReconcileOptions::new(from, story.now()).unwrap();
    let report = story.reconcile_range(&story.customer_id, options).await;
    assert_eq!(findings(&report), [(NotInvoiced, vec![])]);
    assert_eq!(report.findings[0].log_units, Some(3));
}
