//! Many single-unit events at once, each with a journal entry.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meterline_client::{Emit, EmitError, Meterline, Recorded, Usage};
use serde::Serialize;
use tokio::task::{JoinError, JoinSet};

use crate::job::Job;
use crate::journal::{Entry, Journal, JournalError, Outcome};
use crate::outage::Outage;

/// A run of single-unit operations for one customer, numbered from one.
#[derive(Clone, Debug)]
pub struct Operations {
    /// Stripe's id of who pays, `cus_…`.
    pub customer_id: String,
    /// Stripe's id of what is paid for, `si_…`; Meterline knows it too.
    pub subscription_item_id: Option<String>,
    /// What each operation is called on the bill.
    pub action_type: String,
    /// Names the run: operation `n` has the event id `{job}-op-{n}`.
    pub job: Job,
    /// How many operations there are.
    pub count: u64,
    /// How many are emitted at the same time.
    pub concurrency: NonZeroUsize,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Recorded, as far as this run was told.
    pub acknowledged: u64,
    /// Not recorded.
    pub refused: u64,
    /// Perhaps recorded.
    pub unknown: u64,
    /// How many of the acknowledged were recorded by an earlier call.
    pub duplicates: u64,
    /// Acknowledged in the journal that this run resumed; not emitted again.
    pub acknowledged_before: u64,
    /// When the first acknowledgement or refusal of this run came, on this
    /// machine's clock.
    pub first_answer_unix_ms: Option<u64>,
    /// When the last one came.
    pub last_answer_unix_ms: Option<u64>,
}

/// Why a run ended before its last operation.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// An outcome could not be written down, so it was not counted either.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal to resume belongs to another run.
    #[error("the journal is of another job or customer: it holds {event_id:?} of {customer_id}")]
    OtherRun {
        /// An event id in it.
        event_id: String,
        /// That event's customer.
        customer_id: String,
    },
    /// A task of the run did not end as it should.
    #[error("a task failed: {0}")]
    Task(#[from] JoinError),
}

/// What the tasks of a run share.
struct Run {
    operations: Operations,
    clients: Clients,
    journal: Journal,
    outage: Outage,
    /// Numbers of operations that no task has taken yet.
    waiting: Mutex<VecDeque<u64>>,
    summary: Mutex<Summary>,
}

/// How a run emits.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Tries each event for [`Clients::patience`].
    pub patient: Meterline,
    /// Tries each event once: for when the server has been silent to all of them
    /// for as long as that.
    pub hasty: Meterline,
    /// The time for retries.
    pub patience: Duration,
}

impl Operations {
    /// Emits every operation that `entries`, those of the journal, do not show
    /// as acknowledged. Outcomes are journalled, then counted.
    ///
    /// # Errors
    /// An [`OperationsError`]. An event that is refused or unknown is no error
    /// of the run: the summary counts it.
    pub async fn run(
        self,
        clients: Clients,
        journal: Journal,
        entries: &[Entry],
    ) -> Result<Summary, OperationsError> {
        let (waiting, acknowledged_before) = self.owed(entries)?;
        let concurrency = self.concurrency.get();
        let run = Arc::new(Run {
            operations: self,
            clients,
            journal,
            outage: Outage::default(),
            waiting: Mutex::new(waiting),
            summary: Mutex::new(Summary {
                acknowledged_before,
                ..Summary::default()
            }),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..concurrency {
            tasks.spawn(work(Arc::clone(&run)));
        }
        // The first error drops the set, which stops the other tasks.
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(lock(&run.summary).clone())
    }

    /// The numbers to emit, in order, and how many are done. A journal
    /// of a longer run is owed its whole length.
    fn owed(&self, entries: &[Entry]) -> Result<(VecDeque<u64>, u64), OperationsError> {
        let mut all: BTreeSet<u64> = (1..=self.count).collect();
        let mut acknowledged = BTreeSet::new();
        for entry in entries {
            let number = self.job.operation_number(&entry.event_id);
            let number = number
                .filter(|_| entry.customer_id == self.customer_id)
                .ok_or_else(|| OperationsError::OtherRun {
                    event_id: entry.event_id.clone(),
                    customer_id: entry.customer_id.clone(),
                })?;
            all.insert(number);
            if entry.outcome == Outcome::Acknowledged {
                acknowledged.insert(number);
            }
        }
        let owed = all.difference(&acknowledged).copied().collect();
        let done = u64::try_from(acknowledged.len()).unwrap_or(u64::MAX);
        Ok((owed, done))
    }

    fn usage(&self, event_id: &str) -> Usage {
        let usage = Usage::new(&self.customer_id, &self.action_type).event_id(event_id);
        match &self.subscription_item_id {
            Some(subscription_item_id) => usage.subscription_item(subscription_item_id),
            None => usage,
        }
    }
}

impl Run {
    /// Once the server has been silent to everybody for the time for retries, an
    /// event gets one attempt.
    async fn emit(&self, usage: Usage) -> Result<Recorded, EmitError> {
        let Clients {
            patient,
            hasty,
            patience,
        } = &self.clients;
        let begun = Instant::now();
        let emitted = match self.outage.lasts_longer_than(*patience) {
            true => hasty.emit(usage).await,
            false => patient.emit(usage).await,
        };
        match &emitted {
            Err(EmitError::PerhapsRecorded {
                http_status: None, ..
            }) => self.outage.note_silence(begun),
            _ => self.outage.end(),
        }
        emitted
    }
}

impl Summary {
    /// Whether every operation is acknowledged.
    pub fn is_complete(&self) -> bool {
        self.refused == 0 && self.unknown == 0
    }

    fn count(&mut self, entry: &Entry, answered_unix_ms: u64) {
        match entry.outcome {
            Outcome::Acknowledged => self.acknowledged += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Unknown => self.unknown += 1,
        }
        if entry.duplicate == Some(true) {
            self.duplicates += 1;
        }
        if entry.outcome != Outcome::Unknown {
            let first = self.first_answer_unix_ms.unwrap_or(u64::MAX);
            self.first_answer_unix_ms = Some(first.min(answered_unix_ms));
            self.last_answer_unix_ms = self.last_answer_unix_ms.max(Some(answered_unix_ms));
        }
    }
}

/// Emits waiting operations until none is left.
async fn work(run: Arc<Run>) -> Result<(), OperationsError> {
    loop {
        let Some(number) = lock(&run.waiting).pop_front() else {
            return Ok(());
        };
        let event_id = run.operations.job.operation_event_id(number);
        let emitted = run.emit(run.operations.usage(&event_id)).await;
        let answered_unix_ms = unix_ms();
        let entry = entry(event_id, &run.operations.customer_id, emitted);
        let run = Arc::clone(&run);
        // Off the threads that wait for answers: a disk takes milliseconds.
        tokio::task::spawn_blocking(move || {
            run.journal.append(&entry)?;
            lock(&run.summary).count(&entry, answered_unix_ms);
            Ok::<(), JournalError>(())
        })
        .await??;
    }
}

fn entry(event_id: String, customer_id: &str, emitted: Result<Recorded, EmitError>) -> Entry {
    let entry = Entry {
        event_id,
        customer_id: customer_id.to_owned(),
        outcome: Outcome::Unknown,
        http_status: None,
        status: None,
        duplicate: None,
        reason: None,
    };
    match emitted {
        Ok(recorded) => Entry {
            outcome: Outcome::Acknowledged,
            status: Some(recorded.status.to_string()),
            duplicate: Some(recorded.duplicate),
            ..entry
        },
        Err(EmitError::Refused {
            http_status,
            problem,
            ..
        }) => Entry {
            outcome: Outcome::Refused,
            http_status: Some(http_status),
            reason: Some(problem.to_string()),
            ..entry
        },
        Err(EmitError::PerhapsRecorded {
            http_status,
            reason,
            ..
        }) => Entry {
            http_status,
            reason: Some(reason),
            ..entry
        },
        // Nothing was sent: it is not recorded.
        Err(error) => Entry {
            outcome: Outcome::Refused,
            reason: Some(error.to_string()),
            ..entry
        },
    }
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
