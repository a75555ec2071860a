//! What Stripe itself sends of payments and trials: nothing here is made by hand.

use billing::Clock;
use ledger::{CustomerRow, CustomerStatus};
use serde_json::{Value, json};

use crate::story::Story;
use crate::support::world::{DAY_MS, HOUR_MS, a_customer};

const HOUR_S: i64 = HOUR_MS / 1_000;
const DAY_S: i64 = DAY_MS / 1_000;

impl Story {
    /// Somebody on a test clock, who pays by `card`.
    async fn onboard_with(&self, card: &str) -> CustomerRow {
        let mut body = a_customer("acme");
        body["payment_method"] = json!(card);
        body["test_clock"] = json!(self.world.test_clock().await);
        self.onboard(&body).await
    }

    /// A period of 1,005 units comes to its end, and its invoice is charged.
    async fn bill_a_period(&self, customer: &CustomerRow) {
        let now = self.world.clock.now();
        self.use_units(customer, now, 1_005).await;
        let after_draft_s = customer.period_end.unix_s() + 2 * HOUR_S;
        self.move_clock(customer, after_draft_s).await;
    }

    fn told(&self, kind: &str) -> Vec<Value> {
        self.topic.of_kind(kind)
    }
}

#[tokio::test]
async fn a_payment_that_is_disputed_is_told_of_once() {
    let story = Story::start().await;
    let customer = story.onboard_with("pm_card_createDispute").await;
    story.bill_a_period(&customer).await;
    let disputes = story.stripe_get("/v1/disputes").await;
    let dispute = &disputes["data"][0];
    let told = story.told("dispute");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["customer"]["external_id"], "acme");
    let data = &told[0]["data"];
    assert_eq!(
        (&data["dispute_id"], &data["charge_id"]),
        (&dispute["id"], &dispute["charge"])
    );
    assert_eq!(
        (&data["amount"], &data["reason"]),
        (&json!("20.10"), &json!("fraudulent"))
    );
    // Who disputes has paid: whether that ends the service is the operator's.
    assert_eq!(story.status(&customer).await, CustomerStatus::Active);
}

#[tokio::test]
async fn a_payment_that_wants_its_owner_is_due_until_the_owner_authenticates() {
    let story = Story::start().await;
    let customer = story.onboard_with("pm_card_authenticationRequired").await;
    story.bill_a_period(&customer).await;
    assert_eq!(story.status(&customer).await, CustomerStatus::PastDue);
    assert_eq!(story.told("payment_action_required").len(), 1);
    assert_eq!(story.told("receipt").len(), 0);

    let intents = story.stripe_get("/v1/payment_intents").await;
    let intents = intents["data"].as_array().unwrap().iter();
    let waiting = intents
        .filter(|intent| intent["status"] == "requires_action")
        .map(|intent| intent["id"].as_str().unwrap())
        .next();
    let path = format!(
        "/_simulator/payment_intents/{}/authenticate",
        waiting.unwrap()
    );
    story
        .world
        .tell_simulator(&path, &json!({}))
        .await
        .expect(200);
    story.world.settle().await;
    assert_eq!(story.status(&customer).await, CustomerStatus::Active);
    assert_eq!(story.told("receipt").len(), 1);
    assert_eq!(story.told("reactivated").len(), 1);
}

#[tokio::test]
async fn the_end_of_a_trial_is_told_of_three_days_before() {
    let story = Story::start().await;
    let mut body = a_customer("acme");
    body["trial_period_days"] = json!(7);
    body["test_clock"] = json!(story.world.test_clock().await);
    let customer = story.onboard(&body).await;
    let trial_ends_s = customer.period_end.unix_s();
    story.move_clock(&customer, trial_ends_s - 4 * DAY_S).await;
    assert_eq!(story.told("trial_will_end").len(), 0);
    story.move_clock(&customer, trial_ends_s - 2 * DAY_S).await;
    let told = story.told("trial_will_end");
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0]["data"],
        json!({ "trial_ends_at": customer.period_end.to_string() })
    );
}
