//! Errors as Stripe answers them (Stripe API reference: Errors, Error codes).

use serde_json::{Map, Value, json};

/// What a handler answers with.
pub(crate) type Result<T> = std::result::Result<T, StripeError>;

/// A refusal, or a failure of the simulator's own.
#[derive(Debug, Clone)]
pub(crate) struct StripeError {
    pub(crate) status: u16,
    kind: &'static str,
    code: Option<String>,
    message: String,
    param: Option<String>,
    card: Option<Box<Card>>,
    /// The `Stripe-Should-Retry` header, where Stripe is explicit.
    pub(crate) should_retry: Option<bool>,
    /// The `Retry-After` header, in seconds.
    pub(crate) retry_after_s: Option<u16>,
    /// A failed charge leaves its traces: what the call did is kept though it answers an error.
    pub(crate) keeps_work: bool,
    /// Whether an idempotency key remembers it: not where validation stopped the call before
    /// anything ran (Stripe API reference: Idempotent requests).
    pub(crate) remembered: bool,
}

/// What a card error has besides.
#[derive(Debug, Clone)]
struct Card {
    decline_code: Option<String>,
    /// What failed by it: the charge, the intent.
    about: Map<String, Value>,
}

impl StripeError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            message: message.into(),
            param: None,
            card: None,
            should_retry: None,
            retry_after_s: None,
            keeps_work: false,
            remembered: true,
        }
    }

    /// 400 `invalid_request_error`.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// 400 for a parameter of the wrong shape; no idempotency key remembers it.
    pub(crate) fn invalid_param(param: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::invalid(message).param(param);
        error.remembered = false;
        error
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::invalid_param(param, format!("Missing required param: {param}."))
            .code("parameter_missing")
    }

    /// Parameters that exclude each other; the first of them is named.
    pub(crate) fn exclusive(params: &[String]) -> Self {
        let message = format!(
            "You may only specify one of these parameters: {}.",
            params.join(", ")
        );
        Self::invalid_param(params.first().cloned().unwrap_or_default(), message)
            .code("parameters_exclusive")
    }

    pub(crate) fn unknown(params: &[String]) -> Self {
        let plural = if params.len() == 1 { "" } else { "s" };
        let message = format!("Received unknown parameter{plural}: {}", params.join(", "));
        Self::invalid_param(params.first().cloned().unwrap_or_default(), message)
            .code("parameter_unknown")
    }

    /// 404 where the path names the missing object.
    pub(crate) fn no_such(what: &str, id: &str) -> Self {
        let mut error = Self::invalid(format!("No such {what}: '{id}'"))
            .code("resource_missing")
            .param("id");
        error.status = 404;
        error
    }

    /// 400 where a parameter names the missing object.
    pub(crate) fn no_such_param(what: &str, id: &str, param: &str) -> Self {
        Self::invalid(format!("No such {what}: '{id}'"))
            .code("resource_missing")
            .param(param)
    }

    /// 401: no key, or not the account's.
    pub(crate) fn unauthenticated(message: impl Into<String>) -> Self {
        let mut error = Self::new(401, "invalid_request_error", message);
        error.remembered = false;
        error
    }

    /// 403: the key reaches its own account only.
    /// A key that was rolled (Stripe API reference: Error codes, `api_key_expired`).
    pub(crate) fn expired_key(message: impl Into<String>) -> Self {
        Self {
            code: Some("api_key_expired".to_owned()),
            ..Self::unauthenticated(message)
        }
    }

    pub(crate) fn foreign_account(account: &str) -> Self {
        let message = format!(
            "The provided key does not have access to account '{account}' (or that account does not exist). Application access may have been revoked."
        );
        let error = Self::new(403, "invalid_request_error", message);
        error.code("account_invalid").not_remembered()
    }

    /// 402: the card was declined.
    pub(crate) fn card_declined() -> Self {
        Self::card("card_declined", "Your card was declined.").declined_by("generic_decline")
    }

    /// 402: something is to be done about a card.
    pub(crate) fn card(code: &str, message: &str) -> Self {
        let mut error = Self::new(402, "card_error", message).code(code);
        error.card = Some(Box::new(Card {
            decline_code: None,
            about: Map::new(),
        }));
        error
    }

    /// 500 `api_error`; what went wrong stays in the log.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "the simulator failed");
        Self::new(500, "api_error", "An unknown error occurred")
    }

    /// An error that a test ordered. Only a 500 comes out of work that was begun, so only that is
    /// remembered by an idempotency key.
    pub(crate) fn injected(status: u16, retry_after_s: Option<u16>) -> Self {
        let mut error = match status {
            429 => Self::new(status, "invalid_request_error", "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.")
                .code("rate_limit"),
            500.. => Self::new(status, "api_error", "An unknown error occurred"),
            _ => Self::new(status, "invalid_request_error", "The request was refused"),
        };
        error.remembered = status == 500;
        error.retry_after_s = retry_after_s;
        error
    }

    pub(crate) fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// What the bank said.
    pub(crate) fn declined_by(mut self, decline_code: &str) -> Self {
        if let Some(card) = &mut self.card {
            card.decline_code = Some(decline_code.to_owned());
        }
        self
    }

    /// Shows what a card error ended: the charge's id, an intent.
    pub(crate) fn about(mut self, kind: &str, shown: Value) -> Self {
        if let Some(card) = &mut self.card {
            card.about.insert(kind.to_owned(), shown);
        }
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn should_retry(mut self, should_retry: bool) -> Self {
        self.should_retry = Some(should_retry);
        self
    }

    pub(crate) fn keeping_work(mut self) -> Self {
        self.keeps_work = true;
        self
    }

    pub(crate) fn not_remembered(mut self) -> Self {
        self.remembered = false;
        self
    }

    /// The body of a v1 answer.
    pub(crate) fn body(&self, request_id: &str) -> Value {
        let mut error = self.common();
        if let Some(code) = &self.code {
            let page = code.replace('_', "-");
            let url = format!("https://stripe.com/docs/error-codes/{page}");
            error.insert("doc_url".to_owned(), url.into());
        }
        if let Some(param) = &self.param {
            error.insert("param".to_owned(), param.as_str().into());
        }
        if let Some(card) = &self.card {
            if let Some(decline_code) = &card.decline_code {
                error.insert("decline_code".to_owned(), decline_code.as_str().into());
            }
            error.extend(card.about.clone());
        }
        if self.status != 401 {
            let url = format!("https://dashboard.stripe.com/test/logs/{request_id}");
            error.insert("request_log_url".to_owned(), url.into());
        }
        json!({ "error": error })
    }

    /// The body of a v2 answer: no parameter, no links.
    pub(crate) fn body_v2(&self) -> Value {
        json!({ "error": self.common() })
    }

    fn common(&self) -> Map<String, Value> {
        let mut error = Map::new();
        error.insert("type".to_owned(), self.kind.into());
        error.insert("message".to_owned(), self.message.as_str().into());
        if let Some(code) = &self.code {
            error.insert("code".to_owned(), code.as_str().into());
        }
        error
    }
}

impl From<rusqlite::Error> for StripeError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<serde_json::Error> for StripeError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(&error)
    }
}
