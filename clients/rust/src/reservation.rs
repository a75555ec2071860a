//! Units of a customer's limit, held before an action.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::checks::{self, check};
use crate::error::InvalidUsage;
use crate::event_id::new_id;
use crate::rfc3339;

/// For how long units are held at most.
const EXPIRES_IN_S_MAX: u64 = 3_600;

/// Units that an agent is about to use: what
/// [`Emit::reserve`](crate::Emit::reserve) holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ReservationRequest {
    customer_id: String,
    action_type: String,
    quantity: u64,
    reservation_id: Option<String>,
    expires_in: Option<Duration>,
}

impl ReservationRequest {
    /// So many units, 1 to 1,000,000,000, of the limit of `customer_id`, for
    /// `action_type`.
    pub fn new(
        customer_id: impl Into<String>,
        action_type: impl Into<String>,
        quantity: u64,
    ) -> Self {
        Self {
            customer_id: customer_id.into(),
            action_type: action_type.into(),
            quantity,
            reservation_id: None,
            expires_in: None,
        }
    }

    /// Under an id of the caller's own, unique for the customer: 1 to 128 of
    /// `A-Z a-z 0-9 _ . : ~ -`. Without one, an id is made up, which the answer and
    /// every error tell.
    pub fn reservation_id(self, reservation_id: impl Into<String>) -> Self {
        Self {
            reservation_id: Some(reservation_id.into()),
            ..self
        }
    }

    /// For so long, in whole seconds, an hour at most. Five minutes, unless said
    /// otherwise.
    pub fn expires_in(self, expires_in: Duration) -> Self {
        Self {
            expires_in: Some(expires_in),
            ..self
        }
    }

    /// The request as it is sent, in every attempt alike.
    pub(crate) fn wire(self) -> Result<WireReservation, InvalidUsage> {
        let reservation_id = self.reservation_id.unwrap_or_else(new_id);
        checks::reservation_id(&reservation_id)?;
        checks::customer_id(&self.customer_id)?;
        checks::action_type(&self.action_type)?;
        checks::quantity(self.quantity)?;
        if let Some(expires_in) = self.expires_in {
            let is_whole = expires_in.subsec_nanos() == 0;
            let is_within = (1..=EXPIRES_IN_S_MAX).contains(&expires_in.as_secs());
            let reason = "expires_in must be 1 to 3600 whole seconds";
            check(is_whole && is_within, reason)?;
        }
        Ok(WireReservation {
            reservation_id,
            customer_id: self.customer_id,
            quantity: self.quantity,
            action_type: self.action_type,
            expires_in_s: self.expires_in.map(|expires_in| expires_in.as_secs()),
        })
    }
}

/// A reservation as the API takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WireReservation {
    pub(crate) reservation_id: String,
    pub(crate) customer_id: String,
    pub(crate) quantity: u64,
    pub(crate) action_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in_s: Option<u64>,
}

/// Units that are held, until usage settles them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reservation {
    /// Its id, which the event names: [`Usage::reservation_id`](crate::Usage::reservation_id).
    pub reservation_id: String,
    /// Where it stands.
    pub status: ReservationStatus,
    /// Units.
    pub quantity: u64,
    /// Until when they are held, unless usage settles them before.
    #[serde(with = "rfc3339")]
    pub expires_at: SystemTime,
}

/// Where a reservation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReservationStatus {
    /// Its units are held.
    Held,
    /// Usage was recorded for it.
    Settled,
    /// It was given back.
    Released,
    /// Its time was over before either.
    Expired,
    /// A word that this version of the client does not know.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for ReservationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "held",
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Other(word) => word,
        })
    }
}

/// What became of the reservation that an event names. The event counts in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReservationOutcome {
    /// The event settled it.
    Settled,
    /// Its time was over.
    Expired,
    /// It had been given back.
    Released,
    /// Another event had settled it.
    SettledBefore,
    /// The event's action is counted by another meter than the reservation's.
    OtherMeter,
    /// The customer has no such reservation.
    Unknown,
    /// A word that this version of the client does not know.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for ReservationOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settled => "settled",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::SettledBefore => "settled_before",
            Self::OtherMeter => "other_meter",
            Self::Unknown => "unknown",
            Self::Other(word) => word,
        })
    }
}
