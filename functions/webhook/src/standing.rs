//! An event about a customer: the current subscription decides the status.

use billing::Timestamp;
use ledger::{
    Applied, BillingEventRow, BillingEventState, CustomerRow, CustomerStatus, LedgerError,
};
use metering::customers::with_subscription;
use metering::{METADATA_ONBOARDING, customer_status, with_current_price};
use stripe::{Event, Invoice};

use crate::Parts;
use crate::error::WebhookError;
use crate::notification::{News, Notification};
use crate::subject::Subject;

/// How often a customer that others change meanwhile is read again. Beyond,
/// Stripe's next delivery is the retry.
const ATTEMPTS_MAX: u32 = 5;

/// The event whose 2xx starts the hour in which an invoice is a draft.
const INVOICE_CREATED: &str = "invoice.created";

impl Parts {
    /// Applies `event` to its customer, if that is one of ours.
    pub(crate) async fn apply_to_customer(
        &self,
        event: &Event,
        subject: &Subject,
    ) -> Result<(), WebhookError> {
        if self.was_applied(&event.id).await? {
            return Ok(());
        }
        if event.event_type == INVOICE_CREATED {
            self.hasten_pending_usage(event, subject).await?;
        }
        let mut trouble = WebhookError::Contended;
        for _ in 0..ATTEMPTS_MAX {
            // Read before Stripe is asked: if Stripe's answer is older than what
            // somebody stores meanwhile, the version tells.
            let Some(customer) = self.ledger.customer(&subject.customer_id).await? else {
                return self.without_customer(subject).await;
            };
            let named = subject.subscription_id.as_ref();
            if named.is_some_and(|named| *named != customer.subscription_id) {
                // Another subscription of the same customer, made by others.
                return Ok(());
            }
            let current = self.current(&customer).await?;
            let row = self.billing_event(event, subject, &customer, &current)?;
            // The row is written even where nothing in it changes: its new
            // version stops whoever asked Stripe earlier and writes later.
            let applied = self
                .ledger
                .apply_billing_event(&row, Some((&customer, current)));
            trouble = match applied.await {
                Ok(Applied::Done) => return self.finish(&row).await,
                Ok(Applied::Before(before)) => return self.finish(&before).await,
                Ok(Applied::VersionConflict) => WebhookError::Contended,
                // Stripe sends several events of one invoice at once, and
                // DynamoDB refuses transactions that meet. A repeat tells.
                Err(error @ LedgerError::Unavailable { .. }) => error.into(),
                Err(error) => return Err(error.into()),
            };
        }
        Err(trouble)
    }

    /// No row: either not ours at all, or ours and its onboarding has not come
    /// to its end. One that has ended needs no row: an onboarding that goes on
    /// reads the subscription itself.
    async fn without_customer(&self, subject: &Subject) -> Result<(), WebhookError> {
        let Some(subscription_id) = &subject.subscription_id else {
            return Ok(());
        };
        let subscription = match self.stripe.retrieve_subscription(subscription_id).await {
            Ok(subscription) => subscription,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(WebhookError::stripe("retrieve subscription")(error)),
        };
        let is_ours = subscription.metadata.contains_key(METADATA_ONBOARDING);
        if is_ours && !subscription.has_ended() {
            return Err(WebhookError::NotOnboardedYet);
        }
        Ok(())
    }

    /// The customer as Stripe has it now. A subscription that went with its test
    /// clock has ended. No other ever goes: where one is missed, the key is of
    /// another account, and nobody's standing follows from that.
    async fn current(&self, customer: &CustomerRow) -> Result<CustomerRow, WebhookError> {
        let subscription = self
            .stripe
            .retrieve_subscription(&customer.subscription_id)
            .await;
        let subscription = match subscription {
            Ok(subscription) => subscription,
            Err(error) if error.is_not_found() && customer.test_clock.is_some() => {
                let status = CustomerStatus::Canceled;
                return Ok(CustomerRow {
                    status,
                    ..customer.clone()
                });
            }
            Err(error) => return Err(WebhookError::stripe("retrieve subscription")(error)),
        };
        let owes = !subscription.has_ended() && self.owes(customer).await?;
        let status = customer_status(customer.status, &subscription.status, owes);
        let row = CustomerRow {
            status,
            ..with_subscription(customer, &subscription)
        };
        with_current_price(&self.stripe, row, &subscription)
            .await
            .map_err(WebhookError::stripe("retrieve price"))
    }

    async fn owes(&self, customer: &CustomerRow) -> Result<bool, WebhookError> {
        let invoices = self.stripe.list_open_invoices(&customer.subscription_id);
        let invoices = invoices
            .await
            .map_err(WebhookError::stripe("list invoices"))?;
        Ok(invoices
            .iter()
            .any(|invoice| is_owed(invoice, &customer.subscription_id)))
    }

    fn billing_event(
        &self,
        event: &Event,
        subject: &Subject,
        before: &CustomerRow,
        after: &CustomerRow,
    ) -> Result<BillingEventRow, WebhookError> {
        let invoice_id = subject.invoice_id.as_deref();
        let news = News::of_customer(&event.event_type, invoice_id, before, after);
        let notification = news
            .map(|news| {
                Notification {
                    id: &event.id,
                    event_type: &event.event_type,
                    news,
                }
                .to_json()
            })
            .transpose()
            .map_err(WebhookError::Unreadable)?;
        Ok(BillingEventRow {
            stripe_event_id: event.id.clone(),
            event_type: event.event_type.clone(),
            customer_id: Some(subject.customer_id.clone()),
            created_at: Timestamp::from_unix_s(event.created),
            applied_at: self.clock.now(),
            state: BillingEventState::Applied,
            notification,
        })
    }
}

/// Whether its payment was tried, and failed, and is still wanted. An invoice
/// of $0 is never that.
fn is_owed(invoice: &Invoice, subscription_id: &str) -> bool {
    invoice.status.as_deref() == Some("open")
        && invoice.attempt_count > 0
        && invoice.amount_remaining > 0
        && invoice.subscription.as_deref() == Some(subscription_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn invoice(changes: &Value) -> Invoice {
        let mut invoice = json!({
            "id": "in_1", "object": "invoice", "customer": "cus_1", "status": "open",
            "currency": "usd", "amount_due": 2_010, "amount_paid": 0, "amount_remaining": 2_010,
            "total": 2_010, "period_start": 0, "period_end": 0, "created": 0, "attempt_count": 1,
            "parent": { "subscription_details": { "subscription": "sub_1" } },
        });
        for (name, value) in changes.as_object().unwrap() {
            invoice[name] = value.clone();
        }
        serde_json::from_value(invoice).unwrap()
    }

    #[test]
    fn only_an_open_invoice_whose_payment_failed_is_owed() {
        assert!(is_owed(&invoice(&json!({})), "sub_1"));
        assert!(!is_owed(&invoice(&json!({})), "sub_2"));
        for changes in [
            json!({ "status": "paid", "amount_remaining": 0 }),
            json!({ "status": "draft" }),
            json!({ "status": "void" }),
            json!({ "status": "uncollectible" }),
            json!({ "attempt_count": 0 }),
            json!({ "amount_due": 0, "amount_remaining": 0 }),
            json!({ "parent": null }),
        ] {
            assert!(!is_owed(&invoice(&changes), "sub_1"), "{changes}");
        }
    }
}
