//! `meterline reconcile` of customers who are billed by usage records.

use billing::UsageStatus;
use meterline_cli::reconcile::FindingKind::{StripeHas, StripeLacks, Unexplained};
use stripe::{CreateUsageRecord, RequestOptions, UsageApi};

use crate::story::{HOUR_S, MINUTE_S, Story, findings};

#[tokio::test]
async fn the_sum_of_a_period_stands_for_its_minutes() {
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    for (event_id, quantity) in [("a", 3), ("b", 5), ("c", 7)] {
        assert_eq!(story.emit(event_id, quantity).await, "delivered");
        story.clock.advance_s(40 * MINUTE_S);
    }
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), []);
    assert_eq!((report.log_units, report.stripe_units), (15, 15));
    assert_eq!(report.usage_record_units, 0);

    // Stripe took it, its answers were lost, and the send window is over.
    story.strike("lose_answer").await;
    assert_eq!(story.emit("lost", 11).await, "pending");
    story.quarantine_what_is_pending().await;
    story.heal().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), [(StripeHas, vec!["lost"])]);
    assert!(story.repair().await.agrees());
    assert_eq!(story.row("lost").await.status, UsageStatus::Delivered);
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), []);
    assert_eq!((report.log_units, report.stripe_units), (26, 26));
}

#[tokio::test]
async fn what_differs_is_named() {
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    story.emit("a", 3).await;
    story.emit("b", 5).await;
    story.rest().await;
    let (delivered, quarantined) = (UsageStatus::Delivered, UsageStatus::Quarantined);
    story.move_row("a", delivered, quarantined).await;
    story.rest().await;
    let report = story.reconcile().await;
    assert_eq!(findings(&report), [(StripeHas, vec!["a"])]);

    // Somebody else adds to the subscription item.
    let customer = story.system.ledger().customer(&story.customer_id).await;
    let record = CreateUsageRecord {
        subscription_item: customer.unwrap().unwrap().item.subscription_item_id,
        quantity: 100,
        timestamp: story.now().unix_s(),
    };
    let stripe = story.system.stripe();
    let options = RequestOptions::new();
    let added = stripe.create_usage_record(&record, &options).await;
    added.unwrap();
    story.rest().await;
    story.clock.advance_s(HOUR_S);
    let report = story.reconcile().await;
    assert!(!report.agrees());
    assert_eq!(report.stripe_units, 108);
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert!(
        kinds.contains(&Unexplained) && !kinds.contains(&StripeLacks),
        "{kinds:?}"
    );
}
