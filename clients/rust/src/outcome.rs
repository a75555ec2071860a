//! What one attempt came to, and what an answer says of that.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use crate::answer::{Problem, Recorded};
use crate::body::whole_body;
use crate::retry::retry_after;
use crate::transport::describe;

/// As much of an unexpected answer as an error shows, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// What one attempt came to: of an event, unless said otherwise.
pub(crate) type Attempt<T = Recorded> = Result<T, Failed>;

/// Why an attempt did not do what it was for.
#[derive(Clone, Debug)]
pub(crate) enum Failed {
    Refused {
        http_status: u16,
        problem: Box<Problem>,
    },
    /// 3xx, 5xx, 408, 429, a 4xx that is not Meterline's, or no answer that can be read.
    Unsure {
        http_status: Option<u16>,
        reason: String,
        /// Meterline's explanation, if it gave one.
        problem: Option<Box<Problem>>,
        retry_after: Option<Duration>,
        /// Whether it may be done all the same: recorded, held, given back. It is not
        /// after a 429, nor without a connection.
        perhaps_done: bool,
    },
}

impl Failed {
    /// What it comes to for those that stand behind in a line: without a clear answer they
    /// are not tried, since they would fare no better. None where they are.
    pub(crate) fn for_the_untried(&self) -> Option<Self> {
        let mut failed = self.clone();
        match &mut failed {
            Self::Unsure { perhaps_done, .. } => *perhaps_done = false,
            Self::Refused { .. } => return None,
        }
        Some(failed)
    }

    pub(crate) const fn is_perhaps_done(&self) -> bool {
        matches!(
            self,
            Self::Unsure {
                perhaps_done: true,
                ..
            }
        )
    }

    /// How long Meterline asks to wait, if it does.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unsure { retry_after, .. } => *retry_after,
            Self::Refused { .. } => None,
        }
    }

    /// Whether a batch may be refused so for the sake of one event, or of its size.
    pub(crate) const fn is_of_the_batch(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                http_status: 400 | 413 | 415,
                ..
            }
        )
    }
}

pub(crate) const fn is_unsure(attempt: &Attempt) -> bool {
    matches!(attempt, Err(Failed::Unsure { .. }))
}

pub(crate) const fn unsure(http_status: Option<u16>, reason: String) -> Failed {
    Failed::Unsure {
        http_status,
        reason,
        problem: None,
        retry_after: None,
        perhaps_done: true,
    }
}

/// The same where somebody says why.
pub(crate) fn unsure_because(http_status: u16, problem: &Problem) -> Failed {
    Failed::Unsure {
        http_status: Some(http_status),
        reason: problem.to_string(),
        problem: of_meterline(problem),
        retry_after: None,
        perhaps_done: true,
    }
}

/// A stranger's words are in the reason alone.
fn of_meterline(problem: &Problem) -> Option<Box<Problem>> {
    problem.is_meterlines().then(|| Box::new(problem.clone()))
}

/// No answer: the request did not get there, or nobody knows.
pub(crate) fn not_sent(error: reqwest::Error) -> Failed {
    Failed::Unsure {
        http_status: None,
        perhaps_done: !error.is_connect(),
        reason: describe(error),
        problem: None,
        retry_after: None,
    }
}

/// The body of a success; else what the answer means for whoever asked.
pub(crate) async fn read(response: Response) -> Attempt<Vec<u8>> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let body = match whole_body(response).await {
        Ok(body) => body,
        Err(reason) => return Err(unsure(Some(status.as_u16()), reason)),
    };
    if status.is_success() {
        return Ok(body);
    }
    let problem = problem(status, &body);
    if may_pass(status) || !is_refusal(status, &problem) {
        return Err(Failed::Unsure {
            http_status: Some(status.as_u16()),
            reason: format!("{} {problem}", status.as_u16()),
            problem: of_meterline(&problem),
            retry_after,
            // Who is told to come later was not served.
            perhaps_done: status != StatusCode::TOO_MANY_REQUESTS,
        });
    }
    Err(Failed::Refused {
        http_status: status.as_u16(),
        problem: Box::new(problem),
    })
}

/// Whether it is Meterline that refuses. It redirects nobody, and names what is wrong;
/// who answers otherwise, such as a gateway that has lost its way to it, is somebody else,
/// and refuses nothing in its name. But for the key, which a gateway may look at.
fn is_refusal(status: StatusCode, problem: &Problem) -> bool {
    let is_of_the_key = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    status.is_client_error() && (problem.is_meterlines() || is_of_the_key)
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let told = serde_json::from_slice(body).ok();
    // Another's JSON has nothing of a problem, and is shown as it is.
    let told = told.filter(|problem| *problem != Problem::default());
    told.unwrap_or_else(|| Problem {
        problem_type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: String::from_utf8_lossy(body)
            .chars()
            .take(EXCERPT_LENGTH_MAX)
            .collect(),
        status: status.as_u16(),
        ..Problem::default()
    })
}
