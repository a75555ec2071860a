//! Why a call did not do what it was for, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::answer::Problem;
use crate::outcome::Failed;

/// An event that cannot be taken for recorded. [`EmitError::is_retryable`] says
/// whether the same call may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// It cannot be an event; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] InvalidUsage),
    /// Meterline said no: the event is not billed, and the same call would be
    /// refused again.
    #[error("event {event_id:?} was refused ({http_status}): {problem}")]
    Refused {
        /// The event's id.
        event_id: String,
        /// The answer's status.
        http_status: u16,
        /// Meterline's explanation.
        problem: Box<Problem>,
    },
    /// No clear answer came within the time for retries.
    #[error(
        "event {event_id:?} is perhaps recorded: emit it again under this id, or have it voided \
         ({reason})"
    )]
    PerhapsRecorded {
        /// The event's id: emitted again under it, the event counts once.
        event_id: String,
        /// The status of the last answer, if one came.
        http_status: Option<u16>,
        /// What the last attempt met.
        reason: String,
        /// Meterline's explanation, if its last answer gave one.
        problem: Option<Box<Problem>>,
    },
    /// The event cannot be written into the spool; nothing was sent.
    #[error("event {event_id:?} cannot be kept in the spool: {reason}")]
    Spool {
        /// The event's id.
        event_id: String,
        /// What the system said.
        reason: String,
    },
    /// The client has been closed ([`Meterline::close`](crate::Meterline::close));
    /// nothing was sent.
    #[error("the client is closed")]
    Closed,
}

impl EmitError {
    pub(crate) fn of(event_id: String, failed: Failed) -> Self {
        match failed {
            Failed::Refused {
                http_status,
                problem,
            } => Self::Refused {
                event_id,
                http_status,
                problem,
            },
            Failed::Unsure {
                http_status,
                reason,
                problem,
                ..
            } => Self::PerhapsRecorded {
                event_id,
                http_status,
                reason,
                problem,
            },
        }
    }

    /// As Meterline answers where an id is used for something else.
    pub(crate) fn conflict(event_id: String) -> Self {
        Self::Refused {
            event_id,
            http_status: 409,
            problem: Box::new(Problem::conflict()),
        }
    }

    /// One word for it, the same in the clients of every language.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Refused { .. } => "refused",
            Self::PerhapsRecorded { .. } => "perhaps_recorded",
            Self::Spool { .. } => "spool_failed",
            Self::Closed => "closed",
        }
    }

    /// Whether the same call, under [the same id](Self::event_id), may succeed.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Invalid(_) | Self::Closed)
    }

    /// The id to go on with, where the event had got one.
    pub fn event_id(&self) -> Option<&str> {
        match self {
            Self::Refused { event_id, .. }
            | Self::PerhapsRecorded { event_id, .. }
            | Self::Spool { event_id, .. } => Some(event_id),
            Self::Invalid(_) | Self::Closed => None,
        }
    }

    /// Meterline's explanation, if it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            Self::PerhapsRecorded { problem, .. } => problem.as_deref(),
            Self::Invalid(_) | Self::Spool { .. } | Self::Closed => None,
        }
    }
}

/// Why units are not held, or perhaps not given back.
/// [`ReservationError::is_retryable`] says whether the same call may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReservationError {
    /// It cannot be a reservation; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] InvalidUsage),
    /// So many units are more than what is left of a hard limit; nothing is held.
    #[error("reservation {reservation_id:?} is more than what is left of the limit: {problem}")]
    LimitReached {
        /// The reservation's id.
        reservation_id: String,
        /// Meterline's explanation: `left_units` or `left_amount` says what is left.
        problem: Box<Problem>,
    },
    /// Meterline said no, and the same call would be refused again.
    #[error("reservation {reservation_id:?} was refused ({http_status}): {problem}")]
    Refused {
        /// The reservation's id.
        reservation_id: String,
        /// The answer's status.
        http_status: u16,
        /// Meterline's explanation.
        problem: Box<Problem>,
    },
    /// No clear answer came within the time for retries. What is perhaps held expires.
    #[error("of reservation {reservation_id:?} nobody knows whether it is held ({reason})")]
    Unavailable {
        /// The reservation's id: asked for again under it, the units are held once.
        reservation_id: String,
        /// The status of the last answer, if one came.
        http_status: Option<u16>,
        /// What the last attempt met.
        reason: String,
        /// Meterline's explanation, if its last answer gave one.
        problem: Option<Box<Problem>>,
    },
    /// The client has been closed ([`Meterline::close`](crate::Meterline::close));
    /// nothing was sent.
    #[error("the client is closed")]
    Closed,
}

impl ReservationError {
    pub(crate) fn of(reservation_id: String, failed: Failed) -> Self {
        match failed {
            Failed::Refused { problem, .. } if problem.is_limit_reached() => Self::LimitReached {
                reservation_id,
                problem,
            },
            Failed::Refused {
                http_status,
                problem,
            } => Self::Refused {
                reservation_id,
                http_status,
                problem,
            },
            Failed::Unsure {
                http_status,
                reason,
                problem,
                ..
            } => Self::Unavailable {
                reservation_id,
                http_status,
                reason,
                problem,
            },
        }
    }

    /// One word for it, the same in the clients of every language.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::LimitReached { .. } => "limit_reached",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Closed => "closed",
        }
    }

    /// Whether the same call, under [the same id](Self::reservation_id), may succeed.
    /// What is more than what is left is not worth the asking again.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The id to go on with, where the reservation had got one.
    pub fn reservation_id(&self) -> Option<&str> {
        match self {
            Self::LimitReached { reservation_id, .. }
            | Self::Refused { reservation_id, .. }
            | Self::Unavailable { reservation_id, .. } => Some(reservation_id),
            Self::Invalid(_) | Self::Closed => None,
        }
    }

    /// Meterline's explanation, if it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::LimitReached { problem, .. } | Self::Refused { problem, .. } => Some(problem),
            Self::Unavailable { problem, .. } => problem.as_deref(),
            Self::Invalid(_) | Self::Closed => None,
        }
    }
}

/// Why nobody says whether a customer may act.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It cannot be asked; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] InvalidUsage),
    /// Meterline does not answer this, and would not if it were asked again.
    #[error("the question for access was refused ({http_status}): {problem}")]
    Refused {
        /// The answer's status.
        http_status: u16,
        /// Meterline's explanation.
        problem: Box<Problem>,
    },
    /// No clear answer came within the time for retries.
    #[error("access is unknown ({reason})")]
    Unavailable {
        /// The status of the last answer, if one came.
        http_status: Option<u16>,
        /// What the last attempt met.
        reason: String,
        /// Meterline's explanation, if its last answer gave one.
        problem: Option<Box<Problem>>,
    },
    /// The client has been closed ([`Meterline::close`](crate::Meterline::close));
    /// nothing was sent.
    #[error("the client is closed")]
    Closed,
}

impl AccessError {
    pub(crate) fn of(failed: Failed) -> Self {
        match failed {
            Failed::Refused {
                http_status,
                problem,
            } => Self::Refused {
                http_status,
                problem,
            },
            Failed::Unsure {
                http_status,
                reason,
                problem,
                ..
            } => Self::Unavailable {
                http_status,
                reason,
                problem,
            },
        }
    }

    /// One word for it, the same in the clients of every language.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Closed => "closed",
        }
    }

    /// Whether the same question may be answered later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Meterline's explanation, if it gave one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            Self::Unavailable { problem, .. } => problem.as_deref(),
            Self::Invalid(_) | Self::Closed => None,
        }
    }
}

/// What is wrong with what was given, in words; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUsage(pub(crate) &'static str);

/// Why no client could be built. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The environment does not say it.
    #[error("{variable} is not set")]
    NotSet {
        /// The variable.
        variable: &'static str,
    },
    /// Not an address.
    /// It is not shown: it may be the key, in the wrong place.
    #[error("the address of Meterline is none of http:// or https://")]
    InvalidUrl,
    /// The key is empty, or has characters that no header may hold; they are not shown.
    #[error("the API key is empty, or cannot be sent in a header")]
    InvalidKey,
    /// What is to be trusted is not in the PEM text, or cannot be read.
    #[error("a root certificate cannot be used: {reason}")]
    InvalidRootCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// A batch has 1 to 100 events.
    #[error("a buffer holds 1 to 100 events, not {events_max}")]
    InvalidBuffer {
        /// What was asked for.
        events_max: usize,
    },
    /// The HTTP client could not be built.
    #[error("no HTTP client: {0}")]
    Http(String),
    /// The spool's folder cannot be used.
    #[error("the spool {} cannot be used: {source}", path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A buffer and a spool have tasks of their own.
    #[error("a client with a buffer or a spool is built inside a Tokio runtime")]
    NoRuntime,
}
