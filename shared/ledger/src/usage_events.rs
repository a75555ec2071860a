//! The audit log: one row per usage event, forever.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use billing::{ContentHash, Identifier, Repeat, Timestamp, UsageStatus};

use crate::items::{Item, from_item, text, to_item};
use crate::usage_event_row::history_entry;
use crate::{Ledger, LedgerError, UsageEventRow};

pub(crate) const TABLE: &str = "usage-events";
/// What the log calls step one of an emission.
pub(crate) const RECORD: &str = "record usage event";

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
