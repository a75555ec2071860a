//! The audit log: one row per usage event, forever.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use billing::{
    ActionType, BillingTime, ContentHash, CustomerId, EventId, EventSource, HeldReason, Identifier,
    Repeat, Timestamp, UsageEvent, UsageStatus, window,
};
use serde::{Deserialize, Serialize};

use crate::items::{Item, from_item, number, text, to_item};
use crate::{EventReservation, Ledger, LedgerError};

pub(crate) const TABLE: &str = "usage-events";
/// What the log calls step one of an emission.
pub(crate) const RECORD: &str = "record usage event";

/// One usage event and all that became of it. Times are in milliseconds.
///
/// A row with ids of usual length has about 700 bytes, so that recording and
/// delivering it cost one write unit each, and recording one more for the index.
/// An event id or a source of 255 bytes, or a long history, takes it past 1 KB,
/// and every write of it costs a unit more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEventRow {
    /// The table's key, and Stripe's `identifier`.
    pub identifier: Identifier,
    /// Whose usage it is.
    pub customer_id: CustomerId,
    /// The agent's id of it.
    pub event_id: EventId,
    /// Where it comes from, if it came as a CloudEvent: part of what the agent sent,
    /// without which its fingerprint could not be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<EventSource>,
    /// What was done.
    pub action_type: ActionType,
    /// Units used.
    pub quantity: u64,
    /// The subscription item, where the agent named it, or where usage records
    /// are added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_item_id: Option<String>,
    /// When it happened: as said, else when it was first recorded.
    pub occurred_at: Timestamp,
    /// The time that Stripe is told; none while it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billed_at: Option<Timestamp>,
    /// The start of the period that `billed_at` lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_start: Option<Timestamp>,
    /// Whether it was carried over from an earlier period, or from a time that Stripe
    /// took no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried_over: bool,
    /// The other times that it was to be billed at since it was recorded, or since it
    /// was last redriven: a sending may have told Stripe of any of them. Only a row that
    /// was carried over after that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told_at: Vec<Timestamp>,
    /// Why it is held, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_reason: Option<HeldReason>,
    /// The event name of the meter that counts it. It is sent under that.
    pub meter_event_name: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When the send window began.
    pub first_attempt_at: Timestamp,
    /// When it last became pending.
    pub pending_since: Timestamp,
    /// Where it stands.
    pub status: UsageStatus,
    /// Fingerprint of what the agent sent.
    pub content_hash: ContentHash,
    /// Names the call that recorded it, so that a repeated put knows its own row.
    pub attempt_token: String,
    /// Stripe's error code, where Stripe refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_code: Option<String>,
    /// Stripe's id of the usage, where the way into Stripe gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_record_id: Option<String>,
    /// What its customer was credited when it was voided too late to be taken
    /// out of its meter, in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void_credit_minor_units: Option<i64>,
    /// Whether its void credits it, and never cancels it in Stripe: an invoice that
    /// takes no more had it when the void began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_void_by_credit: bool,
    /// The reservation that it was to settle, where the agent named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<EventReservation>,
    /// Every status it went through, oldest first.
    pub history: Vec<HistoryEntry>,
    /// Key of the index `by-customer`: `{customer}#{first hex digit}`.
    pub customer_bucket: String,
    /// Sort key of that index: `{occurred_at}#{identifier}`.
    pub occurred_key: String,
}

/// A status that an event took on, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The status.
    pub status: UsageStatus,
    /// When the row took it on.
    pub at: Timestamp,
}

impl UsageEventRow {
    /// The row for `event` as it is first recorded at `now`, real time.
    /// `occurred_at` and `billing_time` are in the customer's time.
    ///
    /// `attempt_token` must differ between calls.
    pub fn new(
        event: &UsageEvent,
        occurred_at: Timestamp,
        billing_time: BillingTime,
        meter_event_name: &str,
        attempt_token: String,
        now: Timestamp,
    ) -> Self {
        let identifier = Identifier::of(&event.customer_id, &event.event_id);
        let (status, billed_at, period_start, carried_over, held_reason) = match billing_time {
            BillingTime::Billable {
                billed_at,
                period_start,
                carried_over,
            } => (
                UsageStatus::Pending,
                Some(billed_at),
                Some(period_start),
                carried_over,
                None,
            ),
            BillingTime::Held(reason) => (UsageStatus::Held, None, None, false, Some(reason)),
        };
        Self {
            customer_bucket: customer_bucket(&event.customer_id, identifier.bucket()),
            occurred_key: format!("{:013}#{identifier}", occurred_at.unix_ms()),
            customer_id: event.customer_id.clone(),
            event_id: event.event_id.clone(),
            source: event.source.clone(),
            action_type: event.action_type.clone(),
            quantity: event.quantity.get(),
            subscription_item_id: event.subscription_item_id.clone(),
            occurred_at,
            billed_at,
            period_start,
            carried_over,
            told_at: Vec::new(),
            held_reason,
            meter_event_name: meter_event_name.to_owned(),
            recorded_at: now,
            first_attempt_at: now,
            pending_since: now,
            status,
            content_hash: ContentHash::of(event),
            attempt_token,
            stripe_code: None,
            stripe_record_id: None,
            void_credit_minor_units: None,
            is_void_by_credit: false,
            reservation: None,
            history: vec![HistoryEntry { status, at: now }],
            identifier,
        }
    }

    /// The row after it is billed at `billed_at`, in the period that begins at
    /// `period_start`, instead: carried over from there.
    #[must_use]
    pub fn carried_over_to(mut self, billed_at: Timestamp, period_start: Timestamp) -> Self {
        self.told_at.extend(self.billed_at);
        self.billed_at = Some(billed_at);
        self.period_start = Some(period_start);
        self.carried_over = true;
        self
    }

    /// The time among those that Stripe may have it under, `billed_at` among them, that
    /// lies in the second of `at`: Stripe tells seconds.
    pub fn told_in_second_of(&self, at: Timestamp) -> Option<Timestamp> {
        let mut told = self.billed_at.iter().chain(&self.told_at);
        told.find(|told| told.unix_s() == at.unix_s()).copied()
    }

    /// Whether a sending that starts at `now` and takes up to `budget_ms` ends
    /// inside the send window.
    pub const fn may_send(&self, now: Timestamp, budget_ms: i64) -> bool {
        window::may_send(self.first_attempt_at, now, budget_ms)
    }
}

/// What became of recording an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The id was free: the row is durable.
    New,
    /// The id was known. The row is what the log holds *now*; for
    /// [`Repeat::Quarantine`] it has just been quarantined.
    Repeat(Repeat, Box<UsageEventRow>),
}

/// A change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition<'a> {
    /// The status that the row must have.
    pub from: UsageStatus,
    /// The status that it takes on.
    pub to: UsageStatus,
    /// When, in real time.
    pub at: Timestamp,
    /// Stripe's error code, for a rejection.
    pub stripe_code: Option<&'a str>,
}

/// What became of a change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transitioned {
    /// The row took on the new status.
    Done,
    /// The row had this status instead, perhaps the new one already: somebody
    /// else was first, or this very call, whose answer was lost.
    Was(UsageStatus),
    /// There is no such row.
    NoSuchEvent,
}

impl Ledger {
    /// Records `row` unless its identifier is taken: step one of an emission.
    /// `budget_ms` is how long a sending may take, for the send window.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps recorded.
    pub async fn record_usage_event(
        &self,
        row: &UsageEventRow,
        now: Timestamp,
        budget_ms: i64,
    ) -> Result<Recorded, LedgerError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.usage_events)
            .set_item(Some(to_item(TABLE, row)?))
            .condition_expression("attribute_not_exists(identifier)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = put else {
            return Ok(Recorded::New);
        };
        let Some(PutItemError::ConditionalCheckFailedException(failed)) = error.as_service_error()
        else {
            return Err(LedgerError::unavailable(RECORD)(error));
        };
        match self.known_event(row, failed.item(), now, budget_ms).await? {
            Some(recorded) => Ok(recorded),
            None => Err(LedgerError::unavailable(RECORD)(error)),
        }
    }

    /// What recording `row` came to, whose identifier is taken by `known`; none
    /// where there is no such row.
    pub(crate) async fn known_event(
        &self,
        row: &UsageEventRow,
        known: Option<&Item>,
        now: Timestamp,
        budget_ms: i64,
    ) -> Result<Option<Recorded>, LedgerError> {
        let known = match known {
            Some(item) => from_item(TABLE, item.clone())?,
            None => match self.usage_event(&row.identifier).await? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        if known.attempt_token == row.attempt_token {
            // The SDK repeated a put whose answer was lost.
            return Ok(Some(Recorded::New));
        }
        let (repeat, known) = self
            .repeated(&row.content_hash, known, now, budget_ms)
            .await?;
        Ok(Some(Recorded::Repeat(repeat, known)))
    }

    /// What a call of this identifier and content repeats, with the row that
    /// the log holds now; none where the identifier is free. Records nothing.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn repeat_of_usage_event(
        &self,
        identifier: &Identifier,
        content_hash: &ContentHash,
        now: Timestamp,
        budget_ms: i64,
    ) -> Result<Option<(Repeat, Box<UsageEventRow>)>, LedgerError> {
        match self.usage_event(identifier).await? {
            Some(known) => self
                .repeated(content_hash, known, now, budget_ms)
                .await
                .map(Some),
            None => Ok(None),
        }
    }

    async fn repeated(
        &self,
        content_hash: &ContentHash,
        mut known: UsageEventRow,
        now: Timestamp,
        budget_ms: i64,
    ) -> Result<(Repeat, Box<UsageEventRow>), LedgerError> {
        let same_content = known.content_hash == *content_hash;
        let repeat = Repeat::of(known.status, same_content, known.may_send(now, budget_ms));
        if repeat == Repeat::Quarantine {
            let transition = Transition {
                from: UsageStatus::Pending,
                to: UsageStatus::Quarantined,
                at: now,
                stripe_code: None,
            };
            known.status = match self
                .transition_usage_event(&known.identifier, transition)
                .await?
            {
                Transitioned::Done | Transitioned::NoSuchEvent => UsageStatus::Quarantined,
                Transitioned::Was(status) => status,
            };
        }
        Ok((repeat, Box::new(known)))
    }

    /// The row of `identifier`, read consistently.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn usage_event(
        &self,
        identifier: &Identifier,
    ) -> Result<Option<UsageEventRow>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(identifier.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read usage event"))?;
        got.item.map(|item| from_item(TABLE, item)).transpose()
    }

    /// Moves the row of `identifier` from one status to another, if it has the
    /// one that it is moved from.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps moved.
    pub async fn transition_usage_event(
        &self,
        identifier: &Identifier,
        transition: Transition<'_>,
    ) -> Result<Transitioned, LedgerError> {
        self.move_usage_event(identifier, transition, None).await
    }

    /// Moves the row of `identifier` from `from` to delivered, with Stripe's id of
    /// its usage record.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps moved.
    pub async fn deliver_usage_record(
        &self,
        identifier: &Identifier,
        from: UsageStatus,
        stripe_record_id: &str,
        at: Timestamp,
    ) -> Result<Transitioned, LedgerError> {
        let transition = Transition {
            from,
            to: UsageStatus::Delivered,
            at,
            stripe_code: None,
        };
        let noted = ("stripe_record_id", text(stripe_record_id));
        self.move_usage_event(identifier, transition, Some(noted))
            .await
    }

    /// Moves the row of `identifier` from `from` to voiding, and notes that the void
    /// is to credit it.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps moved.
    pub async fn begin_void_by_credit(
        &self,
        identifier: &Identifier,
        from: UsageStatus,
        at: Timestamp,
    ) -> Result<Transitioned, LedgerError> {
        let transition = Transition {
            from,
            to: UsageStatus::Voiding,
            at,
            stripe_code: None,
        };
        let noted = ("is_void_by_credit", AttributeValue::Bool(true));
        self.move_usage_event(identifier, transition, Some(noted))
            .await
    }

    async fn move_usage_event(
        &self,
        identifier: &Identifier,
        transition: Transition<'_>,
        noted: Option<(&'static str, AttributeValue)>,
    ) -> Result<Transitioned, LedgerError> {
        let Transition {
            from,
            to,
            at,
            stripe_code,
        } = transition;
        let mut assignments =
            "SET #status = :to, #history = list_append(#history, :entry)".to_owned();
        if stripe_code.is_some() {
            assignments.push_str(", stripe_code = :code");
        }
        if let Some((name, _)) = &noted {
            assignments.push_str(", ");
            assignments.push_str(name);
            assignments.push_str(" = :noted");
        }
        if to == UsageStatus::Delivered && stripe_code.is_none() {
            // Why it was refused before, it is no more.
            assignments.push_str(" REMOVE stripe_code");
        }
        let update = self
            .client
            .update_item()
            .table_name(&self.tables.usage_events)
            .key("identifier", text(identifier.as_str()))
            .update_expression(assignments)
            .condition_expression("#status = :from")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#history", "history")
            .expression_attribute_values(":from", text(from.as_str()))
            .expression_attribute_values(":to", text(to.as_str()))
            .expression_attribute_values(":entry", history_entry(to, at))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let update = match stripe_code {
            Some(code) => update.expression_attribute_values(":code", text(code)),
            None => update,
        };
        let update = match noted {
            Some((_, value)) => update.expression_attribute_values(":noted", value),
            None => update,
        };
        let Err(error) = update.send().await else {
            return Ok(Transitioned::Done);
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(LedgerError::unavailable("move usage event")(error));
        };
        match failed.item() {
            Some(item) => {
                let row: UsageEventRow = from_item(TABLE, item.clone())?;
                Ok(Transitioned::Was(row.status))
            }
            // The row as it was is told, if there was one.
            None => Ok(Transitioned::NoSuchEvent),
        }
    }
}

pub(crate) fn customer_bucket(customer_id: &CustomerId, bucket: &str) -> String {
    format!("{customer_id}#{bucket}")
}

/// A time that may be none, as the table holds it.
pub(crate) fn time_or_null(at: Option<Timestamp>) -> AttributeValue {
    at.map_or(AttributeValue::Null(true), |at| number(at.unix_ms()))
}

/// Times, as the table holds them.
pub(crate) fn times(times: &[Timestamp]) -> AttributeValue {
    AttributeValue::L(times.iter().map(|at| number(at.unix_ms())).collect())
}

pub(crate) fn history_entry(status: UsageStatus, at: Timestamp) -> AttributeValue {
    AttributeValue::L(vec![AttributeValue::M(HashMap::from([
        ("status".to_owned(), text(status.as_str())),
        ("at".to_owned(), number(at.unix_ms())),
    ]))])
}
