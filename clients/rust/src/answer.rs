//! What Meterline says of an event.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reservation::ReservationOutcome;

/// The problem of a hard limit that has less left than is asked for.
const LIMIT_REACHED: &str = "urn:meterline:problem:limit-reached";

/// What became of a recorded event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Stripe has it.
    Delivered,
    /// It is durable, and Stripe will have it.
    Pending,
    /// It is durable and not in Stripe, and the operator knows of it.
    Quarantined,
    /// It is durable; no period that is still open can bill it. The operator knows.
    Held,
    /// It is in this process's spool, and Meterline has not answered yet.
    Spooled,
    /// A word that this version of the client does not know.
    #[serde(untagged)]
    Other(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivered => "delivered",
            Self::Pending => "pending",
            Self::Quarantined => "quarantined",
            Self::Held => "held",
            Self::Spooled => "spooled",
            Self::Other(word) => word,
        })
    }
}

/// An event that is durable: it will count once, whatever happens now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Recorded {
    /// The event's id, as sent.
    pub event_id: String,
    /// Where it is by now.
    pub status: Status,
    /// Whether an earlier call had recorded it: this one bills nothing.
    pub duplicate: bool,
    /// Units, as recorded.
    pub quantity: u64,
    /// Stripe's name for the record, where it has one.
    #[serde(default)]
    pub stripe_record_id: Option<String>,
    /// The customer's standing, such as `active` or `past_due`; none where only
    /// the spool has the event.
    #[serde(default)]
    pub customer_status: Option<String>,
    /// What became of the reservation that the event names; none where it names none,
    /// and where only the spool has the event.
    #[serde(default)]
    pub reservation: Option<ReservationOutcome>,
}

/// An error's body: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Problem {
    /// A stable name for the kind of problem, such as `urn:meterline:problem:conflict`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The same in words.
    pub title: String,
    /// What is wrong with this request.
    pub detail: String,
    /// The status of the answer, or of what it would be for a single event.
    pub status: u16,
    /// Of a limit in units that is reached: units that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_units: Option<u64>,
    /// Of a limit in money that is reached: the amount that is left, a decimal text in
    /// major units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_amount: Option<String>,
}

impl Problem {
    /// As Meterline answers where an id is used for something else.
    pub(crate) fn conflict() -> Self {
        Self {
            problem_type: "urn:meterline:problem:conflict".to_owned(),
            title: "The id is in use for something else".to_owned(),
            status: 409,
            ..Self::default()
        }
    }

    /// As it answers where the customer has none of this id.
    pub(crate) fn no_such_reservation() -> Self {
        Self {
            problem_type: "urn:meterline:problem:not-found".to_owned(),
            title: "Not found".to_owned(),
            status: 404,
            ..Self::default()
        }
    }

    /// As it answers where a hard limit has less left than is asked for.
    pub(crate) fn limit_reached(left_units: u64) -> Self {
        Self {
            problem_type: LIMIT_REACHED.to_owned(),
            title: "The spending limit is reached".to_owned(),
            status: 402,
            left_units: Some(left_units),
            ..Self::default()
        }
    }

    /// Whether it is one of Meterline's own, and no gateway's.
    pub(crate) fn is_meterlines(&self) -> bool {
        self.problem_type.starts_with("urn:meterline:problem:")
    }

    pub(crate) fn is_limit_reached(&self) -> bool {
        self.problem_type == LIMIT_REACHED
    }

    /// The last part of the type, such as `conflict`.
    pub fn kind(&self) -> &str {
        self.problem_type.rsplit(':').next().unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.title.as_str(), self.detail.as_str()) {
            ("", "") => f.write_str(&self.problem_type),
            (title, "") => f.write_str(title),
            ("", detail) => f.write_str(detail),
            (title, detail) => write!(f, "{title}: {detail}"),
        }
    }
}
