//! Stories of usage that is emitted after the end of the period it happened in.

use billing::{HeldReason, UsageStatus};
use ledger::UsageEventRow;
use serde_json::json;

use crate::story::{HOUR_MS, Story};
use crate::support::world::World;

const MINUTE_MS: i64 = 60_000;

/// It is `past_ms` past the end of the customer's first period.
async fn past_the_end(past_ms: i64) -> Story {
    let story = Story::start().await;
    move_past_the_end(&story, past_ms).await;
    story
}

async fn move_past_the_end(story: &Story, past_ms: i64) {
    let to_the_end_ms = story.customer.period_end.ms_since(story.world.now());
    story.world.clock.advance_ms(to_the_end_ms);
    story.world.settle_stripe().await;
    story.world.clock.advance_ms(past_ms);
    story.world.settle_stripe().await;
}

/// Emits usage of two units that happened an hour before the period's end.
async fn emit_late(story: &Story) -> (u16, Option<UsageEventRow>) {
    let mut body = story.event("late", 2);
    let occurred_at = story.customer.period_end.plus_ms(-HOUR_MS);
    body["occurred_at"] = json!(occurred_at.unix_s());
    let (status, _) = story.emit(&body).await;
    let ledger = &story.world.ledger;
    let row = ledger.usage_event(&story.identifier("late")).await;
    (status, row.unwrap())
}

async fn stripe_tells_no_invoices(story: &Story) {
    let fault = json!({
        "kind": "error_before", "status": 503, "times": 99, "path_prefix": "/v1/invoices",
    });
    story.world.break_stripe(fault).await;
}

#[tokio::test]
async fn a_draft_takes_it_and_a_final_invoice_does_not() {
    for (past_ms, carried_over) in [(10 * MINUTE_MS, false), (2 * HOUR_MS, true)] {
        let story = past_the_end(past_ms).await;
        let (status, row) = emit_late(&story).await;
        let row = row.unwrap();
        assert_eq!((status, row.status), (200, UsageStatus::Delivered));
        let (billed_at, period_start) = if carried_over {
            (story.world.now(), story.customer.period_end)
        } else {
            (row.occurred_at, story.customer.period_start)
        };
        assert_eq!(row.carried_over, carried_over);
        assert_eq!(row.billed_at, Some(billed_at));
        assert_eq!(row.period_start, Some(period_start));
        assert_eq!(story.in_stripe().await, (1, 2));
    }
}

#[tokio::test]
async fn usage_of_a_trial_that_is_heard_of_after_its_invoice_costs_nothing() {
    for (past_ms, status, in_stripe) in [
        (10 * MINUTE_MS, UsageStatus::Delivered, (1, 2)),
        (2 * HOUR_MS, UsageStatus::Held, (0, 0)),
    ] {
        let world = World::start().await;
        let customer = world.onboard_in_trial(7).await;
        let story = Story::of(world, customer).await;
        move_past_the_end(&story, past_ms).await;
        let (_, row) = emit_late(&story).await;
        let row = row.unwrap();
        assert_eq!((row.status, row.carried_over), (status, false));
        let free = (status == UsageStatus::Held).then_some(HeldReason::FreeTrial);
        assert_eq!(row.held_reason, free);
        assert_eq!(story.in_stripe().await, in_stripe);
        // What happens after it is billed.
        let (paid, _) = story.emit(&story.event("now", 3)).await;
        assert_eq!(paid, 200);
        assert_eq!(story.in_stripe().await, (in_stripe.0 + 1, in_stripe.1 + 3));
    }
}

#[tokio::test]
async fn a_final_invoice_is_found_among_many_others_of_its_customer() {
    let story = past_the_end(2 * HOUR_MS).await;
    let world = &story.world;
    let product = world
        .post_form_to_stripe("/v1/products", "name=Guest")
        .await;
    let product = product["id"].as_str().unwrap();
    let form = format!("product={product}&currency=usd&unit_amount=0&recurring[interval]=month");
    let price = world.post_form_to_stripe("/v1/prices", &form).await;
    let customer_id = &story.customer.customer_id;
    let form = format!(
        "customer={customer_id}&items[0][price]={}",
        price["id"].as_str().unwrap()
    );
    // More than Stripe puts on a page, and newer.
    for _ in 0..101 {
        world.post_form_to_stripe("/v1/subscriptions", &form).await;
    }
    let newest = world.stripe.list_invoices(customer_id.as_str(), 100).await;
    let subscription_id = Some(story.customer.subscription_id.as_str());
    let mut newest = newest.unwrap().into_iter();
    assert!(newest.all(|it| it.subscription.as_deref() != subscription_id));
    let (status, row) = emit_late(&story).await;
    let row = row.unwrap();
    assert_eq!((status, row.carried_over), (200, true));
    assert_eq!(row.period_start, Some(story.customer.period_end));
}

#[tokio::test]
async fn where_stripe_does_not_tell_it_is_carried_into_the_open_period() {
    let story = past_the_end(10 * MINUTE_MS).await;
    stripe_tells_no_invoices(&story).await;
    let (status, row) = emit_late(&story).await;
    assert_eq!((status, row.unwrap().carried_over), (200, true));
}

#[tokio::test]
async fn where_stripe_does_not_tell_and_no_period_is_open_nothing_is_recorded() {
    let story = Story::start().await;
    let subscription_id = story.customer.subscription_id.as_str();
    let path = format!("/v1/subscriptions/{subscription_id}");
    let world = &story.world;
    world
        .post_form_to_stripe(&path, "cancel_at_period_end=true")
        .await;
    move_past_the_end(&story, 10 * MINUTE_MS).await;
    stripe_tells_no_invoices(&story).await;
    let (status, row) = emit_late(&story).await;
    assert_eq!((status, row), (503, None));

    // The agent tries again; the last invoice is a draft still.
    world.repair_stripe().await;
    world.clock.advance_ms(MINUTE_MS);
    let (status, row) = emit_late(&story).await;
    assert_eq!((status, row.unwrap().carried_over), (200, false));
    // What was recorded once is answered, whatever Stripe tells.
    stripe_tells_no_invoices(&story).await;
    world.clock.advance_ms(MINUTE_MS);
    assert_eq!(emit_late(&story).await.0, 200);
}

#[tokio::test]
async fn after_the_last_invoice_it_is_held() {
    let story = Story::start().await;
    let subscription_id = story.customer.subscription_id.as_str();
    let path = format!("/v1/subscriptions/{subscription_id}");
    let world = &story.world;
    world
        .post_form_to_stripe(&path, "cancel_at_period_end=true")
        .await;
    move_past_the_end(&story, 2 * HOUR_MS).await;
    let (status, row) = emit_late(&story).await;
    assert_eq!((status, row.unwrap().status), (202, UsageStatus::Held));
    assert_eq!(story.in_stripe().await, (0, 0));
}

#[tokio::test]
async fn usage_of_the_open_period_asks_for_no_invoice() {
    let story = past_the_end(10 * MINUTE_MS).await;
    stripe_tells_no_invoices(&story).await;
    let (status, _) = story.emit(&story.event("now", 1)).await;
    assert_eq!((status, story.world.struck(0).await), (200, 0));
}
