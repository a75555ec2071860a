//! What a billable action used.

use std::time::SystemTime;

use crate::checks;
use crate::error::InvalidUsage;
use crate::event_id::{event_id_of_job, new_id};
use crate::reservation::ReservationRequest;
use crate::rfc3339;
use crate::wire::{WireEvent, WireTime};

/// The longest event id, in bytes.
const ID_BYTES_MAX: usize = 255;

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
    reservation_id: Option<String>,
    reserve: Option<u64>,
}

/// The usage of an action that has not been run yet.
pub(crate) struct Planned {
    pub(crate) usage: Usage,
    /// What is to be held before; the usage settles it.
    pub(crate) reserve: Option<ReservationRequest>,
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
            reservation_id: None,
            reserve: None,
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

    /// Settles this reservation, whatever the quantity; [`Recorded::reservation`] says
    /// what became of it. The event is the same event with and without one.
    ///
    /// [`Recorded::reservation`]: crate::Recorded::reservation
    pub fn reservation_id(self, reservation_id: impl Into<String>) -> Self {
        Self {
            reservation_id: Some(reservation_id.into()),
            ..self
        }
    }

    pub(crate) fn without_reservation(self) -> Self {
        Self {
            reservation_id: None,
            ..self
        }
    }

    /// Holds so many units of the customer's limit, under a new id, before a metered
    /// action, which is not run unless they are held. The action's event settles them;
    /// if the action fails they are released. [`Emit::emit`](crate::Emit::emit) does not
    /// take it: what has happened holds nothing.
    pub fn reserve(self, units: u64) -> Self {
        Self {
            reserve: Some(units),
            ..self
        }
    }

    /// The same with an id, if it had none: for whoever must know it beforehand.
    fn named(self) -> Self {
        match (&self.event_id, &self.job_id) {
            (None, None) => self.event_id(new_id()),
            _ => self,
        }
    }

    /// Checked before the work is done, and with its ids, for whoever records it later.
    pub(crate) fn planned(self) -> Result<Planned, InvalidUsage> {
        let mut usage = self.named();
        let Some(units) = usage.reserve.take() else {
            usage.wire_event()?;
            return Ok(Planned {
                usage,
                reserve: None,
            });
        };
        if usage.reservation_id.is_some() {
            let reason = "an action has a reservation or reserves units, not both";
            return Err(InvalidUsage(reason));
        }
        let reservation_id = new_id();
        let request = ReservationRequest::new(&usage.customer_id, &usage.action_type, units);
        let request = request.reservation_id(&reservation_id);
        let usage = usage.reservation_id(reservation_id);
        usage.wire_event()?;
        request.clone().wire()?;
        Ok(Planned {
            usage,
            reserve: Some(request),
        })
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
            (None, None) => new_id(),
        };
        checks::action_type(&self.action_type)?;
        checks::customer_id(&self.customer_id)?;
        checks::quantity(self.quantity)?;
        if let Some(subscription_item_id) = &self.subscription_item_id {
            checks::subscription_item(subscription_item_id)?;
        }
        if let Some(reservation_id) = &self.reservation_id {
            checks::reservation_id(reservation_id)?;
        }
        if self.reserve.is_some() {
            return Err(InvalidUsage(
                "units are reserved before an action, not for what has happened",
            ));
        }
        Ok(WireEvent {
            event_id,
            customer_id: self.customer_id.clone(),
            subscription_item_id: self.subscription_item_id.clone(),
            quantity: self.quantity,
            action_type: self.action_type.clone(),
            occurred_at: self.occurred_at.map(wire_time).transpose()?,
            reservation_id: self.reservation_id.clone(),
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

fn wire_time(time: SystemTime) -> Result<WireTime, InvalidUsage> {
    rfc3339::text(time)
        .map(WireTime::Rfc3339)
        .ok_or(InvalidUsage(
            "occurred_at must be between the years 2000 and 2100",
        ))
}
