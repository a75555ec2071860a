//! A Stripe that is set up for several meters, and the catalog that names them.

use billing::{Catalog, CatalogMeter, CatalogTerms, Clock};
use ledger::CatalogStored;
use serde_json::Value;
use stripe::{
    Aggregation, CreateMeter, CreatePrice, CreateProduct, PriceAmount, RequestOptions, UsageApi,
};

use super::world::{LOOKUP_KEY, METER_EVENT_NAME, World};

pub(crate) const TOKENS: &str = "llm_tokens";
pub(crate) const TOKENS_LOOKUP_KEY: &str = "llm_tokens_monthly";

/// A price to be, of a meter that is made with it if there is none yet.
pub(crate) struct PriceOf<'a> {
    pub(crate) event_name: &'a str,
    pub(crate) lookup_key: &'a str,
    pub(crate) unit_amount_decimal: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) interval: &'a str,
    pub(crate) usage_api: UsageApi,
}

/// What tests rarely care about.
pub(crate) const PRICE_OF_TOKENS: PriceOf<'static> = PriceOf {
    event_name: TOKENS,
    lookup_key: TOKENS_LOOKUP_KEY,
    unit_amount_decimal: "0.0004",
    currency: "usd",
    interval: "month",
    usage_api: UsageApi::MeterEventStream,
};

impl World {
    /// Makes the price, and moves its lookup key there; a meter of the catalog's
    /// that counts the actions that begin as its event name does.
    pub(crate) async fn metered_price(&self, price: &PriceOf<'_>) -> (String, CatalogMeter) {
        let (stripe, options) = (&self.stripe, RequestOptions::new);
        let product = CreateProduct {
            name: price.event_name.to_owned(),
            ..CreateProduct::default()
        };
        let product = stripe.create_product(&product, &options()).await.unwrap();
        let meter = match price.usage_api.has_meter() {
            true => Some(self.meter(price.event_name).await),
            false => None,
        };
        let create = CreatePrice {
            product: product.id.clone(),
            currency: price.currency.to_owned(),
            amount: PriceAmount::PerUnit {
                unit_amount_decimal: price.unit_amount_decimal.to_owned(),
                transform_quantity: None,
            },
            interval: price.interval.to_owned(),
            meter,
            lookup_key: Some(price.lookup_key.to_owned()),
            transfer_lookup_key: true,
            ..CreatePrice::default()
        };
        let made = stripe.create_price(&create, &options()).await.unwrap();
        let meter = CatalogMeter {
            event_name: price.event_name.to_owned(),
            lookup_key: price.lookup_key.to_owned(),
            product_id: product.id,
            actions: vec![format!("{}.*", price.event_name)],
        };
        (made.id, meter)
    }

    async fn meter(&self, event_name: &str) -> String {
        let meters = self.stripe.list_meters().await.unwrap();
        if let Some(meter) = meters.iter().find(|meter| meter.event_name == event_name) {
            return meter.id.clone();
        }
        let create = CreateMeter {
            display_name: event_name.to_owned(),
            event_name: event_name.to_owned(),
            formula: Aggregation::Sum,
        };
        let options = RequestOptions::new();
        self.stripe
            .create_meter(&create, &options)
            .await
            .unwrap()
            .id
    }

    /// Stores the catalog of `meters`, the first of them the default.
    pub(crate) async fn store_catalog(&self, meters: &[CatalogMeter]) {
        let terms = CatalogTerms {
            meters: meters.to_vec(),
            default_meter: Some(meters[0].event_name.clone()),
        };
        let catalog = Catalog::try_from(terms).unwrap();
        let before = self.ledger.catalog().await.unwrap();
        let now = self.clock.now();
        let stored = self.ledger.store_catalog(before.as_ref(), catalog, now);
        assert_eq!(stored.await.unwrap(), CatalogStored::Done);
    }

    /// The meter of the price that every world begins with.
    pub(crate) async fn operations(&self) -> CatalogMeter {
        let prices = self.stripe.list_prices_by_lookup_key(LOOKUP_KEY).await;
        CatalogMeter {
            event_name: METER_EVENT_NAME.to_owned(),
            lookup_key: LOOKUP_KEY.to_owned(),
            product_id: prices.unwrap().data[0].product.clone(),
            actions: vec!["document_processed".to_owned()],
        }
    }

    /// A catalog of operations and tokens; the id of the tokens' price.
    pub(crate) async fn start_catalog(&self) -> String {
        let (price_id, tokens) = self.metered_price(&PRICE_OF_TOKENS).await;
        self.store_catalog(&[self.operations().await, tokens]).await;
        price_id
    }

    /// Says what the row and Stripe have of the customer's metered items, where
    /// they agree: the event names, in the row's order.
    pub(crate) async fn agreed_items(&self, customer_id: &str) -> Vec<String> {
        let row = self.customer(customer_id).await;
        let path = format!("/v1/subscriptions/{}", row.subscription_id);
        let subscription = self.stripe_get(&path).await;
        let items = subscription["items"]["data"].as_array().unwrap();
        let is_metered = |item: &&Value| item["price"]["recurring"]["usage_type"] == "metered";
        let mut in_stripe: Vec<(&str, &str)> = items
            .iter()
            .filter(is_metered)
            .map(|item| {
                let (id, price_id) = (item["id"].as_str(), item["price"]["id"].as_str());
                (id.unwrap(), price_id.unwrap())
            })
            .collect();
        let in_row = row.items();
        let mut in_row: Vec<(&str, &str)> = in_row
            .map(|item| (item.subscription_item_id.as_str(), item.price_id.as_str()))
            .collect();
        in_stripe.sort_unstable();
        in_row.sort_unstable();
        assert_eq!(in_row, in_stripe, "the row is not what the subscription is");
        row.items().map(|it| it.meter_event_name.clone()).collect()
    }
}
