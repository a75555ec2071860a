//! Usage that Stripe took with a 200 and refused afterwards.

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{Applied, BillingEventRow, BillingEventState, Transition, Transitioned};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use stripe::{MeterErrorReport, ThinEvent};

use crate::Parts;
use crate::error::WebhookError;
use crate::notification::{News, Notification};

/// Characters of an [`Identifier`].
const IDENTIFIER_LENGTH: usize = 64;

impl Parts {
    /// Moves the rows that the report names to rejected. The rows come before
    /// the event: cut short, its repeat moves the rest.
    pub(crate) async fn reject_refused_usage(&self, thin: &ThinEvent) -> Result<(), WebhookError> {
        if self.was_applied(&thin.id).await? {
            return Ok(());
        }
        let event = self.stripe.retrieve_v2_event(&thin.id).await;
        let event = event.map_err(WebhookError::stripe("retrieve v2 event"))?;
        let report = MeterErrorReport::of(&event).map_err(WebhookError::Unreadable)?;
        let Some(report) = report else { return Ok(()) };
        let rejected_rows = self.reject_samples(&report).await?;
        if !report.is_complete() {
            tracing::error!(
                event_id = thin.id,
                refused_events = report.error_count,
                rejected_rows,
                "Stripe refused more usage than it names: reconcile finds the rest"
            );
        }
        let row = self.report_event(thin, &report, rejected_rows)?;
        match self.ledger.apply_billing_event(&row, None).await? {
            Applied::Before(before) => self.finish(&before).await,
            Applied::Done | Applied::VersionConflict => self.finish(&row).await,
        }
    }

    async fn reject_samples(&self, report: &MeterErrorReport) -> Result<u64, WebhookError> {
        let mut rejected_rows = 0;
        for kind in &report.error_types {
            for sample in &kind.sample_errors {
                let identifier = sample.identifier.as_deref().and_then(identifier);
                // Usage that others send to the account's meters is not ours.
                let Some(identifier) = identifier else {
                    continue;
                };
                if self.reject(&identifier, &kind.code).await? {
                    rejected_rows += 1;
                }
            }
        }
        Ok(rejected_rows)
    }

    /// Rejects the event of `identifier`, whether its delivery is noted already
    /// or not. Says whether it is rejected now.
    async fn reject(
        &self,
        identifier: &Identifier,
        stripe_code: &str,
    ) -> Result<bool, WebhookError> {
        let mut from = UsageStatus::Delivered;
        // Two looks at most settle it but where senders keep moving the row.
        for _ in 0..3 {
            let transition = Transition {
                from,
                to: UsageStatus::Rejected,
                at: self.clock.now(),
                stripe_code: Some(stripe_code),
            };
            match self
                .ledger
                .transition_usage_event(identifier, transition)
                .await?
            {
                Transitioned::Done | Transitioned::Was(UsageStatus::Rejected) => {
                    tracing::error!(%identifier, stripe_code, "Stripe refused usage that it had taken");
                    return Ok(true);
                }
                Transitioned::Was(
                    status @ (UsageStatus::Delivered
                    | UsageStatus::Pending
                    | UsageStatus::Quarantined),
                ) => from = status,
                Transitioned::Was(status) => {
                    // Voided or about to be: it is not to be billed anyway.
                    tracing::warn!(%identifier, stripe_code, status = status.as_str(), "Stripe refused usage that is not to be billed");
                    return Ok(false);
                }
                Transitioned::NoSuchEvent => return Ok(false),
            }
        }
        Err(WebhookError::Contended)
    }

    fn report_event(
        &self,
        thin: &ThinEvent,
        report: &MeterErrorReport,
        rejected_rows: u64,
    ) -> Result<BillingEventRow, WebhookError> {
        let news = News::UsageRefused {
            refused_events: report.error_count,
            rejected_rows,
            codes: report
                .error_types
                .iter()
                .map(|kind| kind.code.as_str())
                .collect(),
        };
        let notification = Notification {
            id: &thin.id,
            event_type: &thin.event_type,
            news,
        };
        Ok(BillingEventRow {
            stripe_event_id: thin.id.clone(),
            event_type: thin.event_type.clone(),
            customer_id: None,
            created_at: Timestamp::from_unix_ms(thin.created_unix_ms),
            applied_at: self.clock.now(),
            state: BillingEventState::Applied,
            notification: Some(notification.to_json().map_err(WebhookError::Unreadable)?),
        })
    }
}

/// The identifier that `text` is, where it is of the form of ours.
fn identifier(text: &str) -> Option<Identifier> {
    let is_ours = text.len() == IDENTIFIER_LENGTH
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_ours {
        return None;
    }
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    Identifier::deserialize(deserializer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use billing::{CustomerId, EventId};

    #[test]
    fn only_what_has_the_form_of_our_identifiers_is_looked_up() {
        let customer = CustomerId::parse("cus_1").unwrap();
        let ours = Identifier::of(&customer, &EventId::parse("job-7").unwrap());
        assert_eq!(identifier(ours.as_str()), Some(ours.clone()));
        let upper = ours.as_str().to_uppercase();
        for text in [
            "",
            "job-7",
            &upper,
            &ours.as_str()[1..],
            &format!("{ours}0"),
        ] {
            assert_eq!(identifier(text), None, "{text}");
        }
    }
}
