//! Stories of usage that is still pending when its period is over: the period's
//! invoice says where it is billed.

use billing::UsageStatus;
use ledger::UsageEventRow;
use redelivery::Report;
use serde_json::json;
use stripe::{CreateWebhookEndpoint, Invoice, RequestOptions};

use crate::story::{HOUR_MS, MINUTE_MS, Story};

/// Usage of two units is pending since an hour before its period's end; now is
/// `past_ms` past that end.
async fn pending_past_the_end(story: &Story, past_ms: i64) {
    let to_the_end_ms = story.customer.period_end.ms_since(story.world.now());
    story.world.clock.advance_ms(to_the_end_ms - HOUR_MS);
    story.emit_in_vain("late", 2).await;
    story.world.clock.advance_ms(HOUR_MS);
    story.world.settle_stripe().await;
    story.world.clock.advance_ms(past_ms);
    story.world.settle_stripe().await;
}

/// Somebody takes webhooks, and does not answer: Stripe keeps drafts for days.
async fn unanswered_webhooks(story: &Story) {
    let endpoint = CreateWebhookEndpoint {
        url: "http://127.0.0.1:9/".to_owned(),
        enabled_events: vec!["invoice.created".to_owned()],
        ..Default::default()
    };
    let options = RequestOptions::new();
    let stripe = &story.world.stripe;
    stripe
        .create_webhook_endpoint(&endpoint, &options)
        .await
        .unwrap();
}

/// The invoice of the first period.
async fn invoice(story: &Story) -> Invoice {
    let customer_id = story.customer.customer_id.as_str();
    let invoices = story.world.stripe.list_all_invoices(customer_id).await;
    let end = story.customer.period_end.unix_s();
    let invoices = invoices.unwrap();
    invoices
        .iter()
        .find(|invoice| invoice.period_end == end)
        .cloned()
        .unwrap()
}

/// Two units on the invoice of the first period, or on a later one.
async fn assert_invoiced(story: &Story, in_first_period: bool) {
    story.world.clock.advance_ms(80 * HOUR_MS);
    story.world.settle_stripe().await;
    let invoice = invoice(story).await;
    let billed = invoice.lines.iter().map(|line| line.quantity.unwrap());
    let expected = if in_first_period { 2 } else { 0 };
    assert_eq!(billed.sum::<i64>(), expected);
    assert_ne!(invoice.status.as_deref(), Some("draft"));
    assert_eq!(story.in_stripe().await, (1, 2));
}

fn assert_kept(story: &Story, row: &UsageEventRow) {
    let its_own = Some(story.customer.period_start);
    assert_eq!((row.carried_over, row.period_start), (false, its_own));
    assert_eq!(row.status, UsageStatus::Delivered);
}

fn assert_carried_over(story: &Story, row: &UsageEventRow) {
    let next = Some(story.customer.period_end);
    assert_eq!((row.carried_over, row.period_start), (true, next));
    assert_eq!(row.billed_at, Some(story.world.now()));
    let occurred_at = story.customer.period_end.plus_ms(-HOUR_MS);
    assert_eq!(row.occurred_at, occurred_at);
    assert_eq!(row.status, UsageStatus::Delivered);
}

#[tokio::test]
async fn before_the_invoice_is_made_and_while_it_is_a_draft_usage_is_billed_in_its_period() {
    for past_ms in [10 * MINUTE_MS, 44 * MINUTE_MS] {
        let story = Story::start().await;
        pending_past_the_end(&story, past_ms).await;
        assert_eq!(story.run().await.delivered, 1);
        assert_kept(&story, &story.row("late").await);
        assert_invoiced(&story, true).await;
    }
}

#[tokio::test]
async fn a_draft_that_waits_for_days_takes_usage_for_days() {
    let story = Story::start().await;
    unanswered_webhooks(&story).await;
    pending_past_the_end(&story, 20 * HOUR_MS).await;
    assert_eq!(invoice(&story).await.status.as_deref(), Some("draft"));
    assert_eq!(story.run().await.delivered, 1);
    assert_kept(&story, &story.row("late").await);
    assert_invoiced(&story, true).await;
}

#[tokio::test]
async fn what_is_nearly_final_takes_no_more() {
    let story = Story::start().await;
    pending_past_the_end(&story, 46 * MINUTE_MS).await;
    assert_eq!(invoice(&story).await.status.as_deref(), Some("draft"));
    assert_eq!(story.run().await.delivered, 1);
    assert_carried_over(&story, &story.row("late").await);
    assert_invoiced(&story, false).await;
}

#[tokio::test]
async fn an_invoice_that_somebody_made_final_early_takes_no_more() {
    let story = Story::start().await;
    pending_past_the_end(&story, 5 * MINUTE_MS).await;
    let id = invoice(&story).await.id;
    story
        .world
        .post_to_stripe(&format!("/v1/invoices/{id}/finalize"))
        .await;
    assert_eq!(story.run().await.delivered, 1);
    assert_carried_over(&story, &story.row("late").await);
    assert_invoiced(&story, false).await;
}

#[tokio::test]
async fn where_stripe_does_not_tell_usage_stays_pending_and_unsent() {
    let story = Story::start().await;
    pending_past_the_end(&story, 10 * MINUTE_MS).await;
    let fault = json!({
        "kind": "error_before", "status": 503, "times": 99, "path_prefix": "/v1/invoices",
    });
    story.world.break_stripe(fault).await;
    let pending = Report {
        pending: 1,
        oldest_pending_ms: HOUR_MS + 10 * MINUTE_MS,
        ..Report::default()
    };
    assert_eq!(story.run().await, pending);
    assert_eq!(story.in_stripe().await, (0, 0));

    story.world.repair_stripe().await;
    story.world.clock.advance_ms(MINUTE_MS);
    assert_eq!(story.run().await.delivered, 1);
    assert_kept(&story, &story.row("late").await);
}

#[tokio::test]
async fn for_a_batch_of_one_customer_stripe_is_asked_once() {
    let story = Story::start().await;
    story.emit_many_in_vain(60).await;
    let to_the_end_ms = story.customer.period_end.ms_since(story.world.now());
    story.world.clock.advance_ms(to_the_end_ms - 20 * HOUR_MS);
    story.emit_in_vain("late", 2).await;
    story.world.clock.advance_ms(20 * HOUR_MS + MINUTE_MS);
    story.world.settle_stripe().await;
    let counted = json!({ "kind": "delay_ms", "times": 99, "path_prefix": "/v1/invoices" });
    story.world.break_stripe(counted).await;
    let report = story.run().await;
    assert_eq!((report.delivered, report.quarantined), (1, 60));
    assert_eq!(story.world.struck(0).await, 1);
}

#[tokio::test]
async fn the_last_invoice_of_a_subscription_decides_too() {
    for (past_ms, status) in [
        (10 * MINUTE_MS, UsageStatus::Delivered),
        (2 * HOUR_MS, UsageStatus::Quarantined),
    ] {
        let story = Story::start().await;
        let subscription_id = story.customer.subscription_id.as_str();
        story
            .world
            .post_form_to_stripe(
                &format!("/v1/subscriptions/{subscription_id}"),
                "cancel_at_period_end=true",
            )
            .await;
        pending_past_the_end(&story, past_ms).await;
        story.run().await;
        assert_eq!(story.row("late").await.status, status, "{past_ms}");
    }
}
