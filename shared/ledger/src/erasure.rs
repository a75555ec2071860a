//! A customer's personal data, found and taken out: for the operator's command.
//! What is left names the customer by Stripe's ids alone, and keeps the figures.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::CustomerId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::billing_events::TABLE as BILLING_EVENTS;
use crate::customers::TABLE as CUSTOMERS;
use crate::items::{Item, SCAN_PAGE_ITEMS, from_item, text, to_item};
use crate::{BillingEventRow, Ledger, LedgerError, OnboardingRow, StoredNotification};

/// What stands in place of an onboarding's fingerprint: no request has it, so
/// that the same external id is refused as one that is in use.
const ERASED_HASH: &str = "erased";

/// Where a notification holds what leads to a person: the operator's own name of
/// the customer, and Stripe's pages that show name and address to who has the link.
const PERSONAL: [(&str, &str); 3] = [
    ("/customer", "external_id"),
    ("/data", "hosted_invoice_url"),
    ("/data", "invoice_pdf"),
];

impl StoredNotification {
    /// The members of it that are personal data.
    pub fn personal_data(&self) -> Vec<&'static str> {
        let message: Value = serde_json::from_str(&self.message).unwrap_or_default();
        let held = PERSONAL.iter().filter(|(parent, member)| {
            let value = message.pointer(parent).and_then(|it| it.get(member));
            value.is_some_and(|value| !value.is_null())
        });
        held.map(|(_, member)| *member).collect()
    }

    /// The same news, without personal data.
    #[must_use]
    pub fn without_personal_data(self) -> Self {
        let Ok(mut message) = serde_json::from_str::<Value>(&self.message) else {
            return self;
        };
        for (parent, member) in PERSONAL {
            if let Some(parent) = message.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.remove(member);
            }
        }
        Self {
            message: message.to_string(),
            ..self
        }
    }
}

impl OnboardingRow {
    /// What of it is, or may be, personal: the operator's metadata in the terms, and
    /// the fingerprint, by which an e-mail address can be recognised.
    pub fn personal_data(&self) -> Vec<&'static str> {
        let hash = (self.request_hash != ERASED_HASH).then_some("request_hash");
        let terms = self.terms.is_some().then_some("terms");
        terms.into_iter().chain(hash).collect()
    }
}

impl Ledger {
    /// The onboardings that led to `customer_id`, by a read of the whole table.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn onboardings_of(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Vec<OnboardingRow>, LedgerError> {
        let table = (CUSTOMERS, self.tables.customers.as_str());
        self.rows_of_customer(table, "onboarded_customer_id", customer_id)
            .await
    }

    /// The events of Stripe's that are about `customer_id`, by a read of the whole
    /// table.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn billing_events_of(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Vec<BillingEventRow>, LedgerError> {
        let table = (BILLING_EVENTS, self.tables.billing_events.as_str());
        self.rows_of_customer(table, "customer_id", customer_id)
            .await
    }

    async fn rows_of_customer<R: DeserializeOwned>(
        &self,
        (table, table_name): (&'static str, &str),
        attribute: &str,
        customer_id: &CustomerId,
    ) -> Result<Vec<R>, LedgerError> {
        let mut rows = Vec::new();
        let mut after: Option<Item> = None;
        loop {
            let page = self
                .client
                .scan()
                .table_name(table_name)
                .consistent_read(true)
                .set_exclusive_start_key(after.take())
                .limit(SCAN_PAGE_ITEMS)
                .filter_expression("#customer = :customer")
                .expression_attribute_names("#customer", attribute)
                .expression_attribute_values(":customer", text(customer_id.as_str()))
                .send()
                .await
                .map_err(LedgerError::unavailable("look for a customer's rows"))?;
            for item in page.items.unwrap_or_default() {
                rows.push(from_item(table, item)?);
            }
            after = page.last_evaluated_key;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Takes the personal data out of an onboarding. It stays under its key, a hash
    /// of the external id, as one that has led to its customer.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps erased; repeating it changes nothing.
    pub async fn erase_onboarding(&self, onboarding_key: &str) -> Result<(), LedgerError> {
        self.client
            .update_item()
            .table_name(&self.tables.customers)
            .key("customer_id", text(onboarding_key))
            .update_expression("SET request_hash = :erased REMOVE terms")
            .condition_expression("attribute_exists(customer_id)")
            .expression_attribute_values(":erased", text(ERASED_HASH))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("erase onboarding"))
    }

    /// Takes the personal data out of an event's notifications.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps erased; repeating it changes nothing.
    pub async fn erase_notifications(&self, event: BillingEventRow) -> Result<(), LedgerError> {
        let notifications = event.notifications.into_iter();
        let erased = notifications.map(StoredNotification::without_personal_data);
        let mut items = Vec::new();
        for notification in erased {
            let item: HashMap<String, AttributeValue> = to_item(BILLING_EVENTS, &notification)?;
            items.push(AttributeValue::M(item));
        }
        self.client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(event.stripe_event_id))
            .update_expression("SET notifications = :erased")
            .condition_expression("attribute_exists(stripe_event_id)")
            .expression_attribute_values(":erased", AttributeValue::L(items))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("erase notifications"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_notification_keeps_its_figures_and_loses_the_person() {
        let message = json!({
            "id": "evt_1:receipt",
            "customer": { "customer_id": "cus_1", "external_id": "ada@example.com" },
            "data": { "total": "20.10", "hosted_invoice_url": "https://x", "invoice_pdf": null },
        });
        let stored = StoredNotification {
            id: "evt_1:receipt".to_owned(),
            kind: "receipt".to_owned(),
            message: message.to_string(),
        };
        assert_eq!(
            stored.personal_data(),
            ["external_id", "hosted_invoice_url"]
        );
        let erased = stored.without_personal_data();
        assert_eq!(erased.personal_data(), [""; 0]);
        let message: Value = serde_json::from_str(&erased.message).unwrap();
        assert_eq!(
            message,
            json!({
                "id": "evt_1:receipt",
                "customer": { "customer_id": "cus_1" },
                "data": { "total": "20.10" },
            })
        );
    }
}
