//! Events on disk, for as long as Meterline has not answered for them: the format
//! of `clients/conformance`, the same in every language.

mod files;
mod pace;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::task::{AbortHandle, spawn_blocking};

use crate::answer::Problem;
use crate::client::Flushed;
use crate::error::{EmitError, SettingsError};
use crate::http::{Api, BATCH_EVENTS_MAX};
use crate::outcome::{Attempt, Failed, is_unsure};
use crate::retry::Budget;
use crate::spool::files::{Files, Written};
use crate::spool::pace::{Pace, Round};
use crate::wire::WireEvent;

pub use files::Refused;

/// The folder, and the task that sends what waits in it.
#[derive(Debug)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
    resending: AbortHandle,
    retry_budget: Duration,
}

#[derive(Debug)]
struct Shared {
    files: Files,
    api: Api,
    /// Files that calls have in their hands.
    holds: Mutex<HashMap<PathBuf, Hold>>,
    /// Since the last answer, a call has waited for one in vain.
    is_api_silent: AtomicBool,
    /// One re-sending at a time.
    turn: AsyncMutex<()>,
}

/// What this process knows of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    /// Calls under way with the event: it is sent by these.
    calls: usize,
    /// One of them was told that it is safe there.
    is_promised: bool,
}

/// An event in the spool, in the hands of a call.
#[derive(Debug)]
pub(crate) struct Kept {
    shared: Arc<Shared>,
    path: PathBuf,
    event: WireEvent,
    /// It was there before: a call, perhaps of another process, may have been told
    /// that it is safe.
    was_there: bool,
}

/// What a refused key keeps in the spool, for one line about a whole round.
#[derive(Debug, Default)]
struct HeldUp {
    events: usize,
    /// The first of them.
    problem: Option<Problem>,
}

/// What became of a refused event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetAside {
    /// It waits no more.
    Done,
    /// It waits on: a call was told that it is safe.
    Promised,
}

impl Spool {
    /// Must be called inside a Tokio runtime.
    pub(crate) fn open(
        folder: PathBuf,
        api: Api,
        retry_budget: Duration,
    ) -> Result<Self, SettingsError> {
        let files = match Files::open(&folder) {
            Ok(files) => files,
            Err(source) => {
                return Err(SettingsError::Spool {
                    path: folder,
                    source,
                });
            }
        };
        let shared = Arc::new(Shared {
            files,
            api,
            holds: Mutex::default(),
            is_api_silent: AtomicBool::new(false),
            turn: AsyncMutex::default(),
        });
        let resending = tokio::spawn(resend_for_ever(Arc::clone(&shared))).abort_handle();
        Ok(Self {
            shared,
            resending,
            retry_budget,
        })
    }

    /// Writes `event` down. It survives the process from here on.
    pub(crate) async fn keep(&self, event: &WireEvent) -> Result<Kept, EmitError> {
        let shared = &self.shared;
        let path = shared.files.path_of(event);
        shared.holds().entry(path.clone()).or_default().calls += 1;
        let mut kept = Kept {
            shared: Arc::clone(shared),
            path,
            event: event.clone(),
            was_there: false,
        };
        let (files, written) = (shared.files.clone(), event.clone());
        match blocking(move || files.write(&written)).await {
            Ok(Written::New) => Ok(kept),
            Ok(Written::Known) => {
                kept.was_there = true;
                Ok(kept)
            }
            Ok(Written::Conflict) => Err(EmitError::conflict(event.event_id.clone())),
            Err(error) => Err(EmitError::Spool {
                event_id: event.event_id.clone(),
                reason: error.to_string(),
            }),
        }
    }

    /// Whether a call need not wait to learn that nobody answers.
    pub(crate) fn is_api_silent(&self) -> bool {
        self.shared.is_api_silent.load(Ordering::Relaxed)
    }

    /// An event has waited in vain. That is told once, until an answer comes again: from
    /// now on others are not even sent.
    pub(crate) fn note_silence(&self, event: &WireEvent, reason: &str) {
        let was_silent = self.shared.is_api_silent.swap(true, Ordering::Relaxed);
        if !was_silent {
            tracing::warn!(
                event_id = event.event_id,
                reason,
                "Meterline does not answer: events stay in the spool"
            );
        }
    }

    /// Sends what waits, for the time for retries at most.
    pub(crate) async fn flush(&self) -> io::Result<Flushed> {
        let mut budget = Budget::of(self.retry_budget);
        loop {
            let round = self.shared.resend().await;
            match budget.next_wait(round.retry_after) {
                Some(wait) if round.is_unsure => tokio::time::sleep(wait).await,
                _ => break,
            }
        }
        let files = self.shared.files.clone();
        let left = blocking(move || Ok((files.waiting()?.len(), files.set_aside_count()?)));
        let (waiting, set_aside) = left.await.inspect_err(|error| {
            tracing::error!(error = %error, "the spool cannot be read");
        })?;
        Ok(Flushed { waiting, set_aside })
    }

    pub(crate) fn refused(&self) -> io::Result<Vec<Refused>> {
        self.shared.files.refused()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.resending.abort();
    }
}

impl Kept {
    /// The event is recorded.
    pub(crate) async fn remove(self) {
        self.shared.is_api_silent.store(false, Ordering::Relaxed);
        // Where that fails it is sent once more, and found recorded.
        self.shared.remove(&self.path).await;
    }

    /// The event is refused. What an earlier call was told to be safe is not
    /// given up for a key that is refused now.
    pub(crate) async fn set_aside(self, error: &EmitError) -> SetAside {
        let EmitError::Refused {
            http_status,
            problem,
            ..
        } = error
        else {
            return SetAside::Done;
        };
        let hold = self.shared.holds().get(&self.path).copied();
        let is_promised = self.was_there || hold.is_some_and(|hold| hold.is_promised);
        if is_promised && is_of_the_key(*http_status) {
            self.leave();
            return SetAside::Promised;
        }
        let (path, event) = (self.path.clone(), self.event.clone());
        self.shared.set_aside(&path, event, problem).await;
        SetAside::Done
    }

    /// The event is the spool's to send, and safe there.
    pub(crate) fn leave(self) {
        if let Some(hold) = self.shared.holds().get_mut(&self.path) {
            hold.is_promised = true;
        }
    }
}

/// A call that is given up leaves its event in the spool, too.
impl Drop for Kept {
    fn drop(&mut self) {
        let mut holds = self.shared.holds();
        if let Some(hold) = holds.get_mut(&self.path) {
            hold.calls = hold.calls.saturating_sub(1);
            // Whoever comes later finds the file, and in it the promise.
            if hold.calls == 0 {
                holds.remove(&self.path);
            }
        }
    }
}

impl Shared {
    fn holds(&self) -> MutexGuard<'_, HashMap<PathBuf, Hold>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_hands(&self, path: &Path) -> bool {
        self.holds().get(path).is_some_and(|hold| hold.calls > 0)
    }

    /// The file is gone: nothing is promised of it any more.
    fn forget(&self, path: &Path) {
        if let Some(hold) = self.holds().get_mut(path) {
            hold.is_promised = false;
        }
    }

    /// One attempt at everything that no call has in its hands, the oldest first.
    async fn resend(&self) -> Round {
        let _turn = self.turn.lock().await;
        let mut round = Round {
            is_empty: true,
            is_unsure: false,
            retry_after: None,
        };
        let files = self.files.clone();
        let waiting = match blocking(move || files.waiting()).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(error = %error, "the spool cannot be read");
                round.is_empty = false;
                return round;
            }
        };
        let waiting = waiting.into_iter().filter(|path| !self.is_in_hands(path));
        let waiting: Vec<PathBuf> = waiting.collect();
        let mut held_up = HeldUp::default();
        for paths in waiting.chunks(BATCH_EVENTS_MAX) {
            let (files, paths) = (self.files.clone(), paths.to_vec());
            let read = move || Ok(files.read(&paths));
            let read = blocking(read).await.unwrap_or_default();
            let (paths, events): (Vec<_>, Vec<_>) = read.into_iter().unzip();
            if events.is_empty() {
                continue;
            }
            let attempts = self.api.emit_batch(&events).await;
            let failed = attempts.iter().filter_map(|attempt| attempt.as_ref().err());
            let asked = failed.filter_map(Failed::retry_after).max();
            round.retry_after = round.retry_after.max(asked);
            round.is_unsure |= attempts.iter().any(is_unsure);
            held_up.add(&attempts);
            let is_in_vain = concerns_all(&attempts);
            for ((path, event), attempt) in paths.iter().zip(events).zip(attempts) {
                round.is_empty &= self.settle(path, event, attempt).await;
            }
            if is_in_vain {
                break;
            }
        }
        held_up.log();
        round
    }

    /// Whether `event` is settled.
    async fn settle(&self, path: &Path, event: WireEvent, attempt: Attempt) -> bool {
        if !is_unsure(&attempt) {
            self.is_api_silent.store(false, Ordering::Relaxed);
        }
        match attempt {
            Ok(_) => self.remove(path).await,
            Err(Failed::Unsure { reason, .. }) => {
                tracing::debug!(
                    event_id = event.event_id,
                    reason,
                    "an event stays in the spool"
                );
                false
            }
            Err(Failed::Refused { http_status, .. }) if is_of_the_key(http_status) => false,
            Err(Failed::Refused { problem, .. }) => self.set_aside(path, event, &problem).await,
        }
    }

    async fn set_aside(&self, path: &Path, event: WireEvent, problem: &Problem) -> bool {
        tracing::error!(
            event_id = event.event_id,
            problem = %problem,
            "an event of the spool is refused for good: it is not billed"
        );
        let (files, file, problem) = (self.files.clone(), path.to_owned(), problem.clone());
        let set_aside = blocking(move || files.set_aside(&file, event, problem)).await;
        self.note(path, &set_aside)
    }

    async fn remove(&self, path: &Path) -> bool {
        let (files, file) = (self.files.clone(), path.to_owned());
        let removed = blocking(move || files.remove(&file)).await;
        self.note(path, &removed)
    }

    /// Whether the file is settled.
    fn note(&self, path: &Path, settled: &io::Result<()>) -> bool {
        match settled {
            Ok(()) => self.forget(path),
            Err(error) => tracing::warn!(error = %error, "a settled event stays in the spool"),
        }
        settled.is_ok()
    }
}

impl HeldUp {
    fn add(&mut self, attempts: &[Attempt]) {
        for attempt in attempts {
            if let Err(Failed::Refused {
                http_status,
                problem,
            }) = attempt
                && is_of_the_key(*http_status)
            {
                self.events += 1;
                self.problem.get_or_insert_with(|| Problem::clone(problem));
            }
        }
    }

    fn log(&self) {
        if let Self {
            events,
            problem: Some(problem),
        } = self
        {
            tracing::error!(
                events,
                problem = %problem,
                "Meterline refuses the key: events stay in the spool"
            );
        }
    }
}

/// Trouble of the key, which can be mended, not of the event.
const fn is_of_the_key(http_status: u16) -> bool {
    matches!(http_status, 401 | 403)
}

/// Whether the events behind these would fare no better: Meterline is silent, or
/// it does not know the key. A key that it knows may be one of other customers, so
/// that what a 403 holds up lets the others by.
fn concerns_all(attempts: &[Attempt]) -> bool {
    let is_unknown_key = |attempt: &Attempt| {
        matches!(
            attempt,
            Err(Failed::Refused {
                http_status: 401,
                ..
            })
        )
    };
    attempts.iter().all(is_unsure) || attempts.iter().any(is_unknown_key)
}

async fn resend_for_ever(shared: Arc<Shared>) {
    let mut pace = Pace::new();
    loop {
        let round = shared.resend().await;
        tokio::time::sleep(pace.after(round)).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
