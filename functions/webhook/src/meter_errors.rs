//! Usage that Stripe took with a 200 and refused afterwards.

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{Applied, BillingEventRow, Consequence, Transition, Transitioned, UnnamedRefusals};
use notify::Origin;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use stripe::{MeterErrorReport, ThinEvent, V2Event};
use web::metrics::Unit;

use crate::error::WebhookError;
use crate::notification::News;
use crate::{Outcome, Parts};

/// Characters of an [`Identifier`].
const IDENTIFIER_LENGTH: usize = 64;

impl Parts {
    /// Moves the rows that the report names to rejected. The rows come before
    /// the event: cut short, its repeat moves the rest.
    pub(crate) async fn reject_refused_usage(
        &self,
        thin: &ThinEvent,
    ) -> Result<Outcome, WebhookError> {
        if self.was_applied(&thin.id).await? {
            return Ok(Outcome::Duplicate);
        }
        let event = self.stripe.retrieve_v2_event(&thin.id).await;
        let event = event.map_err(WebhookError::stripe("retrieve v2 event"))?;
        let Some(report) = MeterErrorReport::of(&event)? else {
            return Ok(Outcome::Foreign);
        };
        let rejected_rows = self.reject_samples(&report).await?;
        let row = self.report_event(thin, &report, rejected_rows)?;
        let unnamed = unnamed_refusals(&event, &report);
        if let Some(unnamed) = &unnamed {
            self.alarm(unnamed);
        }
        let mark = unnamed.as_ref().map(Consequence::UnnamedRefusals);
        match self.ledger.apply_billing_event(&row, mark).await? {
            Applied::Before(before) => self.finish(&before).await.map(|()| Outcome::Duplicate),
            Applied::Done | Applied::VersionConflict => {
                self.finish(&row).await.map(|()| Outcome::Applied)
            }
        }
    }

    /// Stripe refused more than it named: which, only `meterline reconcile` finds.
    fn alarm(&self, unnamed: &UnnamedRefusals) {
        let count = unnamed.refused_events.saturating_sub(unnamed.named_events);
        tracing::error!(
            event_id = unnamed.stripe_event_id,
            refused_events = unnamed.refused_events,
            named_events = unnamed.named_events,
            "Stripe refused more usage than it names: reconcile finds the rest"
        );
        self.metrics
            .write(&[("unnamed_refusals", Unit::Count, count)]);
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
        let news = News::UsageRejected {
            refused_events: report.error_count,
            rejected_rows,
            needs_reconciliation: !report.is_complete(),
            codes: codes(report).collect(),
        };
        let origin = Origin {
            id: &thin.id,
            stripe_event_type: Some(&thin.event_type),
            created_at: Timestamp::from_unix_ms(thin.created_unix_ms),
        };
        let told = vec![origin.notification(None, news)?];
        Ok(self.billing_event(origin, None, told))
    }
}

fn codes(report: &MeterErrorReport) -> impl Iterator<Item = &str> {
    report.error_types.iter().map(|kind| kind.code.as_str())
}

/// What `report` says was refused and does not name; none where it names all.
fn unnamed_refusals(event: &V2Event, report: &MeterErrorReport) -> Option<UnnamedRefusals> {
    if report.is_complete() {
        return None;
    }
    let meter = event.related_object.as_ref();
    Some(UnnamedRefusals {
        stripe_event_id: event.id.clone(),
        meter_id: meter.map(|meter| meter.id.clone()),
        validation_start: Timestamp::from_unix_s(report.validation_start),
        validation_end: Timestamp::from_unix_s(report.validation_end),
        refused_events: report.error_count,
        named_events: report.named_events(),
        codes: codes(report).map(str::to_owned).collect(),
    })
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
