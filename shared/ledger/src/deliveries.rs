//! What of an event's notifications goes out by e-mail or to a webhook of the
//! operator's, and how each of them stands. It lies in the event's own row, stored
//! with it, so that nothing that has to be said is lost.

use std::fmt;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use billing::Timestamp;
use serde::{Deserialize, Serialize};

use crate::billing_events::TABLE;
use crate::error::is_condition_failure;
use crate::event_progress::{PROGRESS, PROGRESS_AT, partition_of};
use crate::items::{Item, from_item, number, text, to_item};
use crate::{
    BillingEventRow, Ledger, LedgerError, ListedEvent, Progress, StoredNotification, Updated,
};

/// A way by which notifications go out beside the operator's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A mail to the customer, or to the operator.
    Email,
    /// A signed request to an address of the operator's.
    Webhook,
}

impl Channel {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be tried, perhaps again.
    Pending,
    /// Taken by SES, or by the operator's address.
    Sent,
    /// Tried for as long as is tried: given up.
    Dead,
    /// Not to be sent at all: nobody wants it, or nobody is there.
    Dropped,
}

impl DeliveryState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }
}

/// One notification by one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which of the event's notifications.
    pub notification_id: String,
    /// By which way.
    pub channel: Channel,
    /// How it stands.
    pub state: DeliveryState,
    /// Since when it is to be delivered.
    pub since: Timestamp,
    /// When it is tried next, while it is pending; else since when it stands so.
    pub due_at: Timestamp,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why the last attempt failed, or why there is none: a word, never a person's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Delivery {
    /// To be sent from `since` on.
    pub fn new(notification_id: &str, channel: Channel, since: Timestamp) -> Self {
        Self {
            notification_id: notification_id.to_owned(),
            channel,
            state: DeliveryState::Pending,
            since,
            due_at: since,
            attempts: 0,
            reason: None,
        }
    }

    /// Each of `notifications` by each of `channels`, due at `now`.
    pub fn of_all(
        notifications: &[StoredNotification],
        channels: &[Channel],
        now: Timestamp,
    ) -> Vec<Self> {
        let by_each = |notification: &StoredNotification| {
            let id = notification.id.clone();
            channels
                .iter()
                .map(move |channel| Self::new(&id, *channel, now))
        };
        notifications.iter().flat_map(by_each).collect()
    }

    /// Whether somebody is to try it at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == DeliveryState::Pending && self.due_at <= now
    }
}

impl Ledger {
    /// Takes what is due of `event`, if it still stands as it was listed: until
    /// `claim` nobody else finds it due. The row, or none where somebody was faster.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps taken; then it is due again at `claim`.
    pub async fn claim_deliveries(
        &self,
        event: &ListedEvent,
        claim: Timestamp,
    ) -> Result<Option<BillingEventRow>, LedgerError> {
        let pending = partition_of(&event.stripe_event_id, Progress::Pending);
        let claimed = self
            .client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(&event.stripe_event_id))
            .update_expression("SET #at = :claim")
            .condition_expression("#progress = :pending AND #at = :listed")
            .expression_attribute_names("#progress", PROGRESS)
            .expression_attribute_names("#at", PROGRESS_AT)
            .expression_attribute_values(":pending", pending)
            .expression_attribute_values(":listed", number(event.progress_at.unix_ms()))
            .expression_attribute_values(":claim", number(claim.unix_ms()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match claimed {
            Ok(claimed) => {
                let item = claimed.attributes.unwrap_or_default();
                from_item(TABLE, item).map(Some)
            }
            Err(error) if is_condition_failure(&error) => Ok(None),
            Err(error) => Err(LedgerError::unavailable("claim deliveries")(error)),
        }
    }

    /// Notes how the delivery at `place` of `row` stands now, under a claim; with the
    /// last one the claim ends. A claim that is over by then notes nothing: whoever
    /// took it over notes what it did itself.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: else it is tried again, and says the same.
    pub async fn note_delivery(
        &self,
        row: &BillingEventRow,
        place: usize,
        claim: Timestamp,
        is_last: bool,
    ) -> Result<Updated, LedgerError> {
        const OPERATION: &str = "note delivery";
        let Some(delivery) = row.deliveries.get(place) else {
            return Ok(Updated::VersionConflict);
        };
        let mut assignments = format!("SET deliveries[{place}] = :delivery");
        let mut update = self
            .client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(&row.stripe_event_id))
            .condition_expression("#at = :claim")
            .expression_attribute_names("#at", PROGRESS_AT)
            .expression_attribute_values(":claim", number(claim.unix_ms()))
            .expression_attribute_values(":delivery", AttributeValue::M(to_item(TABLE, delivery)?));
        if is_last {
            let (progress, at) = row.progress();
            let partition = partition_of(&row.stripe_event_id, progress);
            assignments.push_str(", #progress = :progress, #at = :at");
            update = update
                .expression_attribute_names("#progress", PROGRESS)
                .expression_attribute_values(":progress", partition)
                .expression_attribute_values(":at", number(at.unix_ms()));
        }
        match update.update_expression(assignments).send().await {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }

    /// Gives `deliveries` to the event that was read as `read`, if it still has those
    /// that it had then: for the operator, who has something sent again.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps given.
    pub async fn replace_deliveries(
        &self,
        read: &BillingEventRow,
        deliveries: Vec<Delivery>,
    ) -> Result<Updated, LedgerError> {
        let row = BillingEventRow {
            deliveries,
            ..read.clone()
        };
        let mut key = row.index_key();
        let mut value = |name: &str| key.remove(name).unwrap_or(AttributeValue::Null(true));
        let replaced = self
            .client
            .update_item()
            .table_name(&self.tables.billing_events)
            .key("stripe_event_id", text(&row.stripe_event_id))
            .update_expression("SET deliveries = :new, #progress = :progress, #at = :at")
            .condition_expression("deliveries = :read")
            .expression_attribute_names("#progress", PROGRESS)
            .expression_attribute_names("#at", PROGRESS_AT)
            .expression_attribute_values(":progress", value(PROGRESS))
            .expression_attribute_values(":at", value(PROGRESS_AT))
            .expression_attribute_values(":read", listed(&read.deliveries)?)
            .expression_attribute_values(":new", listed(&row.deliveries)?)
            .send()
            .await;
        match replaced {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("replace deliveries")(error)),
        }
    }
}

fn listed(deliveries: &[Delivery]) -> Result<AttributeValue, LedgerError> {
    let items = deliveries.iter().map(|delivery| to_item(TABLE, delivery));
    let items: Result<Vec<Item>, _> = items.collect();
    let items = items?.into_iter().map(AttributeValue::M);
    Ok(AttributeValue::L(items.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn each_notification_goes_by_each_channel() {
        let notification = |id: &str| StoredNotification {
            id: id.to_owned(),
            kind: String::new(),
            message: String::new(),
        };
        let notifications = [notification("a"), notification("b")];
        let channels = [Channel::Email, Channel::Webhook];
        let all = Delivery::of_all(&notifications, &channels, NOW);
        let named: Vec<_> = all
            .iter()
            .map(|it| (it.notification_id.as_str(), it.channel.as_str()))
            .collect();
        assert_eq!(
            named,
            [
                ("a", "email"),
                ("a", "webhook"),
                ("b", "email"),
                ("b", "webhook")
            ]
        );
        assert!(all.iter().all(|delivery| delivery.is_due(NOW)));
        assert!(!all.iter().any(|delivery| delivery.is_due(NOW.plus_ms(-1))));
        assert_eq!(Delivery::of_all(&notifications, &[], NOW), []);
    }
}
