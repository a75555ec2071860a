//! Usage of several meters: the catalog says which one counts an action.

use billing::{Catalog, CatalogMeter, CatalogTerms, HeldReason, Timestamp, UsageStatus};
use ledger::{CatalogStored, CustomerRow};
use metering::CATALOG_FRESH_MS;
use serde_json::{Value, json};
use stripe::{ListMeterEventSummaries, UsageApi};

use crate::story::{HOUR_MS, Story, problem};
use crate::support::world::{METER_EVENT_NAME, World};

const TOKENS: &str = "llm_tokens";

fn meter(event_name: &str, actions: &[&str]) -> CatalogMeter {
    CatalogMeter {
        event_name: event_name.to_owned(),
        lookup_key: event_name.to_owned(),
        product_id: format!("prod_{event_name}"),
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
    }
}

/// Documents and tokens, each by its own meter.
fn documents_and_tokens(default_meter: Option<&str>) -> Catalog {
    let terms = CatalogTerms {
        meters: vec![
            meter(METER_EVENT_NAME, &["document_processed"]),
            meter(TOKENS, &["llm.*"]),
        ],
        default_meter: default_meter.map(str::to_owned),
    };
    terms.try_into().unwrap()
}

impl Story {
    /// A customer of both meters, and the catalog of both.
    async fn of_two_meters(usage_api: UsageApi) -> Self {
        let world = World::with_usage_api(usage_api).await;
        let customer = world.onboard(None).await;
        let named = CustomerRow {
            item: ledger::MeteredItem {
                meter_event_name: METER_EVENT_NAME.to_owned(),
                ..customer.item.clone()
            },
            ..customer.clone()
        };
        world
            .ledger
            .update_customer(&customer, named)
            .await
            .unwrap();
        let read = world.ledger.customer(&customer.customer_id).await;
        let customer = world.subscribe(&read.unwrap().unwrap(), TOKENS).await;
        let story = Self::of(world, customer).await;
        story.set_catalog(documents_and_tokens(None)).await;
        story
    }

    async fn take_further_items_out(&self) {
        let without = CustomerRow {
            more_items: Vec::new(),
            ..self.customer.clone()
        };
        let ledger = &self.world.ledger;
        ledger
            .update_customer(&self.customer, without)
            .await
            .unwrap();
    }

    async fn set_catalog(&self, catalog: Catalog) {
        let ledger = &self.world.ledger;
        let read = ledger.catalog().await.unwrap();
        let stored = ledger.store_catalog(read.as_ref(), catalog, self.world.now());
        assert_eq!(stored.await.unwrap(), CatalogStored::Done);
    }

    fn event_of(&self, action_type: &str, event_id: &str, quantity: u64) -> Value {
        let mut event = self.event(event_id, quantity);
        event["action_type"] = json!(action_type);
        event
    }

    /// Units that Stripe counts for the customer's item of `event_name`.
    async fn units_of(&self, event_name: &str) -> u64 {
        let stripe = &self.world.stripe;
        let item = self.customer.item_of_meter(event_name).unwrap();
        self.world.settle_stripe().await;
        if !stripe.usage_api().has_meter() {
            let summaries = stripe.list_usage_record_summaries(&item.subscription_item_id);
            return summaries
                .await
                .unwrap()
                .iter()
                .map(|it| it.total_usage)
                .sum();
        }
        let minute = |at: Timestamp| at.unix_s() / 60 * 60;
        let now = self.world.now();
        let list = ListMeterEventSummaries {
            customer: self.customer.customer_id.to_string(),
            start_time: minute(now.plus_ms(-HOUR_MS)),
            end_time: minute(now.plus_ms(HOUR_MS)),
            value_grouping_window: None,
        };
        let summaries = stripe.list_meter_event_summaries(&item.meter_id, &list);
        let units: i64 = summaries
            .await
            .unwrap()
            .iter()
            .map(|it| it.aggregated_value)
            .sum();
        u64::try_from(units).unwrap()
    }
}

#[tokio::test]
async fn each_action_is_counted_by_its_meter_in_every_way_into_stripe() {
    for usage_api in UsageApi::ALL {
        let story = Story::of_two_meters(usage_api).await;
        let (status, answer) = story.emit(&story.event("job-1", 3)).await;
        assert_eq!(status, 200, "{answer}");
        let events = [
            story.event_of("llm.input", "job-2", 700),
            story.event_of("document_processed", "job-3", 1),
            story.event_of("llm.output", "job-4", 50),
        ];
        let (_, answer) = story.emit_batch(&json!({ "events": events })).await;
        assert_eq!(answer["delivered"], 3, "{usage_api}: {answer}");
        let counted = (
            story.units_of(METER_EVENT_NAME).await,
            story.units_of(TOKENS).await,
        );
        assert_eq!(counted, (4, 750), "{usage_api}");
        assert_eq!(story.row("job-4").await.meter_event_name, TOKENS);
    }
}

#[tokio::test]
async fn what_the_catalog_does_not_cover_is_refused_or_goes_to_the_default() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    let event = story.event_of("image_made", "job-1", 1);
    let (status, answer) = story.emit(&event).await;
    let refused = (400, problem("invalid-field"), json!("action_type"));
    assert_eq!(
        (status, answer["type"].clone(), answer["field"].clone()),
        refused
    );
    assert_eq!(story.status_in_log("job-1").await, None);
    // In a batch it spoils no other.
    let batch = json!({ "events": [event, story.event("job-2", 2)] });
    let (_, answer) = story.emit_batch(&batch).await;
    assert_eq!(
        (&answer["rejected"], &answer["delivered"]),
        (&json!(1), &json!(1))
    );
    // The operator changes the catalog; no function starts anew.
    story.set_catalog(documents_and_tokens(Some(TOKENS))).await;
    story.world.clock.advance_ms(CATALOG_FRESH_MS);
    let (status, answer) = story.emit(&event).await;
    assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
    assert_eq!(story.row("job-1").await.meter_event_name, TOKENS);
}

#[tokio::test]
async fn what_was_recorded_keeps_its_meter_whatever_becomes_of_the_catalog() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.world.break_stream(503, 3).await;
    let pending = story.event_of("llm.input", "job-1", 7);
    let (status, _) = story.emit(&pending).await;
    assert_eq!(status, 202);
    let terms = CatalogTerms {
        meters: vec![meter(METER_EVENT_NAME, &["document_processed"])],
        default_meter: None,
    };
    story.set_catalog(terms.try_into().unwrap()).await;
    story.world.clock.advance_ms(CATALOG_FRESH_MS);
    let (status, answer) = story.emit(&pending).await;
    assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
    assert_eq!(story.row("job-1").await.meter_event_name, TOKENS);
    let (status, _) = story.emit(&story.event_of("llm.input", "job-2", 7)).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn usage_that_no_item_bills_is_held_and_never_sent() {
    let story = Story::start().await;
    story.set_catalog(documents_and_tokens(None)).await;
    for duplicate in [false, true] {
        let event = story.event_of("llm.input", "job-1", 7);
        let (status, answer) = story.emit(&event).await;
        assert_eq!(
            (status, &answer["status"]),
            (202, &json!("held")),
            "{answer}"
        );
        assert_eq!(answer["duplicate"], duplicate);
    }
    let row = story.row("job-1").await;
    assert_eq!(row.held_reason, Some(HeldReason::NoSubscriptionItem));
    assert_eq!(row.meter_event_name, TOKENS);
    assert_eq!(story.in_stripe().await, (0, 0));
    // Whatever it names: it is chosen anew once something bills it.
    let mut naming = story.event_of("llm.input", "job-3", 7);
    naming["subscription_item_id"] = json!(story.customer.item.subscription_item_id);
    let (status, answer) = story.emit(&naming).await;
    assert_eq!((status, &answer["status"]), (202, &json!("held")));
    // Others of the same customer are billed as ever.
    let (status, _) = story.emit(&story.event("job-2", 1)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_pending_event_whose_item_is_taken_away_is_quarantined() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    story.world.break_stream(503, 3).await;
    let event = story.event_of("llm.input", "job-1", 7);
    let (status, _) = story.emit(&event).await;
    assert_eq!(status, 202);
    story.take_further_items_out().await;
    story.world.clock.advance_ms(11_000);
    let (status, answer) = story.emit(&event).await;
    assert_eq!((status, &answer["status"]), (202, &json!("quarantined")));
    let quarantined = Some(UsageStatus::Quarantined);
    assert_eq!(story.status_in_log("job-1").await, quarantined);
    assert_eq!(story.in_stripe().await, (0, 0));
}

#[tokio::test]
async fn usage_of_before_its_item_was_added_is_billed_from_then_on() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    let added_at = story.world.now();
    let mut row = story.customer.clone();
    row.subscription_started_at = added_at.plus_ms(-48 * HOUR_MS);
    row.period_start = row.subscription_started_at;
    row.more_items[0].added_at = Some(added_at);
    let ledger = &story.world.ledger;
    ledger.update_customer(&story.customer, row).await.unwrap();
    let yesterday = added_at.plus_ms(-24 * HOUR_MS);
    for (action_type, carried_over) in [("llm.input", true), ("document_processed", false)] {
        let mut event = story.event_of(action_type, action_type, 7);
        event["occurred_at"] = json!(yesterday.to_string());
        let (status, answer) = story.emit(&event).await;
        assert_eq!(status, 200, "{answer}");
        let recorded = story.row(action_type).await;
        assert_eq!(recorded.carried_over, carried_over, "{action_type}");
        assert_eq!(recorded.billed_at.unwrap() >= added_at, carried_over);
    }
}

#[tokio::test]
async fn a_row_from_before_the_item_quarantines_nothing() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    // What this process remembers of the customer.
    story.take_further_items_out().await;
    let (status, _) = story.emit(&story.event("job-1", 1)).await;
    assert_eq!(status, 200);
    let ledger = &story.world.ledger;
    let read = ledger.customer(&story.customer.customer_id).await;
    let (read, row) = (read.unwrap().unwrap(), story.customer.clone());
    ledger.update_customer(&read, row).await.unwrap();
    // Another process records usage of the item that was added, and does not
    // get it to Stripe.
    let other = Story::of(story.world, story.customer).await;
    other.world.break_stream(503, 3).await;
    let event = other.event_of("llm.input", "job-2", 7);
    let (status, _) = other.emit(&event).await;
    assert_eq!(status, 202);
    let again = other.world.http.post(format!("{}/v1/usage", story.url));
    let again = again.bearer_auth(&other.key).body(event.to_string());
    let answer: Value = again.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "delivered", "{answer}");
}

#[tokio::test]
async fn a_named_item_must_be_the_one_that_bills_the_action() {
    let story = Story::of_two_meters(UsageApi::default()).await;
    let tokens = &story
        .customer
        .item_of_meter(TOKENS)
        .unwrap()
        .subscription_item_id;
    let mut event = story.event("job-1", 1);
    event["subscription_item_id"] = json!(tokens);
    let (status, answer) = story.emit(&event).await;
    assert_eq!(
        (status, &answer["field"]),
        (400, &json!("subscription_item_id"))
    );
    event["action_type"] = json!("llm.input");
    let (status, _) = story.emit(&event).await;
    assert_eq!(status, 200);
}
