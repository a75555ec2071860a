//! Customers whose months pass at once.

use billing::{CustomerId, Timestamp};
use meterline_cli::ReconcileOptions;
use serde_json::json;
use stripe::RequestOptions;

use super::{DAY_S, HOUR_S, MINUTE_S, Story};

/// A customer on a clock of its own, whose period ends and is invoiced.
pub(crate) struct ClockedCustomer {
    pub(crate) customer_id: CustomerId,
    pub(crate) test_clock: String,
    pub(crate) started_s: i64,
}

pub(crate) async fn onboard_on_a_clock(story: &Story) -> ClockedCustomer {
    let started_s = story.now().unix_s();
    let stripe = story.system.stripe();
    let options = RequestOptions::new();
    let clock = stripe.create_test_clock(started_s, "year", &options);
    let test_clock = clock.await.unwrap().id;
    let body = json!({
        "email": "agent@example.com", "payment_method": "pm_card_visa",
        "external_id": "clocked", "test_clock": test_clock,
    });
    let (status, customer) = story.caller.post("/v1/customers", body).await;
    assert_eq!(status, 201, "{customer}");
    ClockedCustomer {
        customer_id: CustomerId::parse(customer["customer_id"].as_str().unwrap()).unwrap(),
        test_clock,
        started_s,
    }
}

pub(crate) async fn advance(story: &Story, customer: &ClockedCustomer, to_s: i64) {
    let stripe = story.system.stripe();
    let options = RequestOptions::new();
    let advanced = stripe.advance_test_clock(&customer.test_clock, to_s, &options);
    advanced.await.unwrap();
    story.settle().await;
    // What is known of the clock's time is old by now.
    story.clock.advance_s(MINUTE_S);
}

pub(crate) fn since(customer: &ClockedCustomer, days: i64) -> ReconcileOptions {
    let from = Timestamp::from_unix_s(customer.started_s - HOUR_S);
    let to = Timestamp::from_unix_s(customer.started_s + days * DAY_S);
    ReconcileOptions::new(from, to).unwrap()
}
