//! Why an event cannot be taken for recorded, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::answer::Problem;

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
    /// As Meterline answers where an id is used for something else.
    pub(crate) fn conflict(event_id: String) -> Self {
        Self::Refused {
            event_id,
            http_status: 409,
            problem: Box::new(Problem {
                problem_type: "urn:meterline:problem:conflict".to_owned(),
                title: "The id is in use for something else".to_owned(),
                detail: String::new(),
                status: 409,
            }),
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
            _ => None,
        }
    }
}

/// What is wrong with a [`Usage`](crate::Usage), in words.
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
    #[error("{url:?} is not an http:// or https:// address")]
    InvalidUrl {
        /// What was given.
        url: String,
    },
    /// The key has characters that no header may hold; they are not shown.
    #[error("the API key cannot be sent in a header")]
    InvalidKey,
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
