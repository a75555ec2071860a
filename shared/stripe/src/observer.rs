//! Who watches the attempts: for how long each took, and how it ended.

use std::fmt;
use std::time::Duration;

use crate::attempt::{Answer, Failure};
use crate::error::Error;
use crate::operation::Operation;

/// Is told of every attempt at a request as soon as it has ended. It is called
/// on the way of the answer: it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// One attempt has ended.
    fn attempted(&self, attempt: Attempt<'_>);
}

/// An attempt at a request, the answer's body included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// What was asked for.
    pub operation: Operation<'a>,
    /// From the first byte sent to the last received.
    pub duration: Duration,
    /// How it ended.
    pub ending: AttemptEnding,
    /// The answer's status; none where there was no answer that could be read.
    pub status: Option<u16>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn of(
        operation: Operation<'a>,
        duration: Duration,
        answered: &Result<Answer, Failure>,
    ) -> Self {
        Self {
            operation,
            duration,
            ending: AttemptEnding::of(answered),
            status: match answered {
                Ok(answer) => Some(answer.status),
                Err(failure) => failure.error.status(),
            },
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnding {
    /// With a success.
    Answered,
    /// With a 4xx other than the two below: often an answer like another, such
    /// as that an object does not exist.
    Refused,
    /// With a 401 or 403: the key is not, or no longer, good for this.
    Unauthorized,
    /// With a 429.
    RateLimited,
    /// With a 5xx.
    ServerError,
    /// With none that could be read: no connection, no answer in time.
    Unreachable,
}

impl AttemptEnding {
    fn of(answered: &Result<Answer, Failure>) -> Self {
        let Err(failure) = answered else {
            return Self::Answered;
        };
        match &failure.error {
            Error::Api(error) => match error.status {
                401 | 403 => Self::Unauthorized,
                429 => Self::RateLimited,
                500.. => Self::ServerError,
                _ => Self::Refused,
            },
            _ => Self::Unreachable,
        }
    }
}
