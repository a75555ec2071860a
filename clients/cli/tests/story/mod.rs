//! A system, a customer, and an operator's commands.

pub(crate) mod catalog;
pub(crate) mod catalog_file;
pub(crate) mod clocked;
mod program;
mod redrives;
mod voids;

use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{
    ActionType, Clock, CustomerId, EventId, Identifier, Quantity, Timestamp, UsageEvent,
    UsageStatus,
};
use ledger::{Recorded, Transition, Transitioned, UsageEventRow};
use meterline_cli::reconcile::{CustomerReport, FindingKind, Repair};
use meterline_cli::{ReconcileOptions, Reconciler};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;
use stack::tables::names;
use stack::{Options, System};
use stripe::{CreatePrice, MeterEvent, PriceAmount, PriceTier, RequestOptions, UsageApi};
use tempfile::TempDir;
use web::SystemClock;

use crate::support::{self, Caller, HandClock};

pub(crate) const MINUTE_S: i64 = 60;
pub(crate) const HOUR_S: i64 = 3_600;
pub(crate) const DAY_S: i64 = 24 * HOUR_S;
/// In the past of every machine, so that the program, too, sees it settled.
const START_S: i64 = 1_784_505_620;

pub(crate) struct Story {
    pub(crate) system: System,
    pub(crate) caller: Caller,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) customer_id: CustomerId,
    folder: TempDir,
}

impl Story {
    /// With one customer.
    pub(crate) async fn start() -> Self {
        Self::with_usage_api(UsageApi::default()).await
    }

    /// The same at the machine's own time, which a program goes by.
    pub(crate) async fn start_today() -> Self {
        Self::starting(SystemClock.now().unix_s(), UsageApi::default()).await
    }

    /// The same, whose usage is reported by `usage_api`.
    pub(crate) async fn with_usage_api(usage_api: UsageApi) -> Self {
        Self::starting(START_S, usage_api).await
    }

    async fn starting(at_unix_s: i64, usage_api: UsageApi) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock::at_unix_s(at_unix_s));
        let mut options = Options::manual(folder.path());
        options.clock = clock.clone();
        options.usage_api = usage_api;
        let system = System::start(options).await.unwrap();
        let caller = Caller::of(&system);
        let customer_id = CustomerId::parse(&caller.onboard("first").await).unwrap();
        Self {
            system,
            caller,
            clock,
            customer_id,
            folder,
        }
    }

    /// The next customers pay in tiers: 2 cents a unit for 10, then 1.5 cents, and
    /// $1 once.
    pub(crate) async fn sell_in_tiers(&self) {
        let first = PriceTier {
            up_to: Some(10),
            unit_amount_decimal: Some("2".to_owned()),
            flat_amount_decimal: None,
        };
        let last = PriceTier {
            up_to: None,
            unit_amount_decimal: Some("1.5".to_owned()),
            flat_amount_decimal: Some("100".to_owned()),
        };
        let amount = PriceAmount::Tiered {
            tiers_mode: "graduated".to_owned(),
            tiers: vec![first, last],
        };
        self.sell_at(amount, "month").await;
    }

    /// The next customers pay 2 cents a unit once a year.
    pub(crate) async fn sell_by_the_year(&self) {
        let amount = PriceAmount::PerUnit {
            unit_amount_decimal: "2".to_owned(),
            transform_quantity: None,
        };
        self.sell_at(amount, "year").await;
    }

    async fn sell_at(&self, amount: PriceAmount, interval: &str) {
        let stripe = self.system.stripe();
        let price_id = self.customer().await.item.price_id;
        let sold = stripe.retrieve_price(&price_id).await.unwrap();
        let price = CreatePrice {
            product: sold.product,
            currency: sold.currency,
            amount,
            interval: interval.to_owned(),
            meter: sold.recurring.unwrap().meter,
            lookup_key: sold.lookup_key,
            transfer_lookup_key: true,
            ..CreatePrice::default()
        };
        let made = stripe.create_price(&price, &RequestOptions::new()).await;
        made.unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Emits `quantity` units, and answers the status of the event.
    pub(crate) async fn emit(&self, event_id: &str, quantity: u64) -> String {
        self.emit_for(self.customer_id.as_str(), event_id, quantity)
            .await
    }

    pub(crate) async fn emit_for(&self, customer: &str, event_id: &str, quantity: u64) -> String {
        let event = json!({
            "event_id": event_id, "customer_id": customer, "quantity": quantity,
            "action_type": "document_processed",
        });
        let (status, emitted) = self.caller.post("/v1/usage", event).await;
        assert!(status == 200 || status == 202, "{emitted}");
        emitted["status"].as_str().unwrap().to_owned()
    }

    /// Has Stripe strike every sending of usage by `kind`, until [`Story::heal`].
    pub(crate) async fn strike(&self, kind: &str) {
        let path_prefix = match self.system.stripe().usage_api() {
            UsageApi::MeterEventStream => "/v2/billing/meter_event_stream",
            UsageApi::MeterEvent => "/v1/billing/meter_events",
            UsageApi::UsageRecord => "/v1/subscription_items",
        };
        let fault = json!({ "kind": kind, "path_prefix": path_prefix, "times": 1_000 });
        support::fault(&self.system, Some(fault)).await;
    }

    /// An event that Stripe does not have, or whose answer was lost, by `kind`: pending.
    pub(crate) async fn emit_in_vain(&self, event_id: &str, quantity: u64, kind: &str) {
        self.strike(kind).await;
        assert_eq!(self.emit(event_id, quantity).await, "pending");
        self.heal().await;
    }

    /// Has Stripe strike as `fault` says, until [`Story::heal`].
    pub(crate) async fn order_fault(&self, fault: Value) {
        support::fault(&self.system, Some(fault)).await;
    }

    pub(crate) async fn heal(&self) {
        support::fault(&self.system, None).await;
    }

    /// Lets everything that comes later come: Stripe's sums, the totals, and so
    /// much time that nothing is in flight.
    pub(crate) async fn rest(&self) {
        support::settle(&self.system).await;
        support::pump_all(&self.system).await;
        self.clock.advance_s(6 * MINUTE_S);
    }

    /// Past every send window, with redelivery having said so.
    pub(crate) async fn quarantine_what_is_pending(&self) {
        support::pump_all(&self.system).await;
        self.clock.advance_s(26 * HOUR_S);
        self.system.redeliver().await.unwrap();
        self.rest().await;
    }

    pub(crate) fn identifier(&self, event_id: &str) -> Identifier {
        Identifier::of(&self.customer_id, &EventId::parse(event_id).unwrap())
    }

    pub(crate) async fn row(&self, event_id: &str) -> UsageEventRow {
        let identifier = self.identifier(event_id);
        let row = self.system.ledger().usage_event(&identifier).await;
        row.unwrap().unwrap()
    }

    pub(crate) async fn move_row(&self, event_id: &str, from: UsageStatus, to: UsageStatus) {
        let transition = Transition {
            from,
            to,
            at: self.now(),
            stripe_code: None,
        };
        let identifier = self.identifier(event_id);
        let ledger = self.system.ledger();
        let moved = ledger.transition_usage_event(&identifier, transition);
        assert_eq!(moved.await.unwrap(), Transitioned::Done);
    }

    /// Somebody sets the row's quantity in DynamoDB itself.
    pub(crate) async fn alter(&self, event_id: &str, quantity: u64) {
        let identifier = self.identifier(event_id);
        self.dynamodb()
            .update_item()
            .table_name(names().usage_events)
            .key("identifier", AttributeValue::S(identifier.to_string()))
            .update_expression("SET quantity = :quantity")
            .expression_attribute_values(":quantity", AttributeValue::N(quantity.to_string()))
            .send()
            .await
            .unwrap();
    }

    /// Somebody deletes the row in DynamoDB itself.
    pub(crate) async fn delete(&self, event_id: &str) {
        let identifier = self.identifier(event_id);
        self.dynamodb()
            .delete_item()
            .table_name(names().usage_events)
            .key("identifier", AttributeValue::S(identifier.to_string()))
            .send()
            .await
            .unwrap();
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        Connection::embedded(self.system.dynamodb_url()).client()
    }

    /// Stripe loses the event.
    pub(crate) async fn lose_in_stripe(&self, event_id: &str) {
        let row = self.row(event_id).await;
        let stripe = self.system.stripe();
        let (name, identifier) = (&row.meter_event_name, row.identifier.as_str());
        let options = RequestOptions::new();
        let cancelled = stripe.create_meter_event_adjustment(name, identifier, &options);
        cancelled.await.unwrap();
    }

    /// An event of `at_s` comes to Stripe and into the log, however late.
    pub(crate) async fn note_late(
        &self,
        customer_id: &CustomerId,
        event_id: &str,
        at_s: i64,
        quantity: u64,
    ) {
        let ledger = self.system.ledger();
        let customer = ledger.customer(customer_id).await.unwrap().unwrap();
        let at = Timestamp::from_unix_s(at_s);
        let event = UsageEvent {
            event_id: EventId::parse(event_id).unwrap(),
            customer_id: customer_id.clone(),
            subscription_item_id: None,
            quantity: Quantity::new(quantity).unwrap(),
            action_type: ActionType::parse("document_processed").unwrap(),
            occurred_at: Some(at),
            source: None,
        };
        let row = UsageEventRow::already_delivered(
            &event,
            (at, customer.subscription_started_at),
            Some("from elsewhere"),
            &customer.item.meter_event_name,
            event_id.to_owned(),
            self.now(),
        );
        let recorded = ledger.record_usage_event(&row, self.now(), 0).await;
        assert_eq!(recorded.unwrap(), Recorded::New);
        self.send(&row, row.identifier.as_str()).await;
    }

    /// Stripe is sent the event again under another identifier.
    pub(crate) async fn double_in_stripe(&self, event_id: &str) {
        let row = self.row(event_id).await;
        self.send(&row, "another").await;
    }

    async fn send(&self, row: &UsageEventRow, identifier: &str) {
        let event = MeterEvent::new(
            identifier,
            &row.meter_event_name,
            row.billed_at.unwrap().unix_ms(),
            row.customer_id.as_str(),
            row.quantity,
        );
        let options = RequestOptions::new();
        let created = self.system.stripe().create_meter_event(&event, &options);
        created.await.unwrap();
    }

    /// At once, in the midst of its period.
    pub(crate) async fn cancel_subscription(&self) {
        let ledger = self.system.ledger();
        let customer = ledger.customer(&self.customer_id).await.unwrap().unwrap();
        let id = customer.subscription_id;
        let url = format!("{}/v1/subscriptions/{id}", self.system.stripe_url());
        let key = self.system.stripe_secret_key().expose_secret();
        let canceled = support::http().delete(url).bearer_auth(key).send().await;
        assert!(canceled.unwrap().status().is_success());
        // The webhook tells the tables.
        support::settle(&self.system).await;
    }

    /// Everything that Stripe counts, or will: events and units.
    pub(crate) async fn in_stripe(&self) -> (u64, u64) {
        let url = format!(
            "{}/_simulator/meter_events?limit=0",
            self.system.stripe_url()
        );
        let request = support::http().get(url);
        let key = self.system.stripe_secret_key().expose_secret();
        let answer = request.bearer_auth(key).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        (
            answer["count"].as_u64().unwrap(),
            answer["value"].as_u64().unwrap(),
        )
    }

    /// Of the two days before now.
    pub(crate) async fn reconcile(&self) -> CustomerReport {
        self.reconcile_with(Repair::Nothing).await
    }

    pub(crate) async fn repair(&self) -> CustomerReport {
        self.reconcile_with(Repair::Open).await
    }

    pub(crate) async fn reconcile_with(&self, repair: Repair) -> CustomerReport {
        let to = self.now().plus_ms(HOUR_S * 1_000);
        let from = to.plus_ms(-2 * DAY_S * 1_000);
        let options = ReconcileOptions::new(from, to).unwrap();
        self.reconcile_range(&self.customer_id, options.with_repair(repair))
            .await
    }

    pub(crate) async fn reconcile_range(
        &self,
        customer_id: &CustomerId,
        options: ReconcileOptions,
    ) -> CustomerReport {
        let (ledger, stripe) = (self.system.ledger().clone(), self.system.stripe().clone());
        let reconciler = Reconciler::new(ledger, stripe, self.clock.clone());
        let report = reconciler.customer(customer_id, options).await;
        report.unwrap()
    }

    pub(crate) async fn pump(&self) {
        support::pump_all(&self.system).await;
    }

    pub(crate) async fn settle(&self) {
        support::settle(&self.system).await;
    }

    pub(crate) async fn totals(&self) -> (u64, u64) {
        support::totals(self.system.ledger(), self.customer_id.as_str()).await
    }
}

/// What a report says: kinds, and the ids of the events that are named.
pub(crate) fn findings(report: &CustomerReport) -> Vec<(FindingKind, Vec<&str>)> {
    report
        .findings
        .iter()
        .map(|finding| {
            let events = finding.events.iter();
            (
                finding.kind,
                events.map(|event| event.event_id.as_str()).collect(),
            )
        })
        .collect()
}
