//! One attempt: what came back, and whether another may fare better.

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::{ApiError, Error, Sent, TransportError, TransportFailure};

/// Far above any answer: a page of a hundred invoices with all their lines has
/// a few hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An answer of success, not read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// An attempt that failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether the same request may succeed.
    pub(crate) may_pass: bool,
    /// How long Stripe asks to wait.
    pub(crate) retry_after_ms: Option<u64>,
}

impl Failure {
    pub(crate) fn transport(error: reqwest::Error) -> Self {
        let is_unsent = error.is_connect() || error.is_builder();
        Self {
            may_pass: !error.is_builder(),
            error: Error::Transport(TransportError {
                sent: if is_unsent { Sent::No } else { Sent::Perhaps },
                failure: TransportFailure::Http(error.without_url()),
            }),
            retry_after_ms: None,
        }
    }

    /// Asking again would bring the same.
    fn too_large() -> Self {
        let failure = TransportFailure::TooLarge {
            limit_bytes: ANSWER_BYTES_MAX,
        };
        Self {
            error: Error::Transport(TransportError {
                sent: Sent::Perhaps,
                failure,
            }),
            may_pass: false,
            retry_after_ms: None,
        }
    }

    /// Whether Stripe may have done what it was asked, for all that this
    /// attempt's failure says. An answer below 500 is a refusal, but for a
    /// conflict with an attempt that is still under way.
    pub(crate) fn taken(&self) -> Sent {
        match &self.error {
            Error::Api(error) if matches!(error.status, 409 | 500..) => Sent::Perhaps,
            Error::Api(_) => Sent::No,
            Error::Transport(error) => error.sent,
            _ => Sent::Perhaps,
        }
    }

    pub(crate) const fn sent(&self) -> Sent {
        match &self.error {
            Error::Transport(error) => error.sent,
            _ => Sent::Perhaps,
        }
    }
}

/// Takes the answer in.
pub(crate) async fn receive(response: reqwest::Response) -> Result<Answer, Failure> {
    let status = response.status();
    let headers = response.headers().clone();
    let request_id = text(&headers, "request-id").map(str::to_owned);
    let body = read_body(response).await?;
    let is_success = status.is_success();
    let status = status.as_u16();
    if is_success {
        return Ok(Answer {
            status,
            request_id,
            body,
        });
    }
    Err(Failure {
        error: Error::Api(Box::new(ApiError {
            is_replayed: text(&headers, "idempotent-replayed") == Some("true"),
            ..ApiError::read(status, request_id, &body)
        })),
        may_pass: may_pass(status, text(&headers, "stripe-should-retry")),
        retry_after_ms: retry_after_ms(&headers),
    })
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::transport)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Failure::too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// In whole seconds, as Stripe sends it.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = text(headers, RETRY_AFTER.as_str())?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000))
}

/// Stripe's word first; else what may be different the next time: a conflict
/// with another call, a limit of pace, trouble at Stripe.
fn may_pass(status: u16, should_retry: Option<&str>) -> bool {
    match should_retry {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(status, 409 | 429 | 500..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn stripes_word_comes_before_the_status() {
        for status in [400, 401, 402, 403, 404] {
            assert!(!may_pass(status, None), "{status}");
            assert!(may_pass(status, Some("true")), "{status}");
        }
        for status in [409, 429, 500, 502, 503, 504] {
            assert!(may_pass(status, None), "{status}");
            assert!(may_pass(status, Some("perhaps")), "{status}");
            assert!(!may_pass(status, Some("false")), "{status}");
        }
    }

    #[test]
    fn a_wait_is_asked_for_in_whole_seconds() {
        let asked = |value: &'static str| {
            retry_after_ms(&HeaderMap::from_iter([(
                RETRY_AFTER,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(asked("3"), Some(3_000));
        assert_eq!(asked(" 0 "), Some(0));
        for value in ["-1", "1.5", "soon", "Tue, 24 Nov 2026 12:00:00 GMT"] {
            assert_eq!(asked(value), None, "{value}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new()), None);
    }
}
