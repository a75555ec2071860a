//! How the system does, at a glance: what `meterline status` shows. It only reads, and
//! what a look may read is bounded, however large the tables are.
//!
//! | of | read | at most |
//! | --- | --- | --- |
//! | usage, limits | totals of the current period and of what is held, of 50 customers in turn | 100 queries a look |
//! | what is pending | the oldest entries of the outbox, and 25 rows of the audit log | 17 calls, every fifth look |
//! | the rollup | each shard's checkpoint, and what its stream holds behind it | 5 calls a shard, every fifth look |
//! | webhooks, notifications | the newest and the due entries of an index | 49 calls, every fifth look |
//! | the customers | their table, to the number that is asked for | once a minute |

mod events;
mod pending;
mod rollup;
mod usage;

use std::sync::Arc;

use billing::{Clock, Timestamp};
use ledger::{Ledger, LedgerError};
use serde::Serialize;

use crate::rebuild::StreamError;
use crate::rebuild::stream::Stream;

pub use events::{Notifications, WebhookSeen};
pub use pending::Pending;
pub use usage::{Busy, EventCounts, Rate, Usage};

/// Looks after which the slower part is read again.
const SLOW_EVERY: u32 = 5;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// A table failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// What there is to see at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// The moment.
    pub at: String,
    /// Usage of the customers that are looked at.
    #[serde(flatten)]
    pub usage: Usage,
    /// How old the oldest change is that the rollup has not counted; 0 where it has
    /// counted all; none where the tables have no stream.
    pub rollup_lag_ms: Option<i64>,
    /// What waits for redelivery.
    pub pending: Pending,
    /// Notifications by mail and webhook.
    pub notifications: Notifications,
    /// Reports of usage that Stripe refused and did not name.
    pub unnamed_refusals: usize,
    /// The last of Stripe's events that were applied, the newest first.
    pub webhooks: Vec<WebhookSeen>,
}

/// What is read less often.
#[derive(Clone)]
struct Slow {
    rollup_lag_ms: Option<i64>,
    pending: Pending,
    notifications: Notifications,
    unnamed_refusals: usize,
    webhooks: Vec<WebhookSeen>,
}

/// Looks at a system, again and again.
pub struct Watch {
    ledger: Ledger,
    streams: aws_sdk_dynamodbstreams::Client,
    clock: Arc<dyn Clock>,
    usage: usage::Watched,
    looks: u32,
    slow: Option<Slow>,
}

impl Watch {
    /// At the tables of `ledger`, whose stream is read through `streams`, and at up to
    /// `customers_max` customers.
    pub fn new(
        ledger: Ledger,
        streams: aws_sdk_dynamodbstreams::Client,
        clock: Arc<dyn Clock>,
        customers_max: usize,
    ) -> Self {
        Self {
            ledger,
            streams,
            clock,
            usage: usage::Watched::new(customers_max),
            looks: 0,
            slow: None,
        }
    }

    /// Looks. What is many is read in parts: usage of 50 customers each time, the rest
    /// every fifth time; what was not read anew is as it was seen last.
    ///
    /// # Errors
    /// [`StatusError`]; the next look tries again.
    pub async fn look(&mut self) -> Result<Snapshot, StatusError> {
        let now = self.clock.now();
        self.usage.look(&self.ledger, now).await?;
        self.snapshot(now).await
    }

    /// Looks at every customer, however many calls that takes.
    ///
    /// # Errors
    /// [`StatusError`].
    pub async fn look_at_all(&mut self) -> Result<Snapshot, StatusError> {
        let now = self.clock.now();
        self.usage.look_at_all(&self.ledger, now).await?;
        self.snapshot(now).await
    }

    async fn snapshot(&mut self, now: Timestamp) -> Result<Snapshot, StatusError> {
        let slow = match self.slow.take() {
            Some(slow) if !self.looks.is_multiple_of(SLOW_EVERY) => slow,
            _ => self.slow(now).await?,
        };
        self.looks = self.looks.wrapping_add(1);
        self.slow = Some(slow.clone());
        Ok(Snapshot {
            at: now.to_string(),
            usage: self.usage.seen(),
            rollup_lag_ms: slow.rollup_lag_ms,
            pending: slow.pending,
            notifications: slow.notifications,
            unnamed_refusals: slow.unnamed_refusals,
            webhooks: slow.webhooks,
        })
    }

    async fn slow(&self, now: Timestamp) -> Result<Slow, StatusError> {
        let stream = self.ledger.usage_events_stream().await?;
        let rollup_lag_ms = match stream {
            None => None,
            Some(arn) => {
                let stream = Stream::new(self.streams.clone(), arn);
                Some(rollup::lag_ms(&self.ledger, &stream, now).await?)
            }
        };
        let (webhooks, notifications) = events::look(&self.ledger).await?;
        Ok(Slow {
            rollup_lag_ms,
            pending: pending::look(&self.ledger, now).await?,
            notifications,
            unnamed_refusals: self.ledger.unnamed_refusals().await?.len(),
            webhooks,
        })
    }
}
