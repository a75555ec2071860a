//! Stories of events that no webhook brought, and of usage that was refused
//! without a name.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod story;
#[path = "../../onboarding/tests/support/mod.rs"]
mod support;
mod topic;

use std::time::Duration;

use billing::{Clock, UsageStatus};
use ledger::{CustomerRow, CustomerStatus, SweptList};
use serde_json::json;
use story::{Story, invoice_event, record};
use stripe::{MeterEvent, MeterEventStream, RequestOptions};
use support::world::{DAY_MS, HOUR_MS, METER_EVENT_NAME, a_customer};
use tokio::time::Instant;
use webhook::SweepReport;

impl Story {
    /// A sweep with time enough.
    async fn sweep(&self) -> SweepReport {
        let deadline = Instant::now() + Duration::from_secs(60);
        self.state.sweep(deadline).await.unwrap()
    }

    /// The same, after what Stripe would have delivered by itself.
    async fn sweep_later(&self) -> SweepReport {
        self.world.clock.advance_ms(2 * HOUR_MS);
        self.sweep().await
    }

    /// A customer whose subscription ends while Stripe delivers nothing.
    async fn customer_who_left_unheard(&self) -> CustomerRow {
        let customer = self.onboard(&a_customer("acme")).await;
        self.disable_endpoint().await;
        let path = format!("/v1/subscriptions/{}", customer.subscription_id);
        self.world.stripe_delete(&path).await;
        self.world.settle().await;
        assert_eq!(self.status(&customer).await, CustomerStatus::Active);
        customer
    }
}

#[tokio::test]
async fn what_stripe_could_not_deliver_is_swept_once() {
    let story = Story::start().await;
    let customer = story.customer_who_left_unheard().await;
    // For an hour it is Stripe's to deliver.
    assert_eq!(story.sweep().await.applied, 0);
    let swept = story.sweep_later().await;
    assert_eq!((swept.applied, swept.failed), (1, 0), "{swept:?}");
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
    assert_eq!(story.topic.kinds(), ["canceled"]);

    let row = story.row(&customer).await;
    assert_eq!(story.sweep_later().await.applied, 0);
    assert_eq!(story.sweep().await, SweepReport::default());
    assert_eq!(story.row(&customer).await, row);
    assert_eq!(story.topic.kinds(), ["canceled"]);
}

#[tokio::test]
async fn a_sweep_passes_by_what_webhooks_brought_and_what_is_not_ours() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    let world = &story.world;
    let other = world.stripe_form("/v1/customers", "email=bob@example.com");
    let other = other.await["id"].as_str().unwrap().to_owned();
    let price_id = &customer.item.price_id;
    let form = format!("customer={other}&items[0][price]={price_id}");
    story.world.stripe_form("/v1/subscriptions", &form).await;
    world.settle().await;
    let (row, stored) = (story.row(&customer).await, story.stored_events().await);
    assert!(stored > 0);
    let swept = story.sweep_later().await;
    assert!(swept.looked_at > 2, "{swept:?}");
    assert_eq!((swept.applied, swept.failed), (0, 0));
    assert_eq!(story.row(&customer).await, row);
}

#[tokio::test]
async fn a_sweep_without_time_goes_on_where_it_stood() {
    let story = Story::start().await;
    let customer = story.customer_who_left_unheard().await;
    story.world.clock.advance_ms(2 * HOUR_MS);
    let cut_short = story.state.sweep(Instant::now()).await.unwrap();
    assert!(cut_short.is_cut_short && cut_short.looked_at == 0);
    assert_eq!(story.sweep().await.applied, 1);
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
}

#[tokio::test]
async fn a_list_of_many_pages_is_gone_through() {
    let story = Story::start().await;
    let customer = story.onboard(&a_customer("acme")).await;
    story.disable_endpoint().await;
    let path = format!("/v1/subscriptions/{}", customer.subscription_id);
    let count: u64 = 120;
    for n in 0..count {
        let form = format!("metadata[n]={n}");
        story.world.stripe_form(&path, &form).await;
    }
    let swept = story.sweep_later().await;
    assert_eq!((swept.applied, swept.failed), (count, 0), "{swept:?}");
    let sweep = story.world.ledger.event_sweep(SweptList::Snapshot).await;
    let sweep = sweep.unwrap().unwrap();
    assert_eq!((sweep.version, sweep.window), (2, None));
}

#[tokio::test]
async fn what_cannot_be_dealt_with_is_tried_again_for_a_week() {
    let story = Story::start().await;
    let customer = story.customer_who_left_unheard().await;
    let fault = json!({
        "kind": "error_before", "times": 99, "path_prefix": "/v1/subscriptions/",
    });
    story.world.break_stripe(&fault).await;
    for _ in 0..2 {
        let swept = story.sweep_later().await;
        assert_eq!((swept.applied, swept.failed), (0, 1), "{swept:?}");
    }
    story.world.repair_stripe().await;
    assert_eq!(story.sweep_later().await.applied, 1);
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);

    // One that never passes holds the sweep up no longer than a week.
    let other = story.onboard(&a_customer("other")).await;
    let path = format!("/v1/subscriptions/{}", other.subscription_id);
    story.world.stripe_delete(&path).await;
    story.world.break_stripe(&fault).await;
    let failed = story.sweep_later().await.failed;
    assert!(failed > 0);
    story.world.clock.advance_ms(8 * DAY_MS);
    let swept = story.sweep().await;
    assert_eq!((swept.failed, swept.given_up), (0, failed), "{swept:?}");
    let swept = story.sweep_later().await;
    assert_eq!((swept.failed, swept.given_up), (0, 0), "{swept:?}");
}

/// It was applied and perhaps not told, and Stripe does not send it again.
#[tokio::test]
async fn a_sweep_tells_what_was_not_told() {
    let story = Story::start().await;
    let customer = story.customer_who_left_unheard().await;
    story.world.clock.advance_ms(2 * HOUR_MS);
    story.topic.refuse_next();
    assert_eq!(story.sweep().await.failed, 1);
    assert_eq!(story.topic.kinds(), [""; 0]);
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
    assert_eq!(story.sweep_later().await.failed, 0);
    assert_eq!(story.topic.kinds(), ["canceled"]);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_keeps_nobody_from_the_other() {
    let story = Story::start().await;
    let customer = story.customer_who_left_unheard().await;
    story.world.clock.advance_ms(2 * HOUR_MS);
    let fault = json!({ "kind": "error_before", "times": 99, "path_prefix": "/v2/core/events" });
    story.world.break_stripe(&fault).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    assert!(story.state.sweep(deadline).await.is_err());
    assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
    story.world.repair_stripe().await;
    assert_eq!(story.sweep().await.applied, 0);
}

#[tokio::test]
async fn a_report_of_refused_usage_is_swept_too() {
    let story = Story::start().await;
    let identifier = record(&story, "job-1", true).await;
    for destination in story.world.stripe.list_event_destinations().await.unwrap() {
        let options = RequestOptions::new();
        let disabled = story
            .world
            .stripe
            .disable_event_destination(&destination.id, &options);
        disabled.await.unwrap();
    }
    let now_ms = story.world.clock.now().unix_ms();
    let event = MeterEvent::new(
        identifier.as_str(),
        METER_EVENT_NAME,
        now_ms,
        "cus_unknown",
        5,
    );
    let stream = MeterEventStream::new(story.world.stripe.clone());
    stream.send(&[event], &RequestOptions::new()).await.unwrap();
    story.world.settle().await;
    let status = async || {
        let row = story.world.ledger.usage_event(&identifier).await;
        row.unwrap().unwrap().status
    };
    assert_eq!(status().await, UsageStatus::Delivered);
    assert_eq!(story.sweep_later().await.applied, 1);
    assert_eq!(status().await, UsageStatus::Rejected);
    assert_eq!(story.topic.kinds(), ["usage_rejected"]);
    assert_eq!(story.sweep_later().await.applied, 0);
}

#[tokio::test]
async fn refusals_without_a_name_are_listed_until_they_are_found() {
    let story = Story::start().await;
    let now_ms = story.world.clock.now().unix_ms();
    // More than Stripe gives samples of.
    let count: u64 = 40;
    let events: Vec<MeterEvent> = (0..count)
        .map(|n| {
            MeterEvent::new(
                format!("job-{n}"),
                METER_EVENT_NAME,
                now_ms,
                "cus_unknown",
                5,
            )
        })
        .collect();
    let stream = MeterEventStream::new(story.world.stripe.clone());
    stream.send(&events, &RequestOptions::new()).await.unwrap();
    story.world.settle().await;
    let told = &story.topic.of_kind("usage_rejected")[0];
    assert_eq!(told["data"]["needs_reconciliation"], true);
    let ledger = &story.world.ledger;
    let listed = ledger.unnamed_refusals().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(told["stripe_event_id"], listed[0].stripe_event_id);
    assert_eq!(listed[0].refused_events, count);
    assert!(listed[0].named_events < count);
    assert_eq!(listed[0].codes, ["meter_event_customer_not_found"]);
    assert!(listed[0].meter_id.is_some());

    let id = &listed[0].stripe_event_id;
    for _ in 0..2 {
        ledger.settle_unnamed_refusals(id).await.unwrap();
        assert_eq!(ledger.unnamed_refusals().await.unwrap(), []);
    }
    // Its repeat does not list it again.
    let customer = story.onboard(&a_customer("acme")).await;
    let other = invoice_event("evt_1", "invoice.finalized", &customer, 0);
    story.deliver(&other).await.expect(200);
    story.sweep_later().await;
    assert_eq!(ledger.unnamed_refusals().await.unwrap(), []);
}
