//! Stripe's events for a machine that Stripe cannot reach: fetched from its list,
//! signed as webhooks are, and posted to the webhook (Stripe API reference:
//! Events; v2 Events).
//!
//! Every look lists all events since the start. Stripe has no cursor that
//! misses none: an event can appear in the list behind newer ones, and those of
//! customers on a test clock may bear that clock's time.

mod event_list;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, CustomerId, Timestamp};
use ledger::{Ledger, LedgerError};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;
use stripe::webhook_signature;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::http::{self, HttpClientError};
use crate::local_dir::LocalDir;
use crate::stripe_requests::{StripeRequestError, StripeRequests};
use event_list::EventList;

/// Keeps the time of the last look that left nothing, in unix seconds.
const POLLED_FILE: &str = "events-polled";
/// How far this clock and Stripe's may be apart.
const SKEW_S: i64 = 300;
/// How far before the last look a new start begins: what appears late in the
/// list is found then. The webhook knows what it has seen.
const OVERLAP_S: i64 = 3_600;
/// As Stripe's own repeats, but for a shorter while: seconds apart at first, then
/// minutes, and no more after an hour.
const REPEAT_MS_MIN: i64 = 1_000;
const REPEAT_MS_MAX: i64 = 300_000;
const GIVE_UP_AFTER_MS: i64 = 3_600_000;

/// Why events could not be fetched or posted. The next look is the retry.
#[derive(Debug, thiserror::Error)]
pub enum EventPumpError {
    /// There is no HTTP client.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
    /// Stripe's list.
    #[error("Stripe's events cannot be listed")]
    Stripe(#[from] StripeRequestError),
    /// The webhook gave no answer.
    #[error("the webhook does not answer")]
    Webhook(#[source] reqwest::Error),
    /// The tables, which tell whose events are wanted.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The note of the last look.
    #[error("cannot use {path}")]
    Polled {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whose events are posted.
pub enum Whose {
    /// Everybody's: the webhook leaves aside what does not concern it.
    Everybodys,
    /// Those of the customers in these tables, and those of this meter: another
    /// run uses the same account at the same time.
    OfRun {
        /// Its tables.
        ledger: Ledger,
        /// Its meter, where it has one.
        meter_id: Option<String>,
    },
}

impl Whose {
    pub(crate) fn of(run_id: Option<&str>, ledger: &Ledger, meter_id: Option<String>) -> Self {
        match run_id {
            None => Self::Everybodys,
            Some(_) => Self::OfRun {
                ledger: ledger.clone(),
                meter_id,
            },
        }
    }
}

/// Where events go, and what they are signed with.
pub(crate) struct Target {
    pub(crate) webhook_url: String,
    pub(crate) secret: SecretString,
}

impl Target {
    pub(crate) fn new(webhook_url: &str, secret: &SecretString) -> Self {
        Self {
            webhook_url: webhook_url.to_owned(),
            secret: secret.clone(),
        }
    }
}

/// What became of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pumped {
    /// Events that the webhook took.
    pub taken: usize,
    /// Events that it did not take yet, or that wait for their repeat.
    pub waiting: usize,
}

/// Fetches, signs, posts.
pub struct EventPump {
    list: EventList,
    http: Client,
    target: Target,
    whose: Whose,
    clock: Arc<dyn Clock>,
    polled_file: PathBuf,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Taken, or given up.
    done: HashSet<String>,
    refused: HashMap<String, Refused>,
}

/// An event that the webhook answered otherwise than 2xx.
struct Refused {
    first_at: Timestamp,
    next_at: Timestamp,
    pause_ms: i64,
}

impl EventPump {
    /// Fetches what happens from now on, and what happened since the last look
    /// of the process before.
    pub(crate) fn new(
        stripe: StripeRequests,
        target: Target,
        whose: Whose,
        local_dir: &LocalDir,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EventPumpError> {
        let polled_file = local_dir.file(POLLED_FILE);
        let polled = fs::read_to_string(&polled_file).ok();
        let polled: Option<i64> = polled.and_then(|text| text.trim().parse().ok());
        let since_unix_s = match polled {
            Some(polled) => polled - OVERLAP_S,
            None => {
                let now = clock.now();
                note_polled(&polled_file, now)?;
                now.unix_s() - SKEW_S
            }
        };
        Ok(Self {
            list: EventList::new(stripe, since_unix_s),
            http: http::client()?,
            target,
            whose,
            clock,
            polled_file,
            progress: Mutex::default(),
        })
    }

    /// Looks once, and posts what is new, the oldest first.
    ///
    /// # Errors
    /// An [`EventPumpError`]; what was posted before stays posted.
    pub async fn pump(&self) -> Result<Pumped, EventPumpError> {
        let mut progress = self.progress.lock().await;
        let started_at = self.clock.now();
        let mut pumped = Pumped::default();
        for event in self.list.snapshots().await? {
            self.post_once(&event, &mut progress, &mut pumped).await?;
        }
        for event in self.thin_events().await? {
            self.post_once(&event, &mut progress, &mut pumped).await?;
        }
        if pumped.waiting == 0 {
            note_polled(&self.polled_file, started_at)?;
        }
        Ok(pumped)
    }

    async fn thin_events(&self) -> Result<Vec<Value>, StripeRequestError> {
        match &self.whose {
            Whose::Everybodys => self.list.thin_events(None).await,
            Whose::OfRun { meter_id, .. } => match meter_id {
                Some(meter_id) => self.list.thin_events(Some(meter_id)).await,
                None => Ok(Vec::new()),
            },
        }
    }

    async fn post_once(
        &self,
        event: &Value,
        progress: &mut Progress,
        pumped: &mut Pumped,
    ) -> Result<(), EventPumpError> {
        let Some(id) = id(event).filter(|id| !progress.done.contains(*id)) else {
            return Ok(());
        };
        // One that is nobody's yet may be somebody's at the next look.
        if !self.is_wanted(event).await? {
            return Ok(());
        }
        let now = self.clock.now();
        if let Some(refused) = progress.refused.get(id)
            && now < refused.next_at
        {
            pumped.waiting += 1;
            return Ok(());
        }
        let status = self.post(&event.to_string()).await?;
        if status.is_success() {
            progress.refused.remove(id);
            progress.done.insert(id.to_owned());
            pumped.taken += 1;
            return Ok(());
        }
        let refused = progress.refused.entry(id.to_owned());
        let refused = refused.or_insert_with(|| Refused::at(now));
        if refused.is_over(now) {
            tracing::error!(event_id = id, %status, "the webhook does not take an event: given up");
            progress.refused.remove(id);
            progress.done.insert(id.to_owned());
        } else {
            refused.put_off(now);
            pumped.waiting += 1;
        }
        Ok(())
    }

    async fn is_wanted(&self, event: &Value) -> Result<bool, EventPumpError> {
        let Whose::OfRun { ledger, .. } = &self.whose else {
            return Ok(true);
        };
        // Thin events were asked for by their meter.
        if event["object"] != "event" {
            return Ok(true);
        }
        let customer = customer_of(event).and_then(|id| CustomerId::parse(id).ok());
        Ok(match customer {
            Some(customer) => ledger.customer(&customer).await?.is_some(),
            None => false,
        })
    }

    async fn post(&self, body: &str) -> Result<reqwest::StatusCode, EventPumpError> {
        let now_unix_s = self.clock.now().unix_s();
        let signature = webhook_signature::sign(body.as_bytes(), &self.target.secret, now_unix_s);
        let request = self
            .http
            .post(&self.target.webhook_url)
            .header("stripe-signature", signature)
            .body(body.to_owned());
        let answer = request.send().await.map_err(EventPumpError::Webhook)?;
        Ok(answer.status())
    }
}

fn note_polled(file: &Path, at: Timestamp) -> Result<(), EventPumpError> {
    fs::write(file, at.unix_s().to_string()).map_err(|source| EventPumpError::Polled {
        path: file.to_owned(),
        source,
    })
}

impl Refused {
    const fn at(now: Timestamp) -> Self {
        Self {
            first_at: now,
            next_at: now,
            pause_ms: REPEAT_MS_MIN,
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.first_at.plus_ms(GIVE_UP_AFTER_MS)
    }

    fn put_off(&mut self, now: Timestamp) {
        self.next_at = now.plus_ms(self.pause_ms);
        self.pause_ms = (self.pause_ms * 2).min(REPEAT_MS_MAX);
    }
}

fn id(event: &Value) -> Option<&str> {
    event["id"].as_str()
}

/// The customer that a snapshot event is about, or whose object it is about.
fn customer_of(event: &Value) -> Option<&str> {
    let object = &event["data"]["object"];
    if object["object"] == "customer" {
        return id(object);
    }
    let customer = &object["customer"];
    customer.as_str().or_else(|| id(customer))
}

/// A pump that looks by itself. Dropped, it looks no more.
#[derive(Debug)]
pub struct Polling {
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Polling {
    /// Has `pump` look now, and `every` so often after the end of each look.
    pub fn start(pump: Arc<EventPump>, every: Duration) -> Self {
        let stop = CancellationToken::new();
        Self {
            task: tokio::spawn(poll(pump, every, stop.clone())),
            stop: stop.drop_guard(),
        }
    }

    /// Begins no further look and waits for the one under way.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "fetching Stripe's events failed");
        }
    }
}

async fn poll(pump: Arc<EventPump>, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = pump.pump().await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "Stripe's events could not be fetched; the next look is the retry"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
    }
}
