//! Usage that Stripe took with a 200 and refused afterwards.

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{Applied, BillingEventRow, Consequence, LaterRefused, UnnamedRefusals, UsageEventRow};
use notify::Origin;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use stripe::{MeterErrorReport, ThinEvent, V2Event};
use web::metrics::Unit;

use crate::error::WebhookError;
use crate::notification::News;
use crate::refused_sending::RefusedSending;
use crate::{Outcome, Parts};

/// Characters of an [`Identifier`].
const IDENTIFIER_LENGTH: usize = 64;

/// Rows that a report named, by what they are now.
#[derive(Clone, Copy, Debug, Default)]
struct MovedRows {
    rejected: u64,
    quarantined: u64,
    /// Voided by a credit, and left so.
    credited: u64,
}

impl Parts {
    /// Moves the rows that the report names to rejected, or to quarantined where
    /// another sending may count. The rows come before the event: cut short, its
    /// repeat moves the rest.
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
        let moved = self.refuse_samples(&report).await?;
        if moved.quarantined > 0 {
            self.metrics
                .write(&[("quarantined", Unit::Count, moved.quarantined)]);
        }
        let row = self.report_event(thin, &report, moved)?;
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

    async fn refuse_samples(&self, report: &MeterErrorReport) -> Result<MovedRows, WebhookError> {
        let validation_end = Timestamp::from_unix_s(report.validation_end);
        let mut moved = MovedRows::default();
        for kind in &report.error_types {
            for sample in &kind.sample_errors {
                let identifier = sample.identifier.as_deref().and_then(identifier);
                // Usage that others send to the account's meters is not ours.
                let Some(identifier) = identifier else {
                    continue;
                };
                match self.refuse(&identifier, &kind.code, validation_end).await? {
                    Some(UsageStatus::Rejected) => moved.rejected += 1,
                    Some(UsageStatus::Voiding | UsageStatus::Voided) => moved.credited += 1,
                    Some(_) => moved.quarantined += 1,
                    None => {}
                }
            }
        }
        Ok(moved)
    }

    /// Moves the event of `identifier`, whether its delivery is noted already or
    /// not. Says whether it is rejected or quarantined now, or voided by a credit, which
    /// gave back what was perhaps never billed; none where it stays.
    async fn refuse(
        &self,
        identifier: &Identifier,
        stripe_code: &str,
        validation_end: Timestamp,
    ) -> Result<Option<UsageStatus>, WebhookError> {
        // Two looks at most settle it but where senders keep moving the row.
        for _ in 0..3 {
            let read = self.ledger.usage_events(std::slice::from_ref(identifier));
            let Some(row) = read.await?.pop() else {
                return Ok(None);
            };
            let now = self.clock.now();
            let to = match status_after(&row, validation_end, now) {
                Some(to) if to != row.status => to,
                Some(UsageStatus::Voiding | UsageStatus::Voided) => {
                    tracing::error!(%identifier, stripe_code, "Stripe refused usage that was credited, or is about to be");
                    return Ok(Some(row.status));
                }
                stays => {
                    tracing::warn!(%identifier, stripe_code, status = row.status.as_str(), "Stripe refused a sending that changes nothing");
                    return Ok(stays);
                }
            };
            let refused = self.ledger.refuse_usage_event(&row, to, stripe_code, now);
            if refused.await? == LaterRefused::Done {
                tracing::error!(%identifier, stripe_code, status = to.as_str(), "Stripe refused usage that it had taken");
                return Ok(Some(to));
            }
        }
        Err(WebhookError::Contended)
    }

    fn report_event(
        &self,
        thin: &ThinEvent,
        report: &MeterErrorReport,
        moved: MovedRows,
    ) -> Result<BillingEventRow, WebhookError> {
        let news = News::UsageRejected {
            refused_events: report.error_count,
            rejected_rows: moved.rejected,
            needs_reconciliation: !report.is_complete()
                || moved.quarantined > 0
                || moved.credited > 0,
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

/// The status of `row` at `now` after Stripe refused one of the sendings that it checked
/// until `validation_end`: rejected, quarantined, or the one that it has where its void
/// credits it; none where that is no matter.
fn status_after(
    row: &UsageEventRow,
    validation_end: Timestamp,
    now: Timestamp,
) -> Option<UsageStatus> {
    match row.status {
        UsageStatus::Rejected => return Some(UsageStatus::Rejected),
        UsageStatus::Delivered | UsageStatus::Pending | UsageStatus::Quarantined => {}
        UsageStatus::Voiding | UsageStatus::Voided if is_credited(row) => {
            let refused = RefusedSending::of(row, validation_end, now);
            return (refused != RefusedSending::Superseded).then_some(row.status);
        }
        // It is not to be billed anyway.
        UsageStatus::Held | UsageStatus::Voiding | UsageStatus::Voided => return None,
    }
    match RefusedSending::of(row, validation_end, now) {
        RefusedSending::Only => Some(UsageStatus::Rejected),
        RefusedSending::OneOfSeveral => Some(UsageStatus::Quarantined),
        RefusedSending::Superseded => None,
    }
}

/// Whether the void of `row` credits it, or has: its amount rests on its having been billed.
fn is_credited(row: &UsageEventRow) -> bool {
    row.is_void_by_credit
        || row
            .void_credit_minor_units
            .is_some_and(|amount| amount != 0)
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
