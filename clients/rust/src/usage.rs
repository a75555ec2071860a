//! What a billable action used.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::InvalidUsage;
use crate::event_id::{event_id_of_job, new_event_id};
use crate::http::{WireEvent, WireTime};

/// The longest event id, in bytes.
const ID_BYTES_MAX: usize = 255;
/// The longest action type and customer id, in characters.
const NAME_LENGTH_MAX: usize = 64;
/// The most units of one event.
const QUANTITY_MAX: u64 = 1_000_000_000;

/// One billable action of a customer: what [`Emit::emit`](crate::Emit::emit)
/// records and [`Emit::metered`](crate::Emit::metered) goes around.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Usage {
    pub(crate) customer_id: String,
    pub(crate) action_type: String,
    pub(crate) quantity: u64,
    event_id: Option<String>,
    job_id: Option<String>,
    subscription_item_id: Option<String>,
    occurred_at: Option<SystemTime>,
}

impl Usage {
    /// One unit of `action_type`, as the operator's catalog names it, by the
    /// customer that Stripe calls `customer_id`, `cus_…`.
    pub fn new(customer_id: impl Into<String>, action_type: impl Into<String>) -> Self {
        Self {
            customer_id: customer_id.into(),
            action_type: action_type.into(),
            quantity: 1,
            event_id: None,
            job_id: None,
            subscription_item_id: None,
            occurred_at: None,
        }
    }

    /// So many units: 1 to 1,000,000,000.
    pub fn quantity(self, quantity: u64) -> Self {
        Self { quantity, ..self }
    }

    /// Under an id of the caller's own, 1 to 255 bytes of any text. Without one or
    /// a job, an id is made up, and only this process knows it.
    pub fn event_id(self, event_id: impl Into<String>) -> Self {
        Self {
            event_id: Some(event_id.into()),
            ..self
        }
    }

    /// As the one action of its type in the job that the caller calls `job_id`:
    /// however often the job runs, it is billed once. See [`event_id_of_job`].
    pub fn job(self, job_id: impl Into<String>) -> Self {
        Self {
            job_id: Some(job_id.into()),
            ..self
        }
    }

    /// For this subscription item, `si_…`; another one is refused.
    pub fn subscription_item(self, subscription_item_id: impl Into<String>) -> Self {
        Self {
            subscription_item_id: Some(subscription_item_id.into()),
            ..self
        }
    }

    /// At a time other than that of its recording. It is part of what the event
    /// says: the same id with another time is a conflict.
    pub fn occurred_at(self, occurred_at: SystemTime) -> Self {
        Self {
            occurred_at: Some(occurred_at),
            ..self
        }
    }

    /// The same with an id, if it had none: for whoever must know it beforehand.
    pub(crate) fn named(self) -> Self {
        match (&self.event_id, &self.job_id) {
            (None, None) => self.event_id(new_event_id()),
            _ => self,
        }
    }

    /// The event as it is sent, in every attempt alike.
    pub(crate) fn wire_event(&self) -> Result<WireEvent, InvalidUsage> {
        let event_id = match (self.event_id.as_deref(), self.job_id.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(InvalidUsage("an event has an id or a job, not both"));
            }
            (Some(event_id), None) => checked_id(event_id)?.to_owned(),
            (None, Some("")) => return Err(InvalidUsage("a job id must not be empty")),
            (None, Some(job_id)) => event_id_of_job(job_id, &self.action_type),
            (None, None) => new_event_id(),
        };
        let is_action = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
        let is_stripe_id = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !is_name(&self.action_type, is_action) {
            return Err(InvalidUsage(
                "action_type must be 1 to 64 letters, digits or any of _ - . :",
            ));
        }
        if !is_name(&self.customer_id, is_stripe_id) {
            return Err(InvalidUsage("customer_id must be one of Stripe's, cus_…"));
        }
        if !(1..=QUANTITY_MAX).contains(&self.quantity) {
            return Err(InvalidUsage(
                "quantity must be a whole number from 1 to 1000000000",
            ));
        }
        Ok(WireEvent {
            event_id,
            customer_id: self.customer_id.clone(),
            subscription_item_id: self.subscription_item_id.clone(),
            quantity: self.quantity,
            action_type: self.action_type.clone(),
            occurred_at: self.occurred_at.map(wire_time).transpose()?,
        })
    }
}

fn checked_id(id: &str) -> Result<&str, InvalidUsage> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) {
        Ok(id)
    } else {
        Err(InvalidUsage("an event id has 1 to 255 bytes"))
    }
}

fn is_name(text: &str, is_allowed: impl Fn(char) -> bool) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len()) && text.chars().all(is_allowed)
}

fn wire_time(time: SystemTime) -> Result<WireTime, InvalidUsage> {
    let time = OffsetDateTime::from(time).format(&Rfc3339);
    time.map(WireTime::Rfc3339)
        .map_err(|_| InvalidUsage("occurred_at must be between the years 2000 and 2100"))
}
