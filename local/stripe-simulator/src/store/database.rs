//! The one thread that touches `SQLite`. Work that arrives together shares a transaction, so that
//! a thousand small requests a second cost a few dozen commits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::api::error::{Result, StripeError};

/// How many pieces of work one transaction holds at most: what waits behind it waits that long.
const GROUP_MAX: usize = 256;

/// Tells the one who asked what came of it. Called after the commit; dropped if there was none.
type Report = Box<dyn FnOnce() + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Report + Send>;

enum Message {
    Work(Job),
    Close,
}

/// Work was not done, or not kept: the database failed or is closed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the state could not be written")]
pub(crate) struct Unwritten;

/// Takes work for the thread.
pub(crate) struct Database {
    messages: Sender<Message>,
}

impl Database {
    /// Opens the state and starts its thread, which ends after [`Database::close`].
    pub(crate) fn start(connection: Connection) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (messages, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("stripe-simulator-state".to_owned())
            .spawn(move || serve(&connection, &inbox))?;
        Ok((Self { messages }, thread))
    }

    /// Does work in a transaction, and answers when that is committed.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> std::result::Result<T, Unwritten> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = work(connection);
            Box::new(move || {
                // Nobody waits any more where a client hung up; the work stays done.
                let _ = sender.send(outcome);
            })
        });
        self.messages
            .send(Message::Work(job))
            .map_err(|_| Unwritten)?;
        receiver.await.map_err(|_| Unwritten)
    }

    /// Ends the thread after what it was given before.
    pub(crate) fn close(&self) {
        // A thread that is gone needs no end.
        let _ = self.messages.send(Message::Close);
    }
}

/// Opens the file, or memory, and brings the tables up.
pub(crate) fn open(path: Option<&Path>) -> rusqlite::Result<Connection> {
    let connection = match path {
        Some(path) => Connection::open(path)?,
        None => Connection::open_in_memory()?,
    };
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // A commit is in the file's log before the answer goes out, so killing the process loses
    // nothing; NORMAL leaves out the wait for the disk, which only a machine's crash would need.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.execute_batch(super::schema::TABLES)?;
    Ok(connection)
}

fn serve(connection: &Connection, inbox: &Receiver<Message>) {
    while let Ok(Message::Work(first)) = inbox.recv() {
        let mut group = vec![first];
        let mut is_closing = false;
        while group.len() < GROUP_MAX {
            match inbox.try_recv() {
                Ok(Message::Work(job)) => group.push(job),
                Ok(Message::Close) => {
                    is_closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        match catch_unwind(AssertUnwindSafe(|| commit(connection, group))) {
            Ok(Ok(reports)) => reports.into_iter().for_each(|report| report()),
            Ok(Err(error)) => tracing::error!(%error, "a transaction failed"),
            // A bug in one handler must not take the state away from all others.
            Err(_) => {
                tracing::error!("a handler panicked, its transaction is undone");
                if let Err(error) = connection.execute_batch("ROLLBACK") {
                    tracing::error!(%error, "the transaction could not be undone");
                }
            }
        }
        if is_closing {
            return;
        }
    }
}

fn commit(connection: &Connection, group: Vec<Job>) -> rusqlite::Result<Vec<Report>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let reports = group.into_iter().map(|job| job(connection)).collect();
    if let Err(error) = connection.execute_batch("COMMIT") {
        connection.execute_batch("ROLLBACK")?;
        return Err(error);
    }
    Ok(reports)
}

/// Work that leaves nothing behind when it is refused, unless the refusal says that it does.
pub(crate) fn undo_refused<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    connection.execute_batch("SAVEPOINT work")?;
    let outcome = work();
    let keeps = outcome
        .as_ref()
        .err()
        .is_none_or(|error: &StripeError| error.keeps_work);
    if !keeps {
        connection.execute_batch("ROLLBACK TO work")?;
    }
    connection.execute_batch("RELEASE work")?;
    outcome
}
