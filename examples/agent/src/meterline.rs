//! Meterline's `POST /v1/usage`: one event, emitted until its fate is known.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::AUTHORIZATION;
use reqwest::{Response, StatusCode};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::retry::{Backoff, retry_after};
use crate::service::{Service, ServiceError, describe};

/// What processing one document is called on the bill.
pub const DOCUMENT_PROCESSED: &str = "document_processed";

/// Meterline answers in milliseconds. After this long an answer counts as lost,
/// which costs nothing: the same event id can be sent again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// As much of an unexpected answer as an error shows, in characters.
const EXCERPT_LENGTH_MAX: usize = 200;

/// Meterline, under the key of one agent.
#[derive(Clone, Debug)]
pub struct Meterline {
    service: Service,
    retry_for: Duration,
}

/// A billable action, as Meterline's API takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageEvent {
    /// Names this action forever: one id of one customer counts once.
    pub event_id: String,
    /// Stripe's id of the customer, `cus_…`.
    pub customer_id: String,
    /// Stripe's id of the subscription item, `si_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_item_id: Option<String>,
    /// Units.
    pub quantity: u64,
    /// What was done, such as [`DOCUMENT_PROCESSED`].
    pub action_type: String,
}

/// The answer to an event that is durable: 200 once Stripe has it, 202 before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recorded {
    /// The event's id, as sent.
    pub event_id: String,
    /// `delivered`, `pending`, or another status that Meterline names.
    pub status: String,
    /// Whether an earlier call had recorded it: this one bills nothing.
    pub duplicate: bool,
    /// Units, as recorded.
    pub quantity: u64,
    /// Stripe's name for the record, where it has one.
    pub stripe_record_id: Option<String>,
    /// The customer's standing, such as `active` or `past_due`.
    pub customer_status: Option<String>,
    /// 200 or 202.
    #[serde(skip)]
    pub http_status: u16,
}

/// An error's body: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A stable name for the kind of problem.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The same in words.
    pub title: String,
    /// What is wrong with this request.
    pub detail: String,
}

/// Why an event cannot be taken for recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmissionError {
    /// Meterline said no: the event is not billed.
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
        "event {event_id:?} is perhaps recorded: retry with the same event id or void it ({reason})"
    )]
    PerhapsRecorded {
        /// The event's id.
        event_id: String,
        /// The status of the last answer, if one came.
        http_status: Option<u16>,
        /// What the last attempt met.
        reason: String,
    },
}

/// Since when the server has been silent to everybody who shares this.
///
/// Without it, each of a thousand events would find out for itself, and wait
/// for its own retries, that the server is gone.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Instant>>);

/// What one attempt came to.
enum Attempt {
    Recorded(Recorded),
    Refused {
        http_status: u16,
        problem: Problem,
    },
    /// 5xx, 408, 429, or no answer that could be read.
    Unsure {
        http_status: Option<u16>,
        reason: String,
        retry_after: Option<Duration>,
    },
}

impl Meterline {
    /// Meterline at `base_url`, under `key`. An event without a clear answer is
    /// sent again, under the same id, for `retry_for` at most.
    ///
    /// # Errors
    /// A [`ServiceError`] for an address or a key that cannot be used.
    pub fn new(
        base_url: &str,
        key: &SecretString,
        retry_for: Duration,
    ) -> Result<Self, ServiceError> {
        let service = Service::new(base_url, AUTHORIZATION, "Bearer ", key, ANSWER_TIMEOUT)?;
        Ok(Self { service, retry_for })
    }

    /// Records `event`. `Ok` means durable; anything else must not be taken for it.
    ///
    /// # Errors
    /// An [`EmissionError`], which says whether the event is perhaps recorded.
    pub async fn emit(&self, event: &UsageEvent) -> Result<Recorded, EmissionError> {
        self.emit_during(event, &Outage::default()).await
    }

    /// As [`Meterline::emit`], for one of many events: once the server has been
    /// silent to all of them for the time for retries, each gets one attempt.
    ///
    /// # Errors
    /// As [`Meterline::emit`].
    pub async fn emit_during(
        &self,
        event: &UsageEvent,
        outage: &Outage,
    ) -> Result<Recorded, EmissionError> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        let mut was_unsure = false;
        loop {
            let (http_status, reason, retry_after) = match self.attempt(event).await {
                Attempt::Recorded(recorded) => {
                    outage.end();
                    return Ok(recorded);
                }
                Attempt::Refused {
                    http_status,
                    problem,
                } => {
                    outage.end();
                    return Err(refused(event, http_status, problem, was_unsure));
                }
                Attempt::Unsure {
                    http_status,
                    reason,
                    retry_after,
                } => (http_status, reason, retry_after),
            };
            was_unsure = true;
            match http_status {
                Some(_) => outage.end(),
                None => outage.begin(),
            }
            let wait = backoff.next_wait(retry_after);
            let deadline = outage.started_before(started) + self.retry_for;
            if Instant::now() + wait > deadline {
                return Err(EmissionError::PerhapsRecorded {
                    event_id: event.event_id.clone(),
                    http_status,
                    reason,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, event: &UsageEvent) -> Attempt {
        let sent = self.service.post("/v1/usage").json(event).send().await;
        match sent {
            Ok(response) => read(event, response).await,
            Err(error) => Attempt::Unsure {
                http_status: None,
                reason: describe(error),
                retry_after: None,
            },
        }
    }
}

/// A refusal, unless an earlier attempt may have been recorded and this answer
/// does not speak of the event itself: a key that was revoked in between says
/// nothing about what happened before. 409 and 422 come from the ledger.
fn refused(
    event: &UsageEvent,
    http_status: u16,
    problem: Problem,
    was_unsure: bool,
) -> EmissionError {
    let event_id = event.event_id.clone();
    if was_unsure && !matches!(http_status, 409 | 422) {
        return EmissionError::PerhapsRecorded {
            event_id,
            http_status: Some(http_status),
            reason: problem.to_string(),
        };
    }
    EmissionError::Refused {
        event_id,
        http_status,
        problem: Box::new(problem),
    }
}

async fn read(event: &UsageEvent, response: Response) -> Attempt {
    let status = response.status();
    let http_status = status.as_u16();
    let retry_after = retry_after(response.headers());
    let unsure = |reason| Attempt::Unsure {
        http_status: Some(http_status),
        reason,
        retry_after,
    };
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return unsure(describe(error)),
    };
    if status.is_success() {
        return match serde_json::from_slice::<Recorded>(&body) {
            Ok(recorded) if recorded.event_id == event.event_id => Attempt::Recorded(Recorded {
                http_status,
                ..recorded
            }),
            // Not from Meterline, or cut off: it proves nothing.
            Ok(_) => unsure("an answer about another event".to_owned()),
            Err(error) => unsure(format!("an answer that cannot be read: {error}")),
        };
    }
    let problem = problem(status, &body);
    let may_pass = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    if may_pass {
        return unsure(format!("{http_status} {problem}"));
    }
    Attempt::Refused {
        http_status,
        problem,
    }
}

fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        problem_type: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: String::from_utf8_lossy(body)
            .chars()
            .take(EXCERPT_LENGTH_MAX)
            .collect(),
    })
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

impl Outage {
    fn begin(&self) {
        self.since().get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        *self.since() = None;
    }

    /// The earlier of `event_started` and the beginning of the outage, if there is one.
    fn started_before(&self, event_started: Instant) -> Instant {
        self.since()
            .map_or(event_started, |since| since.min(event_started))
    }

    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
