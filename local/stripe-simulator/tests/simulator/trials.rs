//! The end of a trial is announced.

use crate::support::{DAY, START, Stripe, Subscriber, catalog, give_card, id};

/// Subscribes a customer whose trial lasts so many days, and who lives on a test clock.
async fn on_trial(stripe: &Stripe, days: i64) -> Subscriber {
    let (meter, price) = catalog(stripe).await;
    let start = START.to_string();
    let form = [("frozen_time", start.as_str())];
    let test_clock = stripe.post("/v1/test_helpers/test_clocks", &form).await;
    let test_clock = id(&test_clock.ok());
    let form = [("test_clock", test_clock.as_str())];
    let customer = id(&stripe.post("/v1/customers", &form).await.ok());
    give_card(stripe, &customer, "pm_card_visa").await;
    let days = days.to_string();
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("trial_period_days", &days),
    ];
    let subscription = stripe.post("/v1/subscriptions", &form).await.ok();
    Subscriber {
        test_clock,
        customer,
        meter,
        subscription,
    }
}

async fn announcements(stripe: &Stripe) -> usize {
    let path = "/v1/events?type=customer.subscription.trial_will_end";
    let events = stripe.get(path).await;
    events["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_trials_end_is_announced_three_days_before() {
    let stripe = Stripe::start().await;
    let ada = on_trial(&stripe, 14).await;
    stripe.advance(&ada.test_clock, START + 11 * DAY - 1).await;
    assert_eq!(announcements(&stripe).await, 0);
    stripe.advance(&ada.test_clock, START + 11 * DAY).await;
    assert_eq!(announcements(&stripe).await, 1);
    assert_eq!(ada.status(&stripe).await, "trialing");
    stripe.advance(&ada.test_clock, START + 14 * DAY).await;
    assert_eq!(announcements(&stripe).await, 1, "once");
    assert_eq!(ada.status(&stripe).await, "active");
}

#[tokio::test]
async fn the_end_of_a_short_trial_is_announced_at_once() {
    let stripe = Stripe::start().await;
    on_trial(&stripe, 3).await;
    let told = stripe.told_of(&["customer.subscription"]).await;
    assert_eq!(
        told,
        [
            "customer.subscription.created",
            "customer.subscription.trial_will_end",
        ]
    );
}

#[tokio::test]
async fn a_subscription_that_ends_before_announces_nothing() {
    let stripe = Stripe::start().await;
    let ada = on_trial(&stripe, 14).await;
    let path = format!("/v1/subscriptions/{}", ada.subscription_id());
    stripe.delete(&path).await;
    stripe.advance(&ada.test_clock, START + 15 * DAY).await;
    assert_eq!(announcements(&stripe).await, 0);
}

#[tokio::test]
async fn without_a_test_clock_it_is_announced_in_the_accounts_time() {
    let stripe = Stripe::start().await;
    let (_, price) = catalog(&stripe).await;
    let customer = id(&stripe.post("/v1/customers", &[]).await.ok());
    let form = [
        ("customer", customer.as_str()),
        ("items[0][price]", &price),
        ("trial_period_days", "14"),
    ];
    stripe.post("/v1/subscriptions", &form).await.ok();
    stripe.clock.pass(11 * DAY - 1);
    stripe.settle().await;
    assert_eq!(announcements(&stripe).await, 0);
    stripe.clock.pass(1);
    stripe.settle().await;
    assert_eq!(announcements(&stripe).await, 1);
}
