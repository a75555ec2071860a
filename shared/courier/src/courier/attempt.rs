//! One delivery, tried once.

use billing::Timestamp;
use ledger::{BillingEventRow, Channel, Delivery, DeliveryState, StoredNotification};

use super::{Chosen, Courier};
use crate::backoff::next_attempt;
use crate::email::{Mailer, SendError};
use crate::settings::{Recipient, Settings, is_address};
use crate::webhook::{Refusal, WebhookSender};

/// What became of an attempt.
pub(super) enum Attempt {
    Sent,
    /// To be tried again, if there is time left.
    Failed(String),
    /// Not to be tried again.
    Dead(String),
    /// Not to be sent.
    Dropped(&'static str),
    /// Left to the next run, as due as it was.
    Left,
    /// Not tried, since its channel fails, and due again only then: else it would stand
    /// before what the other channel is to bring.
    PutOff(Timestamp),
}

impl Courier {
    /// Tries `delivery` of `row`.
    pub(super) async fn attempt(
        &self,
        row: &BillingEventRow,
        delivery: &Delivery,
        chosen: &Chosen,
        now: Timestamp,
    ) -> Attempt {
        let mut notifications = row.notifications.iter();
        let notification = notifications.find(|it| it.id == delivery.notification_id);
        let Some(notification) = notification else {
            return Attempt::Dropped("no_notification");
        };
        match delivery.channel {
            Channel::Email => self.mail(row, notification, &chosen.settings).await,
            Channel::Webhook => self.post(notification, chosen, now).await,
        }
    }

    async fn mail(
        &self,
        row: &BillingEventRow,
        notification: &StoredNotification,
        settings: &Settings,
    ) -> Attempt {
        let Some(settings) = &settings.email else {
            return Attempt::Dropped("channel_off");
        };
        if !settings.kinds.contains(&notification.kind) {
            return Attempt::Dropped("kind_off");
        }
        let address = match &settings.recipient {
            Recipient::Operator(address) => Ok(address.clone()),
            Recipient::Customer => self.address_of(row).await,
        };
        let address = match address {
            Ok(address) => address,
            Err(attempt) => return attempt,
        };
        let client = &self.parts.ses;
        let mailer = Mailer { client, settings };
        match mailer.send(notification, &address).await {
            Ok(()) => Attempt::Sent,
            Err(error @ SendError::Ses(_)) => Attempt::Failed(error.reason().to_owned()),
            Err(error) => {
                tracing::error!(id = notification.id, %error, "a mail cannot be written");
                Attempt::Dead(error.reason().to_owned())
            }
        }
    }

    /// The customer's address, as Stripe has it at this moment. It is kept nowhere.
    async fn address_of(&self, row: &BillingEventRow) -> Result<String, Attempt> {
        let Some(customer_id) = &row.customer_id else {
            return Err(Attempt::Dropped("no_customer"));
        };
        match self.parts.ledger.customer(customer_id).await {
            Ok(Some(customer)) if customer.erased_at.is_none() => {}
            Ok(_) => return Err(Attempt::Dropped("erased")),
            Err(error) => {
                tracing::warn!(%customer_id, %error, "a mail's customer cannot be read");
                return Err(Attempt::Failed("dynamodb".to_owned()));
            }
        }
        let customer = match self
            .parts
            .stripe
            .retrieve_customer(customer_id.as_str())
            .await
        {
            Ok(customer) => customer,
            Err(error) if error.is_not_found() => return Err(Attempt::Dropped("no_customer")),
            Err(_) => return Err(Attempt::Failed("stripe".to_owned())),
        };
        if customer.deleted {
            return Err(Attempt::Dropped("deleted"));
        }
        let address = customer.email.filter(|address| is_address(address));
        address.ok_or(Attempt::Dropped("no_address"))
    }

    async fn post(
        &self,
        notification: &StoredNotification,
        chosen: &Chosen,
        now: Timestamp,
    ) -> Attempt {
        let (Some(settings), Some(secrets)) = (&chosen.settings.webhook, &chosen.secrets) else {
            return Attempt::Dropped("channel_off");
        };
        if !settings.kinds.contains(&notification.kind) {
            return Attempt::Dropped("kind_off");
        }
        let http = &self.http;
        let sender = WebhookSender {
            http,
            settings,
            secrets,
        };
        match sender.send(notification, now).await {
            Ok(()) => Attempt::Sent,
            Err(Refusal::Failed(reason)) => Attempt::Failed(reason),
            Err(Refusal::Gone) => Attempt::Dead("http_410".to_owned()),
        }
    }
}

/// How `delivery` stands after `attempt`, which ended at `now`.
pub(super) fn after(delivery: &Delivery, attempt: &Attempt, now: Timestamp) -> Delivery {
    let attempts = delivery.attempts.saturating_add(1);
    let tried = |state, due_at, reason: Option<&str>| Delivery {
        state,
        due_at,
        attempts,
        reason: reason.map(str::to_owned),
        ..delivery.clone()
    };
    match attempt {
        Attempt::Sent => tried(DeliveryState::Sent, now, None),
        Attempt::Failed(reason) => match next_attempt(attempts, delivery.since, now) {
            Some(next) => tried(DeliveryState::Pending, next, Some(reason)),
            None => tried(DeliveryState::Dead, now, Some(reason)),
        },
        Attempt::Dead(reason) => tried(DeliveryState::Dead, now, Some(reason)),
        Attempt::Dropped(reason) => Delivery {
            state: DeliveryState::Dropped,
            due_at: now,
            reason: Some((*reason).to_owned()),
            ..delivery.clone()
        },
        Attempt::Left => delivery.clone(),
        Attempt::PutOff(due_at) => Delivery {
            due_at: *due_at,
            ..delivery.clone()
        },
    }
}
