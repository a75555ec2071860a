//! Stories of events that no webhook brought, and of usage that was refused
//! without a name.

use std::time::Duration;

use billing::{Clock, UsageStatus};
use ledger::{
    Applied, BillingEventRow, BillingEventState, Consequence, CustomerRow, CustomerStatus,
    SweptList, UnnamedRefusals,
};
use serde_json::json;
use stripe::{MeterEvent, MeterEventStream, RequestOptions};
use tokio::time::Instant;
use webhook::SweepReport;

use crate::story::{Story, invoice_event, record};
use crate::support::world::{DAY_MS, HOUR_MS, METER_EVENT_NAME, a_customer};

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

/// Reports of refused usage take all the time there is, again and again.
#[tokio::test]
async fn neither_list_waits_for_the_other_and_no_event_is_looked_at_twice() {
    const REPORTS: u64 = 12;
    let story = Story::start().await;
    let identifier = record(&story, "job-1", true).await;
    let customer = story.customer_who_left_unheard().await;
    story.disable_reports().await;
    for _ in 0..REPORTS {
        story.send_in_vain(&identifier).await;
    }
    let events = u64::try_from(story.events_of_stripe().await.len()).unwrap();
    story.world.clock.advance_ms(2 * HOUR_MS);
    let slow = json!({
        "kind": "delay_ms", "delay_ms": 200, "times": 99, "path_prefix": "/v2/core/events/",
    });
    story.world.break_stripe(&slow).await;

    let (mut looked_at, mut runs) = (0, 0);
    loop {
        let deadline = Instant::now() + Duration::from_millis(1_500);
        let swept = story.state.sweep(deadline).await.unwrap();
        looked_at += swept.looked_at;
        runs += 1;
        if runs == 1 {
            assert!(swept.is_cut_short, "{swept:?}");
            assert_eq!(story.status(&customer).await, CustomerStatus::Canceled);
        }
        if !swept.is_cut_short {
            break;
        }
    }
    assert_eq!(looked_at, REPORTS + events);
    assert_eq!(story.topic.of_kind("usage_rejected").len(), 12);
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
    story.disable_reports().await;
    story.send_in_vain(&identifier).await;
    let status = async || story.usage(&identifier).await.status;
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

/// Traffic to an archived meter goes on for days, and each report is long.
#[tokio::test]
async fn there_is_room_for_any_number_of_refusals_without_a_name() {
    let story = Story::start().await;
    let (ledger, now) = (&story.world.ledger, story.world.clock.now());
    let ids: Vec<String> = (0..120).map(|n| format!("evt_{n:03}")).collect();
    for (id, n) in ids.iter().zip(0..) {
        let refusals = UnnamedRefusals {
            stripe_event_id: id.clone(),
            meter_id: None,
            validation_start: now.plus_ms(n),
            validation_end: now.plus_ms(n),
            refused_events: 40,
            named_events: 5,
            codes: vec!["archived_meter".repeat(300)],
        };
        let event = BillingEventRow {
            stripe_event_id: id.clone(),
            event_type: "v1.billing.meter.error_report_triggered".to_owned(),
            customer_id: None,
            created_at: now,
            applied_at: now,
            state: BillingEventState::Done,
            notifications: Vec::new(),
            deliveries: Vec::new(),
        };
        let consequence = Some(Consequence::UnnamedRefusals(&refusals));
        let applied = ledger.apply_billing_event(&event, consequence).await;
        assert_eq!(applied.unwrap(), Applied::Done);
    }
    let listed = async || {
        let listed = ledger.unnamed_refusals().await.unwrap().into_iter();
        listed.map(|it| it.stripe_event_id).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ids);
    ledger.settle_unnamed_refusals(&ids[7]).await.unwrap();
    assert_eq!(listed().await, [&ids[..7], &ids[8..]].concat());
}
