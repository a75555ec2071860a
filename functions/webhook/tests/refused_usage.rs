//! Stories of usage that was sent more than once, and that Stripe refused: its report
//! names the event, not the sending.

use std::time::Duration;

use billing::{Clock, Identifier, UsageStatus};
use ledger::{Rebilling, Reopened, Transition, Transitioned, UsageEventRow};
use tokio::time::Instant;

use crate::story::{Story, record};
use crate::support::world::{HOUR_MS, METER_EVENT_NAME};

const MINUTE_MS: i64 = 60_000;

impl Story {
    async fn status_of(&self, identifier: &Identifier) -> UsageStatus {
        self.usage(identifier).await.status
    }

    /// The operator has mended what Stripe refused it for.
    async fn reopen(&self, identifier: &Identifier) -> UsageEventRow {
        let row = self.usage(identifier).await;
        let billing = Rebilling {
            billed_at: row.billed_at.unwrap(),
            period_start: row.period_start.unwrap(),
            carried_over: false,
            meter_event_name: METER_EVENT_NAME.to_owned(),
            subscription_item_id: None,
        };
        let (ledger, now) = (&self.world.ledger, self.world.clock.now());
        let reopened = ledger.reopen_usage_event(&row, billing, now).await;
        let Reopened::Done(reopened) = reopened.unwrap() else {
            unreachable!("nobody else changes it");
        };
        *reopened
    }

    async fn note_delivered(&self, identifier: &Identifier, from: UsageStatus) {
        let transition = Transition {
            from,
            to: UsageStatus::Delivered,
            at: self.world.clock.now(),
            stripe_code: None,
        };
        let ledger = &self.world.ledger;
        let noted = ledger.transition_usage_event(identifier, transition).await;
        assert_eq!(noted.unwrap(), Transitioned::Done);
    }

    /// Once Stripe has stopped delivering its reports by itself.
    async fn hear_the_late_report(&self) {
        self.world.clock.advance_ms(2 * HOUR_MS);
        let deadline = Instant::now() + Duration::from_secs(60);
        let swept = self.state.sweep(deadline).await.unwrap();
        assert_eq!((swept.applied, swept.failed), (1, 0), "{swept:?}");
    }

    /// Sent twice, and refused twice: one report has come, the other has not.
    async fn refused_twice_and_reported_once(&self) -> Identifier {
        let identifier = record(self, "job-1", true).await;
        self.send_in_vain(&identifier).await;
        assert_eq!(self.status_of(&identifier).await, UsageStatus::Rejected);
        self.disable_reports().await;
        self.send_in_vain(&identifier).await;
        self.world.clock.advance_ms(HOUR_MS);
        identifier
    }
}

#[tokio::test]
async fn a_late_report_of_an_earlier_sending_leaves_what_was_redriven() {
    let story = Story::start().await;
    let identifier = story.refused_twice_and_reported_once().await;
    story.reopen(&identifier).await;
    story
        .note_delivered(&identifier, UsageStatus::Pending)
        .await;
    let redriven = story.usage(&identifier).await;
    story.hear_the_late_report().await;
    assert_eq!(story.usage(&identifier).await, redriven);
}

#[tokio::test]
async fn it_leaves_what_is_just_being_redriven() {
    let story = Story::start().await;
    let identifier = story.refused_twice_and_reported_once().await;
    let reopened = story.reopen(&identifier).await;
    story.hear_the_late_report().await;
    assert_eq!(story.usage(&identifier).await, reopened);
}

#[tokio::test]
async fn it_leaves_what_was_found_in_stripe_since() {
    let story = Story::start().await;
    let identifier = story.refused_twice_and_reported_once().await;
    story
        .note_delivered(&identifier, UsageStatus::Rejected)
        .await;
    story.hear_the_late_report().await;
    assert_eq!(story.status_of(&identifier).await, UsageStatus::Delivered);
}

/// The report may be of the redrive or of a sending shortly before it, and one of
/// them may count.
#[tokio::test]
async fn what_is_refused_again_after_a_redrive_is_left_to_reconcile() {
    let story = Story::start().await;
    let identifier = record(&story, "job-1", true).await;
    story.send_in_vain(&identifier).await;
    story.reopen(&identifier).await;
    story
        .note_delivered(&identifier, UsageStatus::Pending)
        .await;
    story.send_in_vain(&identifier).await;
    let row = story.usage(&identifier).await;
    assert_eq!(row.status, UsageStatus::Quarantined);
    let code = row.stripe_code.as_deref();
    assert_eq!(code, Some("meter_event_customer_not_found"));
    let told = &story.topic.of_kind("usage_rejected")[1]["data"];
    assert_eq!(told["rejected_rows"], 0);
    assert_eq!(told["needs_reconciliation"], true);
}

/// A credit for what Stripe never billed: too late to be undone unasked.
#[tokio::test]
async fn what_was_voided_by_a_credit_is_left_to_reconcile() {
    let story = Story::start().await;
    let identifier = record(&story, "job-1", true).await;
    let now = story.world.clock.now();
    let begun = story
        .world
        .ledger
        .begin_void_by_credit(&identifier, UsageStatus::Delivered, now);
    begun.await.unwrap();
    let voiding = story.usage(&identifier).await;
    story.send_in_vain(&identifier).await;
    assert_eq!(story.usage(&identifier).await, voiding);
    let told = &story.topic.of_kind("usage_rejected")[0]["data"];
    assert_eq!(told["rejected_rows"], 0);
    assert_eq!(told["needs_reconciliation"], true);
}

#[tokio::test]
async fn what_redelivery_may_have_sent_again_is_left_to_reconcile() {
    let story = Story::start().await;
    let identifier = record(&story, "job-1", false).await;
    story.world.clock.advance_ms(2 * MINUTE_MS);
    story
        .note_delivered(&identifier, UsageStatus::Pending)
        .await;
    story.send_in_vain(&identifier).await;
    let quarantined = story.usage(&identifier).await;
    assert_eq!(quarantined.status, UsageStatus::Quarantined);
    // Reported again, it stays so.
    story.send_in_vain(&identifier).await;
    assert_eq!(story.usage(&identifier).await, quarantined);
}
