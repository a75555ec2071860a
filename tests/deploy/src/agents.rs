//! Agents that emit without a pause, and count for themselves what was
//! acknowledged: what the books are compared with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;
use stack::story::Api;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

const RETRY_AFTER: Duration = Duration::from_millis(200);
/// An event that no retry gets through in this time is one too many.
const GIVES_UP_AFTER: Duration = Duration::from_secs(240);
/// Between two events of an agent: the machine is shared by everything here.
const REST: Duration = Duration::from_millis(50);
/// Quantities go from 1 to this, in turn.
const UNITS_MAX: u64 = 5;

/// What was acknowledged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Events.
    pub(crate) events: u64,
    /// Their units.
    pub(crate) units: u64,
    /// Answers that made an agent send again, by status; 0 stands for none.
    pub(crate) retried: BTreeMap<u16, u64>,
}

impl Acknowledged {
    /// Counts what another was told, too.
    pub(crate) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.units += other.units;
        for (status, count) in other.retried {
            *self.retried.entry(status).or_default() += count;
        }
    }
}

/// Agents at work.
pub(crate) struct Agents {
    working: JoinSet<Result<Acknowledged, Failure>>,
    stop: CancellationToken,
    seen: Arc<Seen>,
}

/// What can be seen of them while they work.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

/// One of them.
struct Agent {
    api: Api,
    customer_id: String,
    name: String,
    stop: CancellationToken,
    seen: Arc<Seen>,
}

impl Agents {
    /// `count` agents of `customer_id`, whose events bear `job` in their ids.
    pub(crate) fn start(
        url: &str,
        key: &SecretString,
        customer_id: &str,
        job: &str,
        count: u32,
    ) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let seen = Arc::new(Seen::default());
        let mut working = JoinSet::new();
        for number in 0..count {
            let agent = Agent {
                api: Api::new(url, key.clone())?,
                customer_id: customer_id.to_owned(),
                name: format!("{job}-{number}"),
                stop: stop.clone(),
                seen: Arc::clone(&seen),
            };
            working.spawn(agent.work());
        }
        Ok(Self {
            working,
            stop,
            seen,
        })
    }

    /// How many events are acknowledged by now.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.seen.acknowledged.load(Ordering::Relaxed)
    }

    /// How many calls failed by now.
    pub(crate) fn failed(&self) -> u64 {
        self.seen.failed.load(Ordering::Relaxed)
    }

    /// Lets each finish its event, however often it has to send it.
    pub(crate) async fn finish(mut self) -> Result<Acknowledged, Failure> {
        self.stop.cancel();
        let mut all = Acknowledged::default();
        while let Some(ended) = self.working.join_next().await {
            let ended = ended.map_err(|_| Failure::unexpected("the end of an agent"))?;
            all.add(ended?);
        }
        Ok(all)
    }
}

impl Agent {
    async fn work(self) -> Result<Acknowledged, Failure> {
        let mut own = Acknowledged::default();
        for number in 0_u64.. {
            if self.stop.is_cancelled() {
                break;
            }
            let units = number % UNITS_MAX + 1;
            self.emit(&format!("{}-{number}", self.name), units, &mut own)
                .await?;
            own.events += 1;
            own.units += units;
            self.seen.acknowledged.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(REST).await;
        }
        Ok(own)
    }

    /// Until it is acknowledged. A 5xx or a lost answer means perhaps: the same id
    /// again is safe.
    async fn emit(
        &self,
        event_id: &str,
        units: u64,
        own: &mut Acknowledged,
    ) -> Result<(), Failure> {
        let event = json!({
            "event_id": event_id, "customer_id": self.customer_id,
            "quantity": units, "action_type": "document_processed",
        });
        let started = Instant::now();
        while started.elapsed() < GIVES_UP_AFTER {
            let answer = self.api.post("/v1/usage", &event).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            match status {
                200 | 202 => return Ok(()),
                0 | 429 | 500.. => {
                    *own.retried.entry(status).or_default() += 1;
                    self.seen.failed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                _ => {
                    let body = answer.map(|answer| answer.body.to_string());
                    let body = body.unwrap_or_default();
                    return Err(Failure::Unexpected(format!(
                        "the answer {status} to usage, {body},"
                    )));
                }
            }
        }
        Err(Failure::WaitedInVain(format!("the usage {event_id}")))
    }
}
