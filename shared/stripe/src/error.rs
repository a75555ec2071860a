//! What can go wrong with a call.

use serde::Deserialize;

use crate::object::or_default;

/// The type of an error whose answer is none of Stripe's, such as a proxy's page.
const UNKNOWN_TYPE: &str = "unknown_error";

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Stripe answered with an error.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Stripe did as it was asked, and its answer is not what it should be.
    #[error("Stripe's answer ({status}) is not of the expected form")]
    UnreadableAnswer {
        /// The answer's status, one of 2xx.
        status: u16,
        /// Stripe's name for the request.
        request_id: Option<String>,
        /// What was expected instead.
        #[source]
        source: serde_json::Error,
    },
    /// The deadline had passed before anything was sent.
    #[error("the deadline passed before anything was sent to Stripe")]
    DeadlineOver,
    /// The request makes no sense; nothing was sent.
    #[error("nothing was sent to Stripe: {0}")]
    InvalidRequest(#[from] InvalidRequest),
}

/// An error as Stripe answers it (Stripe API reference: Errors).
#[derive(Clone, Debug, thiserror::Error)]
#[error("Stripe answered {status} {error_type}{}: {message}", in_brackets(code.as_deref()))]
pub struct ApiError {
    /// The answer's status.
    pub status: u16,
    /// Stripe's kind of error, such as `invalid_request_error` or
    /// `card_error`; `unknown_error` where the answer is none of Stripe's.
    pub error_type: String,
    /// Stripe's name for what is wrong, such as `resource_missing`.
    pub code: Option<String>,
    /// Why the card's issuer declined, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// Stripe's explanation, for developers. It may quote what was sent.
    pub message: String,
    /// The parameter that is wrong.
    pub param: Option<String>,
    /// Where Stripe explains the code.
    pub doc_url: Option<String>,
    /// Stripe's name for the request.
    pub request_id: Option<String>,
    /// Whether Stripe repeats what it answered to the idempotency key before
    /// (`Idempotent-Replayed`). It does so with errors of its own, too, for as
    /// long as it keeps the key.
    pub is_replayed: bool,
    /// Whether an earlier attempt of the same call may have been taken: its
    /// answer was lost, or was an error that leaves it open.
    pub taken_before: Sent,
}

fn in_brackets(code: Option<&str>) -> String {
    code.map(|code| format!(" ({code})")).unwrap_or_default()
}

/// Whether Stripe may have received a request that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// No attempt got as far as a connection.
    No,
    /// At least one attempt may have been received, and acted upon.
    Perhaps,
}

/// A request without a whole answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from Stripe: {failure}")]
pub struct TransportError {
    /// Over all attempts of the call.
    pub sent: Sent,
    /// What happened to the last attempt.
    #[source]
    pub(crate) failure: TransportFailure,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportFailure {
    #[error("{}", describe(.0))]
    Http(#[source] reqwest::Error),
    #[error("the answer is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

/// The errors of reqwest name the address, which here holds the ids of
/// customers and says nothing new.
fn describe(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() && error.is_connect() {
        "connecting took too long"
    } else if error.is_timeout() {
        "the answer took too long"
    } else if error.is_connect() {
        "the connection failed"
    } else if error.is_builder() {
        "the request cannot be written"
    } else {
        "the connection broke"
    }
}

/// A request that is not worth sending.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// An empty id would turn a request for one object into one for the list,
    /// and one of dots into one for another object.
    #[error("an id of Stripe's is expected")]
    Id,
    /// The meter event stream takes a hundred events a request.
    #[error("{events} meter events in one request, of at most {max}")]
    TooManyMeterEvents {
        /// How many were to be sent.
        events: usize,
        /// How many are taken.
        max: usize,
    },
    /// A time outside the years 0 to 9999.
    #[error("the timestamp {timestamp_unix_ms} (unix ms) is no time that Stripe takes")]
    Timestamp {
        /// The time.
        timestamp_unix_ms: i64,
    },
    /// The body of the request could not be written as JSON.
    #[error("the request is no JSON")]
    Json,
}

impl Error {
    /// The status of Stripe's answer, where there was one.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Api(error) => Some(error.status),
            Self::UnreadableAnswer { status, .. } => Some(*status),
            Self::Transport(_) | Self::DeadlineOver | Self::InvalidRequest(_) => None,
        }
    }

    /// Stripe's name for what is wrong, such as `resource_missing`.
    pub fn code(&self) -> Option<&str> {
        self.api()?.code.as_deref()
    }

    /// Stripe's name for the request, to be told to Stripe's support.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) => error.request_id.as_deref(),
            Self::UnreadableAnswer { request_id, .. } => request_id.as_deref(),
            Self::Transport(_) | Self::DeadlineOver | Self::InvalidRequest(_) => None,
        }
    }

    /// As the error of a call that went on after `earlier`.
    pub(crate) fn after(mut self, earlier: &Self) -> Self {
        if let (Self::Api(latest), Self::Api(earlier)) = (&mut self, earlier) {
            latest.taken_before = latest.taken_before.max(earlier.taken_before);
        }
        self
    }

    /// Stripe's own error, where it answered with one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// Whether what was asked for, or what a parameter names, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404) || self.code() == Some("resource_missing")
    }

    /// Whether the card or another means of payment was declined.
    pub fn is_card_error(&self) -> bool {
        self.api()
            .is_some_and(|error| error.error_type == "card_error" || error.status == 402)
    }

    /// Whether Stripe refuses the key: unknown, expired, or without the permission.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.status(), Some(401 | 403))
    }

    /// Whether the idempotency key was used for another request before. A key that is in use by
    /// a request under way is an error of the same type, with status 409 (Stripe API reference:
    /// Idempotent requests; Error codes, `idempotency_key_in_use`).
    pub fn is_key_of_another_request(&self) -> bool {
        self.api()
            .is_some_and(|error| error.status == 400 && error.error_type == "idempotency_error")
    }

    /// Whether Stripe repeats an error of its own that it has stored under the
    /// idempotency key: asking again under that key brings nothing else.
    pub fn is_stored_server_error(&self) -> bool {
        self.api()
            .is_some_and(|error| error.is_replayed && error.status >= 500)
    }

    /// Whether the same call may well succeed later: the trouble was the
    /// network's, Stripe's, or one of pace.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Api(error) => matches!(error.status, 409 | 429 | 500..),
            Self::Transport(_) | Self::DeadlineOver => true,
            Self::UnreadableAnswer { .. } | Self::InvalidRequest(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct Body {
    error: Detail,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "type")]
    error_type: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
    param: Option<String>,
    doc_url: Option<String>,
}

impl ApiError {
    /// Reads the body of an answer that is not 2xx.
    pub(crate) fn read(status: u16, request_id: Option<String>, body: &[u8]) -> Self {
        let detail = serde_json::from_slice(body).map(|body: Body| body.error);
        let detail = detail.unwrap_or_else(|_| Detail {
            error_type: None,
            code: None,
            decline_code: None,
            message: "the answer is not one of Stripe's errors".to_owned(),
            param: None,
            doc_url: None,
        });
        Self {
            status,
            error_type: detail.error_type.unwrap_or_else(|| UNKNOWN_TYPE.to_owned()),
            code: detail.code,
            decline_code: detail.decline_code,
            message: detail.message,
            param: detail.param,
            doc_url: detail.doc_url,
            request_id,
            is_replayed: false,
            taken_before: Sent::No,
        }
    }
}
