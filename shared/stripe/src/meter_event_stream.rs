//! The meter event stream, made for rate (Stripe API reference: v2 Meter Event
//! Session; v2 Meter Event Stream).

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, RequestOptions};
use crate::error::{Error, InvalidRequest};
use crate::meter_events::MeterEvent;
use crate::request::Request;
use crate::rfc3339;

/// The most events that one request takes.
pub const EVENTS_PER_REQUEST_MAX: usize = 100;

/// How long before its end a session is replaced.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(60);

/// Sends meter events in a session that it opens, keeps and renews. Clones
/// share the session.
///
/// Stripe checks the events later: what is wrong with one comes as a
/// [`MeterErrorReport`](crate::MeterErrorReport).
#[derive(Clone, Debug)]
pub struct MeterEventStream {
    client: Client,
    session: Arc<Mutex<Option<Session>>>,
}

#[derive(Clone, Debug)]
struct Session {
    /// Counts up, so that whoever was refused can tell whether somebody else
    /// has opened a new one meanwhile.
    generation: u64,
    token: SecretString,
    renewed_at: Instant,
}

/// Stripe's `v2.billing.meter_event_session`.
#[derive(Deserialize)]
struct MeterEventSession {
    authentication_token: SecretString,
    #[serde(deserialize_with = "rfc3339::unix_ms")]
    created: i64,
    #[serde(deserialize_with = "rfc3339::unix_ms")]
    expires_at: i64,
}

impl MeterEventStream {
    /// A stream for the client's account. The first events open its session.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            session: Arc::default(),
        }
    }

    /// Sends up to [`EVENTS_PER_REQUEST_MAX`] events: Stripe takes all of them
    /// or none. No events are no request.
    ///
    /// # Errors
    /// [`Error`]; `status` is 400 where Stripe refuses the whole request for
    /// one event.
    pub async fn send(&self, events: &[MeterEvent], options: &RequestOptions) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let request = stream_request(events)?;
        let options = options.with_fixed_key();
        let session = self.session(None, &options).await?;
        match self.send_in(&session, &request, &options).await {
            Err(error) if error.status() == Some(401) => {
                let session = self.session(Some(session.generation), &options).await?;
                let answer = self.send_in(&session, &request, &options).await;
                answer.map_err(|latest| latest.after(&error))
            }
            answer => answer,
        }
    }

    async fn send_in(
        &self,
        session: &Session,
        request: &Request,
        options: &RequestOptions,
    ) -> Result<(), Error> {
        let request = request.clone().in_session(session.token.clone());
        self.client.call_for_status(request, options).await
    }

    /// The session, a new one where there is none, where it is about to end,
    /// or where it is the `refused` one. Whoever comes while one is being
    /// opened waits for it: a thousand senders open one session.
    async fn session(
        &self,
        refused: Option<u64>,
        options: &RequestOptions,
    ) -> Result<Session, Error> {
        let mut kept = match options.deadline() {
            Some(deadline) => timeout_at(deadline, self.session.lock())
                .await
                .map_err(|_| Error::DeadlineOver)?,
            None => self.session.lock().await,
        };
        let generation = kept.as_ref().map_or(0, |session| session.generation);
        if let Some(session) = kept.as_ref()
            && refused != Some(generation)
            && Instant::now() < session.renewed_at
        {
            return Ok(session.clone());
        }
        let session = self.open(generation + 1, options).await?;
        *kept = Some(session.clone());
        Ok(session)
    }

    async fn open(&self, generation: u64, options: &RequestOptions) -> Result<Session, Error> {
        let asked_at = Instant::now();
        let request = Request::post_json("/v2/billing/meter_event_session", &json!({}))?;
        // A key of its own: the caller's names the events.
        let options = options.with_random_key();
        let opened: MeterEventSession = self.client.call(request, &options).await?;
        // By Stripe's clock alone, from before it was asked: ours may be wrong.
        let lasts_ms = opened.expires_at.saturating_sub(opened.created);
        let lasts = Duration::from_millis(u64::try_from(lasts_ms).unwrap_or(0));
        let early = RENEWED_BEFORE_END.min(lasts / 2);
        Ok(Session {
            generation,
            token: opened.authentication_token,
            renewed_at: asked_at + lasts.saturating_sub(early),
        })
    }
}

fn stream_request(events: &[MeterEvent]) -> Result<Request, InvalidRequest> {
    if events.len() > EVENTS_PER_REQUEST_MAX {
        return Err(InvalidRequest::TooManyMeterEvents {
            events: events.len(),
            max: EVENTS_PER_REQUEST_MAX,
        });
    }
    let events: Vec<Value> = events
        .iter()
        .map(MeterEvent::json)
        .collect::<Result<_, _>>()?;
    Request::post_json(
        "/v2/billing/meter_event_stream",
        &json!({ "events": events }),
    )
}
