//! Stories of usage that is pending when its period's invoice is made: it is in
//! Stripe before the draft's hour begins.

use billing::{ActionType, Clock, EventId, Quantity, UsageEvent, UsageStatus};
use ledger::{Advance, Advanced, CustomerRow, UsageEventRow};
use serde_json::json;
use stripe::Invoice;

use crate::story::Story;
use crate::support::world::{HOUR_MS, a_customer};

const MINUTE_MS: i64 = 60_000;
const STREAM: &str = "/v2/billing/meter_event_stream";

struct Pending {
    story: Story,
    customer: CustomerRow,
}

impl Pending {
    /// An hour before their period's end three events of two units are recorded
    /// and not sent; the totals know of them.
    async fn start() -> Self {
        let story = Story::start().await;
        let customer = story.onboard(&a_customer("acme")).await;
        let to_the_end_ms = customer.period_end.ms_since(story.world.clock.now());
        story.world.clock.advance_ms(to_the_end_ms - HOUR_MS);
        let pending = Self { story, customer };
        let mut advance = Advance::default();
        for n in 0..3 {
            let row = pending.record(&format!("job-{n}")).await;
            advance
                .total(row.total_key())
                .enter(UsageStatus::Pending, row.quantity);
        }
        let ledger = &pending.story.world.ledger;
        let advanced = ledger
            .advance(
                "shard",
                None,
                "1",
                &advance,
                billing::Timestamp::from_unix_s(0),
            )
            .await;
        assert_eq!(advanced.unwrap(), Advanced::Done);
        pending
    }

    async fn record(&self, event_id: &str) -> UsageEventRow {
        let now = self.story.world.clock.now();
        let event = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: self.customer.customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(2).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: None,
            source: None,
        };
        let time = self.customer.billing_time(&self.customer.item, now, now);
        let name = &self.customer.item.meter_event_name;
        let row = UsageEventRow::new(&event, now, time, name, event_id.to_owned(), now);
        let ledger = &self.story.world.ledger;
        ledger.record_usage_event(&row, now, 0).await.unwrap();
        row
    }

    /// Lets the period end and Stripe tell of it.
    async fn end_the_period(&self) {
        self.pass(HOUR_MS + 1_000).await;
    }

    async fn pass(&self, duration_ms: i64) {
        self.story.world.clock.advance_ms(duration_ms);
        self.story.world.settle().await;
    }

    async fn break_stream(&self) {
        let fault = json!({
            "kind": "error_before", "status": 503, "times": 999, "path_prefix": STREAM,
        });
        self.story.world.break_stripe(&fault).await;
    }

    /// How many of the events are in this status.
    async fn count(&self, status: UsageStatus) -> usize {
        let rows = self.story.world.tables.scan("UsageEventsTable").await;
        let is_in = |row: &&crate::support::tables::Item| {
            row["status"].as_s().map(String::as_str) == Ok(status.as_str())
        };
        rows.iter().filter(is_in).count()
    }

    async fn invoice(&self) -> Invoice {
        let invoices = self.story.invoices(&self.customer).await;
        let end = self.customer.period_end.unix_s();
        let mut invoices = invoices.into_iter();
        invoices.find(|invoice| invoice.period_end == end).unwrap()
    }

    /// When the draft ends, from now on.
    async fn draft_ends_in_ms(&self) -> i64 {
        let ends_at = self.invoice().await.automatically_finalizes_at.unwrap();
        ends_at * 1_000 - self.story.world.clock.now().unix_ms()
    }
}

#[tokio::test]
async fn what_is_pending_is_delivered_before_the_drafts_hour_begins() {
    let pending = Pending::start().await;
    pending.end_the_period().await;
    assert_eq!(pending.count(UsageStatus::Delivered).await, 3);
    pending.pass(2 * HOUR_MS).await;
    let invoice = pending.invoice().await;
    assert_ne!(invoice.status.as_deref(), Some("draft"));
    assert_eq!(invoice.lines.iter().next().unwrap().quantity, Some(6));
}

#[tokio::test]
async fn while_it_cannot_be_delivered_the_draft_waits() {
    let pending = Pending::start().await;
    pending.break_stream().await;
    pending.end_the_period().await;
    assert_eq!(pending.count(UsageStatus::Pending).await, 3);
    assert!(pending.draft_ends_in_ms().await > 2 * HOUR_MS, "it runs");

    pending.story.world.repair_stripe().await;
    // Stripe delivers the event again.
    for _ in 0..30 {
        pending.pass(MINUTE_MS).await;
    }
    assert_eq!(pending.count(UsageStatus::Delivered).await, 3);
    assert!(pending.draft_ends_in_ms().await <= HOUR_MS, "it waits");
}

#[tokio::test]
async fn what_cannot_be_delivered_for_an_hour_holds_the_draft_no_longer() {
    let pending = Pending::start().await;
    pending.break_stream().await;
    pending.end_the_period().await;
    for _ in 0..60 {
        pending.pass(10 * MINUTE_MS).await;
        if pending.invoice().await.status.as_deref() != Some("draft") {
            break;
        }
    }
    // Three days have not passed: the event was acknowledged.
    assert_ne!(pending.invoice().await.status.as_deref(), Some("draft"));
    assert_eq!(pending.count(UsageStatus::Pending).await, 3);
}
