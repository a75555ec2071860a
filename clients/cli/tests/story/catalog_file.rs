//! A catalog as the operator writes it, set up and subscribed to.

use std::path::PathBuf;

use billing::{Catalog, CustomerId};
use meterline_cli::catalog::{
    CatalogReport, CatalogSetupError, CatalogSetupOptions, SubscribeError, Subscribed,
};
use meterline_cli::{CatalogFile, Subscriber, set_up_catalog};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Story;
use super::catalog::{DOCUMENTS, TOKENS};
use crate::support;

/// Documents at 2 cents, as everybody is onboarded with, and tokens at $0.0004.
pub(crate) fn two_meters() -> Value {
    json!({ "meters": [
        { "event_name": DOCUMENTS, "product_name": "Agent Operations",
          "lookup_key": "agent_operations_monthly", "actions": ["document_processed"],
          "price": { "currency": "usd", "unit_amount_decimal": "2" } },
        { "event_name": TOKENS, "product_name": "LLM tokens",
          "lookup_key": "llm_tokens_monthly", "actions": ["llm.*"],
          "price": { "currency": "usd", "unit_amount_decimal": "0.04" } },
    ]})
}

impl Story {
    pub(crate) fn write_catalog(&self, catalog: &Value) -> PathBuf {
        let path = self.folder().join("catalog.json");
        std::fs::write(&path, catalog.to_string()).unwrap();
        path
    }

    /// `meterline setup --catalog`, of a file that says `catalog`.
    pub(crate) async fn set_up(
        &self,
        catalog: &Value,
        options: &CatalogSetupOptions,
    ) -> Result<CatalogReport, CatalogSetupError> {
        let file = CatalogFile::read(&self.write_catalog(catalog))?;
        let (stripe, ledger) = (self.system.stripe(), self.system.ledger());
        let report = set_up_catalog(stripe, ledger, &file, options, self.now()).await;
        // What the functions remember is forgotten.
        self.clock.advance_s(60);
        report
    }

    pub(crate) async fn set_up_now(&self, catalog: &Value) -> CatalogReport {
        let options = CatalogSetupOptions::default();
        self.set_up(catalog, &options).await.unwrap()
    }

    pub(crate) async fn set_up_dry(&self, catalog: &Value) -> CatalogReport {
        let options = CatalogSetupOptions {
            is_dry_run: true,
            ..CatalogSetupOptions::default()
        };
        self.set_up(catalog, &options).await.unwrap()
    }

    pub(crate) async fn stored(&self) -> Option<(u64, Catalog)> {
        let row = self.system.ledger().catalog().await.unwrap();
        row.map(|row| (row.version, row.catalog))
    }

    pub(crate) async fn meters_in_stripe(&self) -> Vec<String> {
        let meters = self.system.stripe().list_meters().await.unwrap();
        let names = meters.iter().map(|meter| meter.event_name.clone());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// Has Stripe `deactivate` or `reactivate` a meter.
    pub(crate) async fn meter_in_stripe(&self, verb: &str, meter_id: &str) {
        let stripe_url = self.system.stripe_url();
        let url = format!("{stripe_url}/v1/billing/meters/{meter_id}/{verb}");
        let key = self.system.stripe_secret_key().expose_secret();
        let request = support::http().post(url).bearer_auth(key);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    /// `meterline catalog subscribe`.
    pub(crate) async fn subscribe(&self) -> Result<Subscribed, SubscribeError> {
        self.subscribe_with(&self.customer_id, false).await
    }

    pub(crate) async fn subscribe_with(
        &self,
        customer_id: &CustomerId,
        is_dry_run: bool,
    ) -> Result<Subscribed, SubscribeError> {
        let (_, catalog) = self.stored().await.unwrap();
        let (ledger, stripe) = (self.system.ledger().clone(), self.system.stripe().clone());
        let subscriber = Subscriber::new(ledger, stripe, catalog, is_dry_run).await?;
        let subscribed = subscriber.customer_of(customer_id).await;
        self.clock.advance_s(60);
        subscribed
    }

    /// Metered items of the customer's subscription in Stripe.
    pub(crate) async fn items_in_stripe(&self) -> usize {
        let id = self.customer().await.subscription_id;
        let subscription = self.system.stripe().retrieve_subscription(&id).await;
        subscription.unwrap().items.data.len()
    }
}
