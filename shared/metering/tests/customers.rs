//! What is known of a customer, for how long, and what Stripe is asked for it.

use billing::CustomerId;
use ledger::{CustomerRow, CustomerStatus};
use metering::{CustomerDirectory, CustomerError, KnownCustomer};
use serde_json::json;
use stripe::RequestOptions;

use crate::support::world::World;

const DAY_MS: i64 = 24 * 3_600_000;

struct Story {
    world: World,
    customer: CustomerRow,
    directory: CustomerDirectory,
}

impl Story {
    async fn start() -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        Self::of(world, customer)
    }

    fn of(world: World, customer: CustomerRow) -> Self {
        let (ledger, stripe) = (world.ledger.clone(), world.stripe.clone());
        Self {
            directory: CustomerDirectory::new(ledger, stripe, world.clock()),
            world,
            customer,
        }
    }

    async fn known(&self) -> KnownCustomer {
        let customer_id = &self.customer.customer_id;
        self.directory.customer(customer_id).await.unwrap().unwrap()
    }

    async fn break_reads_of(&self, path_prefix: &str) {
        let world = &self.world;
        world
            .break_stripe(json!({
                "kind": "error_before", "status": 400, "times": 99, "method": "GET",
                "path_prefix": path_prefix,
            }))
            .await;
    }
}

#[tokio::test]
async fn a_row_is_believed_for_ten_seconds() {
    let story = Story::start().await;
    assert_eq!(*story.known().await.row, story.customer);
    let suspended = CustomerRow {
        status: CustomerStatus::Suspended,
        ..story.customer.clone()
    };
    let ledger = &story.world.ledger;
    ledger
        .update_customer(&story.customer, suspended)
        .await
        .unwrap();
    story.world.clock.advance_ms(9_999);
    let known = story.known().await;
    assert_eq!(known.row.status, CustomerStatus::Active);
    assert_eq!(known.now, story.world.now());
    story.world.clock.advance_ms(1);
    assert_eq!(story.known().await.row.status, CustomerStatus::Suspended);
}

#[tokio::test]
async fn a_customer_who_is_just_being_onboarded_appears_at_once() {
    let story = Story::start().await;
    let absent = CustomerId::parse("cus_soon").unwrap();
    assert!(story.directory.customer(&absent).await.unwrap().is_none());
    let row = CustomerRow {
        customer_id: absent.clone(),
        ..story.customer.clone()
    };
    story.world.ledger.create_customer(&row).await.unwrap();
    assert!(story.directory.customer(&absent).await.unwrap().is_some());
}

#[tokio::test]
async fn past_its_period_a_customer_is_moved_to_the_current_one() {
    let story = Story::start().await;
    story.known().await;
    story.world.clock.advance_ms(32 * DAY_MS);
    story.world.settle_stripe().await;
    let known = story.known().await;
    assert_eq!(known.row.period_start, story.customer.period_end);
    assert!(known.now < known.row.period_end);
    let customer_id = &story.customer.customer_id;
    let stored = story.world.ledger.customer(customer_id).await.unwrap();
    assert_eq!(stored.unwrap().period_start, story.customer.period_end);
}

#[tokio::test]
async fn where_stripe_does_not_tell_the_period_the_row_serves_and_stripe_is_left_alone() {
    let story = Story::start().await;
    story.break_reads_of("/v1/subscriptions").await;
    story.world.clock.advance_ms(32 * DAY_MS);
    for _ in 0..5 {
        assert_eq!(*story.known().await.row, story.customer);
    }
    assert_eq!(story.world.struck(0).await, 1);
    story.world.repair_stripe().await;
    story.world.settle_stripe().await;
    story.world.clock.advance_ms(10_000);
    assert_eq!(
        story.known().await.row.period_start,
        story.customer.period_end
    );
}

#[tokio::test]
async fn a_test_clock_that_jumps_is_followed_at_once() {
    let world = World::start().await;
    let frozen_at = world.now().plus_ms(-3 * DAY_MS);
    let stripe = world.stripe.clone();
    let test_clock = stripe
        .create_test_clock(frozen_at.unix_s(), "story", &RequestOptions::new())
        .await
        .unwrap();
    let customer = world.onboard(Some(&test_clock.id)).await;
    let story = Story::of(world, customer);
    assert_eq!(story.known().await.now.unix_s(), frozen_at.unix_s());

    let later = frozen_at.plus_ms(DAY_MS).unix_s();
    stripe
        .advance_test_clock(&test_clock.id, later, &RequestOptions::new())
        .await
        .unwrap();
    story.world.settle_stripe().await;
    assert_eq!(story.known().await.now.unix_s(), later);

    story.break_reads_of("/v1/test_helpers/test_clocks").await;
    let customer_id = &story.customer.customer_id;
    let failed = story.directory.customer(customer_id).await;
    assert!(matches!(failed, Err(CustomerError::TestClock(_))));
    assert_eq!(story.world.struck(0).await, 1);
}
