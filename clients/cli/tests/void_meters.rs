//! Usage that is taken back from one of several meters.

use billing::UsageStatus;
use ledger::Updated;
use metering::{CreditError, Void, VoidError};
use stripe::UsageApi;

use crate::story::catalog::{DOCUMENTS, TOKENS};
use crate::story::{HOUR_S, Story};

fn is_credit_of(voided: &Void, cents: i64) -> bool {
    matches!(voided, Void::Credited { minor_units, .. } if *minor_units == cents)
}

#[tokio::test]
async fn an_event_is_cancelled_under_the_name_of_its_own_meter() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit("kept", 3).await;
    story.emit_tokens("wrong", 700).await;
    story.emit_tokens("right", 50).await;
    assert_eq!(story.void("wrong").await.unwrap(), Void::Cancelled);
    assert_eq!(story.units_of(DOCUMENTS).await, 3);
    assert_eq!(story.units_of(TOKENS).await, 50);
    story.pump().await;
    assert_eq!(story.totals().await, (53, 0));
    // Its item may be gone meanwhile: what Stripe has is taken back all the same.
    story.unsubscribe_from_tokens().await;
    assert_eq!(story.void("right").await.unwrap(), Void::Cancelled);
    assert_eq!(story.in_stripe().await, (1, 3));
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_credit_is_what_the_line_of_its_own_item_costs_less() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    // 5 documents are 10 cents; 13 tokens are 5.2 cents, and 5 on the invoice.
    for (event_id, quantity) in [("document", 2), ("more documents", 3)] {
        story.emit(event_id, quantity).await;
    }
    for (event_id, quantity) in [("tokens", 2), ("more tokens", 11)] {
        story.emit_tokens(event_id, quantity).await;
    }
    story.end_period().await;
    let stripe = story.system.stripe();
    let invoices = stripe.list_all_invoices(story.customer_id.as_str()).await;
    assert!(invoices.unwrap().iter().any(|it| it.total == 15));

    // 11 tokens are 4.4 cents, and then nothing is left of 5.
    let period_start = story.row("tokens").await.period_start.unwrap();
    for (event_id, cents) in [("tokens", 1), ("document", 4), ("more tokens", 4)] {
        let voided = story.void(event_id).await.unwrap();
        assert!(is_credit_of(&voided, cents), "{event_id}: {voided:?}");
    }
    let ledger = story.system.ledger();
    for (event_id, units, cents) in [("tokens", 13, 5), ("document", 2, 4)] {
        let row = story.row(event_id).await;
        let sum = ledger.void_credits(&row, period_start).await.unwrap();
        assert_eq!((sum.units, sum.minor_units), (units, cents), "{event_id}");
    }
    let credits: Vec<i64> = story.credits().await.iter().map(|it| it.amount).collect();
    assert_eq!(credits, [-4, -4, -1]);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_credit_waits_for_an_item_where_none_has_a_price_for_it() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit_tokens("wrong", 50).await;
    story.clock.advance_s(26 * HOUR_S);
    story.unsubscribe_from_tokens().await;
    let refused = story.void("wrong").await.unwrap_err();
    let VoidError::Credit(CreditError::NoItem(meter)) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(meter, TOKENS);
    assert_eq!(story.status("wrong").await, UsageStatus::Voiding);
    story.subscribe_to_tokens().await;
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 20), "{voided:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_final_line_is_found_by_its_meter_when_the_item_was_removed_and_added_again() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    // 4 tokens are 1.6 cents, and 2 on the line; the 1 that is kept is nothing.
    story.emit_tokens("kept", 1).await;
    story.emit_tokens("wrong", 3).await;
    story.end_period().await;
    story.unsubscribe_from_tokens().await;
    story.subscribe_to_tokens().await;
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 2), "{voided:?}");
    // With no item at all, too.
    story.unsubscribe_from_tokens().await;
    let voided = story.void("kept").await.unwrap();
    assert!(is_credit_of(&voided, 0), "{voided:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_no_line_of_the_final_invoice_bills_is_voided_without_a_credit() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit("document", 5).await;
    story.emit_tokens("wrong", 50).await;
    story.emit_tokens("added again", 70).await;
    story.clock.advance_s(26 * HOUR_S);
    story.unsubscribe_from_tokens().await;
    let refused = story.void("wrong").await.unwrap_err();
    assert!(
        matches!(&refused, VoidError::Credit(CreditError::NoItem(_))),
        "{refused}"
    );
    story.end_period().await;
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 0), "{voided:?}");
    assert_eq!(story.status("wrong").await, UsageStatus::Voided);

    // At the price of a new item it would be 28 cents, which nobody paid.
    story.subscribe_to_tokens().await;
    let voided = story.void("added again").await.unwrap();
    assert!(is_credit_of(&voided, 0), "{voided:?}");
    let voided = story.void("document").await.unwrap();
    assert!(is_credit_of(&voided, 10), "{voided:?}");
    assert_eq!(story.credits().await.len(), 1);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn an_item_that_was_added_later_tells_no_price_for_usage_that_it_does_not_bill() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.emit_tokens("wrong", 50).await;
    story.clock.advance_s(26 * HOUR_S);
    story.unsubscribe_from_tokens().await;
    story.subscribe_to_tokens().await;
    let read = story.customer().await;
    let mut row = read.clone();
    row.more_items[0].added_at = Some(story.now().plus_ms(-60_000));
    let updated = story.system.ledger().update_customer(&read, row).await;
    assert_eq!(updated.unwrap(), Updated::Done);
    let refused = story.void("wrong").await.unwrap_err();
    assert!(
        matches!(&refused, VoidError::Credit(CreditError::NoItem(_))),
        "{refused}"
    );
    // Its line begins with the item.
    story.end_period().await;
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 0), "{voided:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_usage_record_is_credited_by_the_line_of_the_item_that_it_was_added_to() {
    let story = Story::of_two_meters(UsageApi::UsageRecord).await;
    story.emit_tokens("kept", 1).await;
    story.emit_tokens("wrong", 3).await;
    story.end_period().await;
    story.unsubscribe_from_tokens().await;
    story.subscribe_to_tokens().await;
    let voided = story.void("wrong").await.unwrap();
    assert!(is_credit_of(&voided, 2), "{voided:?}");
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn a_usage_record_is_credited_at_the_price_of_the_item_that_it_was_added_to() {
    let story = Story::with_usage_api(UsageApi::UsageRecord).await;
    // Of before the catalog: its row names no meter.
    story.emit("document", 3).await;
    story.sell_tokens().await;
    story.subscribe_to_tokens().await;
    story.emit_tokens("tokens", 50).await;
    for (event_id, cents) in [("document", 6), ("tokens", 20)] {
        let voided = story.void(event_id).await.unwrap();
        assert!(is_credit_of(&voided, cents), "{event_id}: {voided:?}");
    }
    story.system.stop().await.unwrap();
}
