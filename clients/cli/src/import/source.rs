//! Rows of a file, one after the other: JSON lines, CSV, or the table
//! `usage_events` of a SQLite file. A row that cannot be read is told of, and
//! the next one follows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::vec;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Number, Value};

/// The longest line of JSON, in bytes: a row with every field as long as it may be.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Rows of one read from SQLite.
const PAGE_ROWS: usize = 1_000;
const TABLE: &str = "usage_events";
/// The columns that are read, where the table has them.
const COLUMNS: [&str; 11] = [
    "event_id",
    "id",
    "customer_id",
    "subscription_item_id",
    "quantity",
    "action_type",
    "stripe_record_id",
    "status",
    "timestamp",
    "occurred_at",
    "source",
];

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object in each line.
    Jsonl,
    /// Comma-separated, with the columns' names in the first line.
    Csv,
    /// A SQLite file.
    Sqlite,
}

impl Format {
    /// The format that the file's name speaks of, if it does.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "sqlite" | "sqlite3" | "db" => Some(Self::Sqlite),
            _ => None,
        }
    }
}

/// A row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceRow {
    /// Its line, or its rowid in SQLite.
    pub number: i64,
    /// Its fields by their names, or why they cannot be read.
    pub fields: Result<Map<String, Value>, String>,
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file fails.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CSV file fails.
    #[error("{path}: {source}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// SQLite fails.
    #[error("{path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The SQLite file has not the table.
    #[error("{path} has no table {TABLE} with a rowid and the column {column}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The first column that is missing.
        column: &'static str,
    },
}

/// The rows of a file.
pub struct Source {
    path: PathBuf,
    rows: Rows,
}

enum Rows {
    Jsonl {
        file: BufReader<File>,
        line: i64,
    },
    Csv(Box<csv::Reader<File>>, csv::StringRecord),
    Sqlite {
        connection: Connection,
        columns: Vec<&'static str>,
        page: vec::IntoIter<SourceRow>,
        last_rowid: Option<i64>,
    },
}

impl Source {
    /// Opens the file at `path`, for reading only.
    ///
    /// # Errors
    /// A [`SourceError`].
    pub fn open(path: &Path, format: Format) -> Result<Self, SourceError> {
        let file = || {
            File::open(path).map_err(|source| SourceError::File {
                path: path.to_owned(),
                source,
            })
        };
        let rows = match format {
            Format::Jsonl => Rows::Jsonl {
                file: BufReader::new(file()?),
                line: 0,
            },
            Format::Csv => {
                let mut reader = csv::ReaderBuilder::new()
                    .trim(csv::Trim::All)
                    .from_reader(file()?);
                let headers = reader.headers().map_err(csv_error(path))?.clone();
                Rows::Csv(Box::new(reader), headers)
            }
            Format::Sqlite => {
                // A file that is not there must not be made.
                file()?;
                let connection = open_sqlite(path).map_err(sqlite_error(path))?;
                let columns = columns(&connection, path)?;
                Rows::Sqlite {
                    connection,
                    columns,
                    page: Vec::new().into_iter(),
                    last_rowid: None,
                }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            rows,
        })
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// A [`SourceError`] where the file cannot be read on.
    pub fn next_row(&mut self) -> Result<Option<SourceRow>, SourceError> {
        match &mut self.rows {
            Rows::Jsonl { file, line } => {
                next_line(file, line).map_err(|source| SourceError::File {
                    path: self.path.clone(),
                    source,
                })
            }
            Rows::Csv(reader, headers) => {
                next_record(reader, headers).map_err(csv_error(&self.path))
            }
            Rows::Sqlite {
                connection,
                columns,
                page,
                last_rowid,
            } => {
                if page.len() == 0 {
                    let rows = next_page(connection, columns, *last_rowid);
                    *page = rows.map_err(sqlite_error(&self.path))?.into_iter();
                }
                let row = page.next();
                if let Some(row) = &row {
                    *last_rowid = Some(row.number);
                }
                Ok(row)
            }
        }
    }
}

/// The next line that is not blank.
fn next_line(file: &mut BufReader<File>, line: &mut i64) -> io::Result<Option<SourceRow>> {
    loop {
        let mut bytes = Vec::new();
        let read = file
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        *line += 1;
        let is_cut = !bytes.ends_with(b"\n") && u64::try_from(read) == Ok(LINE_BYTES_MAX);
        if is_cut {
            skip_line(file)?;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let fields = match serde_json::from_slice(&bytes) {
            _ if is_cut => Err(format!("is longer than {LINE_BYTES_MAX} bytes")),
            Ok(Value::Object(fields)) => Ok(fields),
            Ok(_) => Err("is not a JSON object".to_owned()),
            Err(error) => Err(format!("is not JSON: {error}")),
        };
        return Ok(Some(SourceRow {
            number: *line,
            fields,
        }));
    }
}

fn skip_line(file: &mut BufReader<File>) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        file.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}

fn next_record(
    reader: &mut csv::Reader<File>,
    headers: &csv::StringRecord,
) -> csv::Result<Option<SourceRow>> {
    let mut record = csv::StringRecord::new();
    let fields = match reader.read_record(&mut record) {
        Ok(false) => return Ok(None),
        Ok(true) => Ok(headers
            .iter()
            .zip(&record)
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect()),
        Err(error) if error.is_io_error() => return Err(error),
        Err(error) => Err(error.to_string()),
    };
    let line = record.position().map_or(0, csv::Position::line);
    Ok(Some(SourceRow {
        number: i64::try_from(line).unwrap_or(i64::MAX),
        fields,
    }))
}

fn open_sqlite(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Those of [`COLUMNS`] that the table has.
fn columns(connection: &Connection, path: &Path) -> Result<Vec<&'static str>, SourceError> {
    let names = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let names = statement.query_map([TABLE], |row| row.get(0))?;
        names.collect()
    };
    let names = names().map_err(sqlite_error(path))?;
    let has = |column: &&&str| names.iter().any(|name| name.eq_ignore_ascii_case(column));
    for column in ["customer_id", "quantity", "action_type"] {
        if !has(&&column) {
            let path = path.to_owned();
            return Err(SourceError::NoColumn { path, column });
        }
    }
    Ok(COLUMNS.iter().filter(has).copied().collect())
}

fn next_page(
    connection: &Connection,
    columns: &[&'static str],
    last_rowid: Option<i64>,
) -> rusqlite::Result<Vec<SourceRow>> {
    let wanted = columns.join("\", \"");
    let sql = format!(
        "SELECT rowid, \"{wanted}\" FROM {TABLE} \
         WHERE ?1 IS NULL OR rowid > ?1 ORDER BY rowid LIMIT {PAGE_ROWS}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([last_rowid], |row| {
        let mut fields = Ok(Map::new());
        for (at, column) in columns.iter().enumerate() {
            match (value(row.get_ref(at + 1)?), &mut fields) {
                (Some(value), Ok(fields)) => {
                    fields.insert((*column).to_owned(), value);
                }
                (None, fields) => *fields = Err(format!("{column} is no text and no number")),
                (Some(_), Err(_)) => {}
            }
        }
        Ok(SourceRow {
            number: row.get(0)?,
            fields,
        })
    })?;
    rows.collect()
}

fn value(value: ValueRef<'_>) -> Option<Value> {
    match value {
        ValueRef::Null => Some(Value::Null),
        ValueRef::Integer(number) => Some(number.into()),
        ValueRef::Real(number) => Number::from_f64(number).map(Value::Number),
        ValueRef::Text(text) => std::str::from_utf8(text).ok().map(Value::from),
        ValueRef::Blob(_) => None,
    }
}

fn csv_error(path: &Path) -> impl Fn(csv::Error) -> SourceError {
    let path = path.to_owned();
    move |source| SourceError::Csv {
        path: path.clone(),
        source,
    }
}

fn sqlite_error(path: &Path) -> impl Fn(rusqlite::Error) -> SourceError {
    let path = path.to_owned();
    move |source| SourceError::Sqlite {
        path: path.clone(),
        source,
    }
}
