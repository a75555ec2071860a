//! `meterline reconcile` of customers with several meters: each by itself.

use billing::{HeldReason, Timestamp, UsageStatus};
use meterline_cli::ReconcileOptions;
use meterline_cli::reconcile::FindingKind::{
    InvoiceDiffers, NoSubscriptionItem, PerhapsDoubled, StripeHas, Undelivered, Unexplained,
};
use meterline_cli::reconcile::{CustomerReport, FindingKind, HeldUsage, Repair};
use stripe::{CreateUsageRecord, RequestOptions, UsageApi};

use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::{HOUR_S, Story};

/// Past the end of a month.
const DAYS: i64 = 60;

impl Story {
    /// Of the two months before now.
    async fn reconcile_months(&self) -> CustomerReport {
        let from = self.now().plus_ms(-DAYS * 24 * HOUR_S * 1_000);
        let options = ReconcileOptions::new(from, self.now().plus_ms(1)).unwrap();
        self.reconcile_range(&self.customer_id, options).await
    }
}

/// The kind of each finding, its meter, and the ids of the events that are named.
fn found(report: &CustomerReport) -> Vec<(FindingKind, &str, Vec<&str>)> {
    let findings = report.findings.iter();
    findings
        .map(|finding| {
            let events = finding.events.iter().map(|it| it.event_id.as_str());
            let meter = finding.meter_event_name.as_deref().unwrap();
            (finding.kind, meter, events.collect())
        })
        .collect()
}

/// Each meter with its units by the log and in Stripe.
fn units(report: &CustomerReport) -> Vec<(&str, i64, i64)> {
    let meters = report.meters.iter();
    meters
        .map(|it| (it.meter_event_name.as_str(), it.log_units, it.stripe_units))
        .collect()
}

#[tokio::test]
async fn two_meters_agree_down_to_their_lines_of_one_invoice() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    assert_eq!(story.emit("a", 3).await, "delivered");
    assert_eq!(story.emit_tokens("b", 700).await, "delivered");
    story.end_period().await;
    story.emit_tokens("c", 50).await;
    story.rest().await;
    let report = story.reconcile_months().await;
    assert_eq!(found(&report), []);
    assert_eq!(units(&report), [(DOCUMENTS, 3, 3), (TOKENS, 750, 750)]);
    assert_eq!(report.invoices_compared, 1);
    assert!(report.meters.iter().all(|it| it.invoices_compared == 1));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn no_meter_explains_the_difference_of_another() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    // In one minute: as many documents that Stripe lacks as tokens that it has twice.
    story.strike("error_before").await;
    assert_eq!(story.emit("lacking", 5).await, "pending");
    story.heal().await;
    story.emit_tokens("doubled", 5).await;
    story.double_in_stripe("doubled").await;
    story.quarantine_what_is_pending().await;

    let doubled = (PerhapsDoubled, TOKENS, vec!["doubled"]);
    let report = story.reconcile().await;
    let lacking = (Undelivered, DOCUMENTS, vec!["lacking"]);
    assert_eq!(found(&report), [lacking, doubled.clone()]);
    assert_eq!(units(&report), [(DOCUMENTS, 0, 0), (TOKENS, 5, 10)]);

    // A repair settles the one, and leaves the other to the operator.
    let repaired = story.repair().await;
    assert!(!repaired.agrees());
    assert_eq!(story.row("lacking").await.status, UsageStatus::Delivered);
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(found(&report), [doubled]);
    assert_eq!(units(&report), [(DOCUMENTS, 5, 5), (TOKENS, 5, 10)]);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_that_came_too_late_for_its_line_is_found_under_its_meter() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit("a", 3).await;
    story.emit_tokens("b", 700).await;
    let at_s = story.now().unix_s();
    story.end_period().await;
    // Past Meterline: straight to Stripe, and into the log as a delivered row.
    let customer_id = story.customer_id.clone();
    story.note_late(&customer_id, "late", at_s, 9).await;
    story.rest().await;
    let report = story.reconcile_months().await;
    assert_eq!(found(&report), [(InvoiceDiffers, DOCUMENTS, vec![])]);
    let invoice = &report.findings[0];
    assert_eq!(
        (invoice.log_units, invoice.other_units),
        (Some(12), Some(3))
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_stripe_has_of_a_meter_whose_item_was_removed_is_told() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit("a", 3).await;
    story.emit_tokens("billed", 700).await;
    story.end_period().await;
    story.emit_tokens("unbilled", 50).await;
    story.unsubscribe_from_tokens().await;
    assert_eq!(story.emit_tokens("held", 8).await, "held");
    story.rest().await;

    // The line of the period before is the removed item's, and bills it.
    let report = story.reconcile_months().await;
    let no_item = (NoSubscriptionItem, TOKENS, vec![]);
    assert_eq!(found(&report), [no_item]);
    let held = HeldUsage {
        reason: HeldReason::NoSubscriptionItem,
        events: 1,
        units: 8,
    };
    assert_eq!(report.held, [held]);
    let told = &report.findings[0];
    assert_eq!((told.log_units, told.other_units), (Some(50), Some(0)));
    assert_eq!(units(&report), [(DOCUMENTS, 3, 3), (TOKENS, 750, 750)]);
    let row = story.row("unbilled").await;
    let minute = Timestamp::from_unix_s(row.billed_at.unwrap().unix_s());
    assert_eq!(told.from, Some(minute.to_string()));

    // Its next invoice does not bill it.
    story.end_period().await;
    story.rest().await;
    let report = story.reconcile_months().await;
    assert_eq!(
        found(&report).last(),
        Some(&(NoSubscriptionItem, TOKENS, vec![]))
    );
    assert!(report.findings.iter().all(|it| it.log_units == Some(50)));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_stripe_lacks_of_a_removed_meter_is_not_sent_to_where_nobody_bills_it() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.strike("error_before").await;
    assert_eq!(story.emit_tokens("lacking", 5).await, "pending");
    story.heal().await;
    story.quarantine_what_is_pending().await;
    story.unsubscribe_from_tokens().await;
    for _ in 0..2 {
        let report = story.repair().await;
        assert_eq!(found(&report), [(Undelivered, TOKENS, vec!["lacking"])]);
        assert!(!report.agrees());
    }
    assert_eq!(story.row("lacking").await.status, UsageStatus::Quarantined);
    assert_eq!(story.in_stripe().await, (0, 0));

    story.subscribe_to_tokens().await;
    assert!(story.repair().await.agrees());
    story.rest().await;
    let report = story.reconcile_with(Repair::Nothing).await;
    assert_eq!(found(&report), []);
    assert_eq!(story.in_stripe().await, (1, 5));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_records_are_compared_item_by_item() {
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    // Of before the catalog: no meter has a name.
    assert_eq!(story.emit("before", 3).await, "delivered");
    story.sell_tokens().await;
    story.subscribe_to_tokens().await;
    assert_eq!(story.emit("after", 4).await, "delivered");
    assert_eq!(story.emit_tokens("tokens", 700).await, "delivered");
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(found(&report), []);
    assert_eq!(units(&report), [(DOCUMENTS, 7, 7), (TOKENS, 700, 700)]);

    // Stripe has one of the documents, and as many tokens from somebody else.
    let (delivered, quarantined) = (UsageStatus::Delivered, UsageStatus::Quarantined);
    story.move_row("after", delivered, quarantined).await;
    let tokens = story.customer().await.item_of_meter(TOKENS).cloned();
    let record = CreateUsageRecord {
        subscription_item: tokens.unwrap().subscription_item_id,
        quantity: 4,
        timestamp: story.now().unix_s(),
    };
    let options = RequestOptions::new();
    let added = story.system.stripe().create_usage_record(&record, &options);
    added.await.unwrap();
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(
        found(&report),
        [
            (StripeHas, DOCUMENTS, vec!["after"]),
            (Unexplained, TOKENS, vec![]),
        ]
    );
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn usage_records_of_a_removed_item_are_told() {
    let story = Story::of_two_meters(UsageApi::UsageRecord).await;
    story.emit("a", 3).await;
    story.emit_tokens("unbilled", 700).await;
    story.unsubscribe_from_tokens().await;
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(found(&report), [(NoSubscriptionItem, TOKENS, vec![])]);
    assert_eq!(report.findings[0].log_units, Some(700));
    let tokens = &report.meters[1];
    assert_eq!((tokens.stripe_units, tokens.usage_record_units), (0, 700));
    story.system.stop().await.unwrap();
}
