//! `charge.dispute.created`: a cardholder has a payment taken back. The operator
//! is told; what becomes of the customer is the operator's to decide.

use billing::{CustomerId, Timestamp};
use ledger::Applied;
use stripe::Event;

use crate::error::WebhookError;
use crate::notification::{News, decimal, origin};
use crate::{Outcome, Parts};

/// The type of event.
pub(crate) const DISPUTE_CREATED: &str = "charge.dispute.created";

impl Parts {
    /// Tells the operator, where the charge is of one of our customers.
    pub(crate) async fn tell_of_dispute(&self, event: &Event) -> Result<Outcome, WebhookError> {
        if self.was_applied(&event.id).await? {
            return Ok(Outcome::Duplicate);
        }
        let Some(dispute_id) = event.object_id() else {
            return Ok(Outcome::Foreign);
        };
        // The charge names its customer, and the dispute only its charge.
        let dispute = match self.stripe.retrieve_dispute(dispute_id).await {
            Ok(dispute) => dispute,
            Err(error) if error.is_not_found() => return Ok(Outcome::Foreign),
            Err(error) => return Err(WebhookError::stripe("retrieve dispute")(error)),
        };
        let customer_id = dispute.customer.as_deref().map(CustomerId::parse);
        let Some(Ok(customer_id)) = customer_id else {
            return Ok(Outcome::Foreign);
        };
        let Some(customer) = self.ledger.customer(&customer_id).await? else {
            return Ok(Outcome::Foreign);
        };
        let news = News::Dispute {
            dispute_id: &dispute.id,
            charge_id: dispute.charge.as_deref(),
            amount: decimal(dispute.amount, &dispute.currency)?,
            currency: dispute.currency.clone(),
            reason: &dispute.reason,
            status: &dispute.status,
            evidence_due_by: dispute
                .evidence_due_by
                .map(|due_by| Timestamp::from_unix_s(due_by).to_string()),
        };
        let origin = origin(event);
        let told = vec![origin.notification(Some(&customer), news)?];
        let row = self.billing_event(origin, Some(customer_id), told);
        match self.ledger.apply_billing_event(&row, None).await? {
            Applied::Before(before) => self.finish(&before).await.map(|()| Outcome::Duplicate),
            Applied::Done | Applied::VersionConflict => {
                self.finish(&row).await.map(|()| Outcome::Applied)
            }
        }
    }
}
