//! Test clocks: where they may go, and what goes with them.

use reqwest::Method;
use serde_json::json;

use crate::support::{DAY, HOUR, START, Stripe, Subscriber, event, id, send};

#[tokio::test]
async fn a_clock_goes_forward_one_advance_at_a_time() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let path = format!("/v1/test_helpers/test_clocks/{}", ada.test_clock);
    let advance = async |to: i64| {
        let to = to.to_string();
        let form = [("frozen_time", to.as_str())];
        stripe.post(&format!("{path}/advance"), &form).await
    };
    advance(START).await.refused(400);
    advance(START - 1).await.refused(400);
    // Two of the shortest interval at most.
    advance(START + 60 * DAY).await.refused(400);
    let advancing = advance(START + HOUR).await.ok();
    assert_eq!(
        advancing["status_details"]["advancing"]["target_frozen_time"],
        START + HOUR
    );
    advance(START + 2 * HOUR).await.refused(429);
    assert_eq!(stripe.settle().await["clocks"], 1);
    let ready = stripe.get(&path).await;
    assert_eq!(
        (&ready["status"], &ready["frozen_time"]),
        (&json!("ready"), &json!(START + HOUR))
    );
}

#[tokio::test]
async fn a_deleted_clock_takes_its_customers_along() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    let listed = stripe
        .get(&format!("/v1/customers?test_clock={}", ada.test_clock))
        .await;
    assert_eq!(id(&listed["data"][0]), ada.customer);
    assert_eq!(stripe.get("/v1/customers").await["data"], json!([]));
    stripe
        .delete(&format!("/v1/test_helpers/test_clocks/{}", ada.test_clock))
        .await;
    for path in [
        format!("/v1/customers/{}", ada.customer),
        format!("/v1/subscriptions/{}", ada.subscription_id()),
        format!("/v1/test_helpers/test_clocks/{}", ada.test_clock),
    ] {
        send(stripe.request(Method::GET, &path)).await.refused(404);
    }
}

#[tokio::test]
async fn usage_may_carry_the_time_of_the_clock_or_of_the_account() {
    let stripe = Stripe::start().await;
    let ada = Subscriber::with_card(&stripe, "pm_card_visa").await;
    stripe.advance(&ada.test_clock, START + 50 * DAY).await;
    let token = stripe.session().await;
    let usage = [
        event("account", &ada.customer, "1", 0),
        event("clock", &ada.customer, "2", 50 * DAY),
        event("neither", &ada.customer, "4", 52 * DAY),
    ];
    stripe.stream(&token, &usage).await.ok();
    let done = stripe.settle().await;
    assert_eq!(
        (&done["aggregated"], &done["reported"]),
        (&json!(2), &json!(1))
    );
}
