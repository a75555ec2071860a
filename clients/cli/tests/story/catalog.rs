//! A second meter, and the catalog that sends actions to it.

use billing::{Catalog, CatalogMeter, CatalogTerms};
use ledger::{CatalogStored, CustomerRow, MeteredItem, Updated};
use secrecy::ExposeSecret;
use serde_json::json;
use stripe::{
    Aggregation, CreateMeter, CreatePrice, CreateProduct, CreateSubscriptionItem,
    ListMeterEventSummaries, PriceAmount, RequestOptions,
};

use super::{HOUR_S, MINUTE_S, Story};
use crate::support;

/// What counts documents: the meter that everybody is onboarded with.
pub(crate) const DOCUMENTS: &str = "agent_operations";
/// What counts tokens, at 0.4 cents each.
pub(crate) const TOKENS: &str = "llm_tokens";

const TOKENS_LOOKUP_KEY: &str = "llm_tokens_monthly";

impl Story {
    /// With one customer of both meters.
    pub(crate) async fn of_two_meters(usage_api: stripe::UsageApi) -> Self {
        let story = Self::with_usage_api(usage_api).await;
        story.sell_tokens().await;
        story.subscribe_to_tokens().await;
        story
    }

    /// Tokens are sold beside documents from now on. Nobody subscribes to them yet.
    pub(crate) async fn sell_tokens(&self) {
        let stripe = self.system.stripe();
        let options = RequestOptions::new;
        let has_meter = stripe.usage_api().has_meter();
        let meter = CreateMeter {
            display_name: "Tokens".to_owned(),
            event_name: TOKENS.to_owned(),
            formula: Aggregation::Sum,
        };
        let meter = match has_meter {
            true => Some(stripe.create_meter(&meter, &options()).await.unwrap().id),
            false => None,
        };
        let product = CreateProduct {
            name: "Tokens".to_owned(),
            ..CreateProduct::default()
        };
        let product = stripe.create_product(&product, &options()).await.unwrap();
        let price = CreatePrice {
            product: product.id.clone(),
            currency: "usd".to_owned(),
            amount: PriceAmount::PerUnit {
                unit_amount_decimal: "0.4".to_owned(),
                transform_quantity: None,
            },
            interval: "month".to_owned(),
            meter,
            lookup_key: Some(TOKENS_LOOKUP_KEY.to_owned()),
            ..CreatePrice::default()
        };
        stripe.create_price(&price, &options()).await.unwrap();
        self.store_catalog(&[(DOCUMENTS, "document_processed"), (TOKENS, "llm.*")])
            .await;
    }

    /// From now on each of the meters counts the action beside it.
    pub(crate) async fn store_catalog(&self, meters: &[(&str, &str)]) {
        let stripe = self.system.stripe();
        let tokens = stripe.list_prices_by_lookup_key(TOKENS_LOOKUP_KEY).await;
        let tokens = tokens.unwrap().into_iter().next().unwrap();
        let price_id = self.customer().await.item.price_id;
        let documents = stripe.retrieve_price(&price_id).await.unwrap();
        let meter = |(event_name, action): &(&str, &str)| {
            let price = match *event_name {
                TOKENS => &tokens,
                _ => &documents,
            };
            CatalogMeter {
                event_name: (*event_name).to_owned(),
                lookup_key: price.lookup_key.clone().unwrap(),
                product_id: price.product.clone(),
                actions: vec![(*action).to_owned()],
            }
        };
        let terms = CatalogTerms {
            meters: meters.iter().map(meter).collect(),
            default_meter: None,
        };
        let catalog = Catalog::try_from(terms).unwrap();
        let ledger = self.system.ledger();
        let read = ledger.catalog().await.unwrap();
        let stored = ledger.store_catalog(read.as_ref(), catalog, self.now());
        assert_eq!(stored.await.unwrap(), CatalogStored::Done);
        self.forget_what_is_remembered();
    }

    /// The customer subscribes to tokens, too.
    pub(crate) async fn subscribe_to_tokens(&self) {
        let stripe = self.system.stripe();
        let prices = stripe.list_prices_by_lookup_key(TOKENS_LOOKUP_KEY).await;
        let price = prices.unwrap().into_iter().next().unwrap();
        let read = self.customer().await;
        let item = CreateSubscriptionItem {
            subscription: read.subscription_id.clone(),
            price: price.id.clone(),
            proration_behavior: None,
            bills_usage_records: !stripe.usage_api().has_meter(),
        };
        let options = RequestOptions::new();
        let item = stripe.create_subscription_item(&item, &options);
        let item = MeteredItem {
            subscription_item_id: item.await.unwrap().id,
            price_id: price.id.clone(),
            price: metering::price_of(&price).unwrap(),
            meter_id: price.recurring.unwrap().meter.unwrap_or_default(),
            meter_event_name: TOKENS.to_owned(),
            added_at: None,
        };
        let row = CustomerRow {
            item: MeteredItem {
                meter_event_name: DOCUMENTS.to_owned(),
                ..read.item.clone()
            },
            more_items: vec![item],
            ..read.clone()
        };
        self.update(&read, row).await;
    }

    /// Somebody removes the item that bills tokens.
    pub(crate) async fn unsubscribe_from_tokens(&self) {
        let read = self.customer().await;
        let item = read.item_of_meter(TOKENS).unwrap();
        let id = &item.subscription_item_id;
        let url = format!("{}/v1/subscription_items/{id}", self.system.stripe_url());
        let key = self.system.stripe_secret_key().expose_secret();
        let removed = support::http().delete(url).bearer_auth(key).send().await;
        assert!(removed.unwrap().status().is_success());
        let row = CustomerRow {
            more_items: Vec::new(),
            ..read.clone()
        };
        self.update(&read, row).await;
    }

    /// Emits tokens, and answers the status of the event.
    pub(crate) async fn emit_tokens(&self, event_id: &str, quantity: u64) -> String {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer_id, "quantity": quantity,
            "action_type": "llm.output",
        });
        let (status, emitted) = self.caller.post("/v1/usage", event).await;
        assert!(status == 200 || status == 202, "{emitted}");
        emitted["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn customer(&self) -> CustomerRow {
        let ledger = self.system.ledger();
        ledger.customer(&self.customer_id).await.unwrap().unwrap()
    }

    /// Units that Stripe counts of the customer's item of `event_name`, in the
    /// current period.
    pub(crate) async fn units_of(&self, event_name: &str) -> i64 {
        self.settle().await;
        let (stripe, customer) = (self.system.stripe(), self.customer().await);
        let item = customer.item_of_meter(event_name).unwrap();
        if !stripe.usage_api().has_meter() {
            let summaries = stripe.list_usage_record_summaries(&item.subscription_item_id);
            let current = summaries.await.unwrap().into_iter().next();
            return i64::try_from(current.unwrap().total_usage).unwrap();
        }
        let window = ListMeterEventSummaries {
            customer: self.customer_id.to_string(),
            start_time: customer.period_start.unix_s() / MINUTE_S * MINUTE_S,
            end_time: customer.period_end.unix_s() / MINUTE_S * MINUTE_S,
            value_grouping_window: None,
        };
        let summaries = stripe.list_meter_event_summaries(&item.meter_id, &window);
        let summaries = summaries.await.unwrap();
        summaries.iter().map(|it| it.aggregated_value).sum()
    }

    async fn update(&self, read: &CustomerRow, row: CustomerRow) {
        let ledger = self.system.ledger();
        let updated = ledger.update_customer(read, row).await.unwrap();
        assert_eq!(updated, Updated::Done);
        self.forget_what_is_remembered();
    }

    /// Of customers and of the catalog.
    fn forget_what_is_remembered(&self) {
        self.clock.advance_s(MINUTE_S);
    }

    /// Past the end of the current period, and past its invoice's being final.
    pub(crate) async fn end_period(&self) {
        let period_end = self.customer().await.period_end;
        let left_s = period_end.ms_since(self.now()) / 1_000;
        for seconds in [left_s + 60, 2 * HOUR_S, 2 * HOUR_S] {
            self.clock.advance_s(seconds);
            self.settle().await;
        }
    }
}
