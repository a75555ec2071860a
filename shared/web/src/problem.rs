//! Errors as problem documents (RFC 9457): a stable type, a title, a status,
//! and a detail for the caller's developer. What happened inside stays in the log.

use std::fmt;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use billing::FieldError;
use ledger::LedgerError;
use serde::Serialize;
use serde_json::{Map, Value};

/// How soon a caller may try again what is unavailable, in seconds.
const RETRY_AFTER_S: i64 = 1;

/// The kinds of problems. Their names are part of the API: callers match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// The request cannot be read.
    InvalidRequest,
    /// A field's value cannot be accepted; the member `field` names it.
    InvalidField,
    /// No valid API key.
    Unauthorized,
    /// The payment method was declined.
    CardDeclined,
    /// A hard spending limit has less left than what is asked for.
    LimitReached,
    /// A valid key that may not do this.
    Forbidden,
    /// Nothing at this path.
    NotFound,
    /// No such customer.
    CustomerNotFound,
    /// No such usage event.
    UsageEventNotFound,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The id is in use for something with other content.
    Conflict,
    /// The usage event was voided, or is about to be.
    Voided,
    /// The body is over the route's limit.
    BodyTooLarge,
    /// The body is compressed, or so it says.
    UnsupportedEncoding,
    /// The body is of a content type that the route does not read.
    UnsupportedMediaType,
    /// More requests than the key may make.
    RateLimited,
    /// Stripe refused this usage event for good.
    Rejected,
    /// Stripe refused what was asked of it.
    StripeRefused,
    /// Stripe did not answer; perhaps it acted.
    StripeUnavailable,
    /// Meterline's tables did not answer; perhaps they changed.
    Unavailable,
    /// A fault of Meterline's own.
    Internal,
}

impl ProblemType {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::InvalidRequest,
        Self::InvalidField,
        Self::Unauthorized,
        Self::CardDeclined,
        Self::LimitReached,
        Self::Forbidden,
        Self::NotFound,
        Self::CustomerNotFound,
        Self::UsageEventNotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Voided,
        Self::BodyTooLarge,
        Self::UnsupportedEncoding,
        Self::UnsupportedMediaType,
        Self::RateLimited,
        Self::Rejected,
        Self::StripeRefused,
        Self::StripeUnavailable,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The last part of the type's URN.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::InvalidField => "invalid-field",
            Self::Unauthorized => "unauthorized",
            Self::CardDeclined => "card-declined",
            Self::LimitReached => "limit-reached",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::CustomerNotFound => "customer-not-found",
            Self::UsageEventNotFound => "usage-event-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::Voided => "voided",
            Self::BodyTooLarge => "body-too-large",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::RateLimited => "rate-limited",
            Self::Rejected => "rejected",
            Self::StripeRefused => "stripe-refused",
            Self::StripeUnavailable => "stripe-unavailable",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// What it is in a few words, the same every time.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request cannot be read",
            Self::InvalidField => "A field cannot be accepted",
            Self::Unauthorized => "No valid API key",
            Self::CardDeclined => "The payment method was declined",
            Self::LimitReached => "The spending limit is reached",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::CustomerNotFound => "No such customer",
            Self::UsageEventNotFound => "No such usage event",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "The id is in use for something else",
            Self::Voided => "The usage event is voided",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedEncoding => "The body is encoded",
            Self::UnsupportedMediaType => "The content type is not read here",
            Self::RateLimited => "Too many requests",
            Self::Rejected => "Stripe refused the usage event",
            Self::StripeRefused => "Stripe refused the request",
            Self::StripeUnavailable => "Stripe did not answer",
            Self::Unavailable => "Not available at the moment",
            Self::Internal => "A fault in Meterline",
        }
    }

    /// The type's URN, which callers match on.
    pub fn type_uri(self) -> String {
        format!("urn:meterline:problem:{}", self.as_str())
    }

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::InvalidField => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::CardDeclined | Self::LimitReached => StatusCode::PAYMENT_REQUIRED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::CustomerNotFound | Self::UsageEventNotFound => {
                StatusCode::NOT_FOUND
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict | Self::Voided => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding | Self::UnsupportedMediaType => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Rejected | Self::StripeRefused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::StripeUnavailable | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A problem document, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    type_uri: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(flatten)]
    members: Map<String, Value>,
    #[serde(skip)]
    problem_type: ProblemType,
    #[serde(skip)]
    refused: Option<Box<FieldError>>,
    #[serde(skip)]
    retry_after_s: Option<i64>,
}

impl Problem {
    /// A problem of `problem_type`; `detail` tells the caller's developer what to change.
    pub fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            type_uri: problem_type.type_uri(),
            title: problem_type.title(),
            status: problem_type.status().as_u16(),
            detail: detail.into(),
            members: Map::new(),
            problem_type,
            refused: None,
            retry_after_s: match problem_type.status() {
                StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_S),
                _ => None,
            },
        }
    }

    /// A field that cannot be accepted.
    pub fn field(error: &FieldError) -> Self {
        Self {
            refused: Some(Box::new(error.clone())),
            ..Self::new(ProblemType::InvalidField, error.to_string())
        }
        .with("field", error.field)
    }

    /// The same, for a caller who knows each field by the name that `name` gives it.
    #[must_use]
    pub fn with_field_named(self, name: impl FnOnce(&'static str) -> &'static str) -> Self {
        match &self.refused {
            Some(error) => Self::field(&FieldError::new(name(error.field), &*error.reason)),
            None => self,
        }
    }

    /// Adds a member of its own to the document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Tells the caller to wait for `wait_ms`, in whole seconds as HTTP does.
    #[must_use]
    pub fn retry_after_ms(self, wait_ms: i64) -> Self {
        let whole_s = wait_ms.saturating_add(999).div_euclid(1_000);
        Self {
            retry_after_s: Some(whole_s.max(1)),
            ..self
        }
    }

    /// What Stripe's error at `operation` means for the caller. Logs the error;
    /// of Stripe's words only those about a card reach the answer (Stripe API
    /// reference: Errors, "For card errors, these messages can be shown to your users").
    pub fn from_stripe(operation: &'static str, error: &stripe::Error) -> Self {
        let (status, code) = (error.status(), error.code());
        tracing::error!(
            operation,
            status,
            code,
            request_id = error.request_id(),
            error = %error,
            "Stripe failed"
        );
        match status {
            Some(402) => {
                let said = error.api().map(|error| error.message.as_str());
                let said = said.unwrap_or("the card was declined");
                Self::new(ProblemType::CardDeclined, said).with("code", code)
            }
            Some(400 | 404) => {
                let detail =
                    "Stripe refused it as it stands: repeated as it is, it will fail again";
                Self::new(ProblemType::StripeRefused, detail).with("code", code)
            }
            Some(401 | 403) => {
                let detail = "Meterline's access to Stripe is refused; its operator must act";
                Self::new(ProblemType::StripeUnavailable, detail)
            }
            _ => {
                let detail = "Stripe did not answer in time: perhaps it acted; try again";
                Self::new(ProblemType::StripeUnavailable, detail)
            }
        }
    }

    /// Which kind it is.
    pub const fn problem_type(&self) -> ProblemType {
        self.problem_type
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::field(&error)
    }
}

/// Logs the failure, once and here; its insides never reach the answer.
impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let source = std::error::Error::source(&error).map(tracing::field::debug);
        tracing::error!(error = %error, source, "the ledger failed");
        match error {
            LedgerError::Unavailable { .. } => {
                let detail =
                    "the tables did not answer: perhaps they changed; try again with the same ids";
                Self::new(ProblemType::Unavailable, detail)
            }
            LedgerError::UnreadableItem { .. } => {
                Self::new(ProblemType::Internal, "stored data cannot be read")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.problem_type.status();
        // Strings and numbers alone: there is nothing in it that JSON cannot hold.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait_s) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait_s));
        }
        response
    }
}
