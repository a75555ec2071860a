//! DynamoDB inside this process: dynoxide, on a SQLite file, over its own HTTP
//! server, so that the functions speak to it as they speak to AWS.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dynoxide::Database;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::connection::Connection;

/// Every write waits for the disk while it holds the one connection. Threads of
/// its own keep that wait away from the API's; more than this only queue.
const WORKER_THREADS: usize = 2;

/// How long connections may take to finish at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the trimming waits for the database's own writes.
const TRIM_BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// Rows of one trimming transaction: a few milliseconds of everybody's wait.
const TRIM_ROWS: usize = 1_000;

/// With a stream on, dynoxide looks for the largest sequence number before each
/// write; without this index it reads every record of the stream to find it.
const CREATE_INDEX: &str = "CREATE INDEX IF NOT EXISTS _stream_records_by_sequence_number
    ON _stream_records (table_name, CAST(sequence_number AS INTEGER))";

/// Strictly below: the record that the number names stays, so that the next
/// number, one above the largest, is never one that was given before.
const TRIM: &str = "DELETE FROM _stream_records WHERE id IN (
    SELECT id FROM _stream_records
    WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) < ?2 LIMIT ?3)";

/// What dynoxide adds to the number that it stores, so that a sequence number
/// has the 21 digits that DynamoDB's have at least.
const SEQUENCE_NUMBER_OFFSET: u128 = 100_000_000_000_000_000_000;

/// A DynamoDB that runs in this process. Dropped, it stops by itself.
#[derive(Debug)]
pub struct DynamoDb {
    url: String,
    records: StreamRecords,
    finished: oneshot::Receiver<Result<(), String>>,
    stop: DropGuard,
}

/// Why DynamoDB does not run.
#[derive(Debug, thiserror::Error)]
pub enum DynamoDbError {
    /// There is no port to listen on.
    #[error("DynamoDB cannot listen")]
    Listen(#[source] io::Error),
    /// The file is no database, or a newer one.
    #[error("cannot open the DynamoDB of {path}")]
    Open {
        /// The SQLite file.
        path: PathBuf,
        /// Why.
        #[source]
        source: dynoxide::DynoxideError,
    },
    /// SQLite failed.
    #[error("the SQLite file of DynamoDB failed")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread, or no runtime in it.
    #[error("cannot start a thread for DynamoDB")]
    Thread(#[source] io::Error),
    /// It ended otherwise than by being stopped.
    #[error("DynamoDB ended: {0}")]
    Ended(String),
}

impl DynamoDb {
    /// Serves the database in `file` on a free port of this machine.
    ///
    /// # Errors
    /// As [`DynamoDb::serve`].
    pub fn start(file: &Path) -> Result<Self, DynamoDbError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self::serve(file, listener.map_err(DynamoDbError::Listen)?)
    }

    /// Serves the database in `file`, which is created if need be, on `listener`.
    ///
    /// SQLite writes ahead to a log and waits for the disk at every commit
    /// (`journal_mode=WAL`, `synchronous=FULL`, dynoxide's and SQLite's
    /// defaults): an answered write outlives the process and the machine.
    ///
    /// # Errors
    /// A [`DynamoDbError`].
    pub fn serve(file: &Path, listener: TcpListener) -> Result<Self, DynamoDbError> {
        listener
            .set_nonblocking(true)
            .map_err(DynamoDbError::Listen)?;
        let address = listener.local_addr().map_err(DynamoDbError::Listen)?;
        let database =
            Database::new(&file.to_string_lossy()).map_err(|source| DynamoDbError::Open {
                path: file.to_owned(),
                source,
            })?;
        let records = StreamRecords::open(file)?;
        let stop = CancellationToken::new();
        let (finish, finished) = oneshot::channel();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                // Nobody may be waiting any more; then nobody needs to know.
                let _ = finish.send(run(listener, database, stopped));
            })
            .map_err(DynamoDbError::Thread)?;
        Ok(Self {
            url: format!("http://{address}"),
            records,
            finished,
            stop: stop.drop_guard(),
        })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How to speak to it.
    pub fn connection(&self) -> Connection {
        Connection::embedded(&self.url)
    }

    /// Its streams' records, to be trimmed.
    pub fn stream_records(&self) -> StreamRecords {
        self.records.clone()
    }

    /// Lets the requests finish that have begun, and closes the file.
    ///
    /// # Errors
    /// [`DynamoDbError::Ended`] where it had failed before.
    pub async fn stop(self) -> Result<(), DynamoDbError> {
        let Self {
            finished,
            stop,
            records,
            ..
        } = self;
        drop(records);
        stop.disarm().cancel();
        match finished.await {
            Ok(ended) => ended.map_err(DynamoDbError::Ended),
            Err(_) => Err(DynamoDbError::Ended("its thread panicked".to_owned())),
        }
    }
}

/// Serves until `stop`, then closes the database before it returns.
fn run(listener: TcpListener, database: Database, stop: CancellationToken) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("dynamodb-worker")
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
        let stopped = stop.clone();
        let shutdown = async move { stopped.cancelled().await };
        let serving = dynoxide::server::serve_with_shutdown(listener, database, shutdown);
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            served = serving => served,
            // A client that sent half a request would hold it open for ever.
            () = deadline => Ok(()),
        }
    });
    runtime.shutdown_timeout(STOP_TIMEOUT);
    served
}

/// The records of the embedded DynamoDB's streams, in its file.
#[derive(Clone, Debug)]
pub struct StreamRecords {
    connection: Arc<Mutex<rusqlite::Connection>>,
}

impl StreamRecords {
    fn open(file: &Path) -> Result<Self, rusqlite::Error> {
        let connection = rusqlite::Connection::open(file)?;
        connection.busy_timeout(TRIM_BUSY_TIMEOUT)?;
        connection.execute_batch(CREATE_INDEX)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Forgets the records of `table` before `sequence_number`, as DynamoDB
    /// does with those older than 24 hours. The record of that number stays.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// SQLite's.
    pub fn trim_before(
        &self,
        table: &str,
        sequence_number: &str,
    ) -> Result<usize, rusqlite::Error> {
        let stored = sequence_number
            .parse::<u128>()
            .ok()
            .and_then(|number| number.checked_sub(SEQUENCE_NUMBER_OFFSET))
            .and_then(|number| i64::try_from(number).ok());
        let Some(stored) = stored else {
            return Ok(0);
        };
        let mut trimmed: usize = 0;
        loop {
            let connection = self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let rows = connection.execute(TRIM, (table, stored, TRIM_ROWS))?;
            trimmed = trimmed.saturating_add(rows);
            if rows < TRIM_ROWS {
                return Ok(trimmed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As dynoxide asks before each write to a table with a stream.
    const LARGEST: &str = "SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1
        FROM _stream_records WHERE table_name = ?1";
    /// As it reads the stream.
    const NEXT: &str = "SELECT event_name FROM _stream_records
        WHERE table_name = ?1 AND shard_id = ?2 AND CAST(sequence_number AS INTEGER) > ?3
        ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT ?4";

    #[tokio::test]
    async fn no_query_of_the_stream_reads_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let dynamodb = DynamoDb::start(&folder.path().join("dynamodb.sqlite")).unwrap();
        let records = dynamodb.stream_records();
        let plan = |query: &str| {
            let connection = records.connection.lock().unwrap();
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
                .unwrap();
            let unbound = vec![None::<i64>; plan.parameter_count()];
            let steps = plan.query_map(rusqlite::params_from_iter(unbound), |row| row.get(3));
            let steps: Result<Vec<String>, _> = steps.unwrap().collect();
            steps.unwrap().join("; ")
        };
        for query in [LARGEST, NEXT, TRIM] {
            let plan = plan(query);
            assert!(
                plan.contains("_stream_records_by_sequence_number"),
                "{plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
        drop(records);
        dynamodb.stop().await.unwrap();
    }

    /// What the promise of an answered write rests on.
    #[tokio::test]
    async fn a_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let dynamodb = DynamoDb::start(&folder.path().join("dynamodb.sqlite")).unwrap();
        let records = dynamodb.stream_records();
        let pragma = |name: &str| -> String {
            let connection = records.connection.lock().unwrap();
            let value = connection.pragma_query_value(None, name, |row| row.get(0));
            match value.unwrap() {
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pragma("journal_mode"), "wal");
        // FULL: the default that dynoxide's own connection has, too.
        assert_eq!(pragma("synchronous"), "2");
        drop(records);
        dynamodb.stop().await.unwrap();
    }
}
