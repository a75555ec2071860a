//! Meter events, on the path that sees a thousand a second.

use rusqlite::{Connection, OptionalExtension, params};

use crate::api::error::Result;

/// How long an identifier is remembered: Stripe promises at least this, so a client that
/// counts on more is found out here.
pub(crate) const IDENTIFIER_WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// A meter event as it is stored.
pub(crate) struct MeterEvent<'a> {
    pub(crate) identifier: &'a str,
    pub(crate) event_name: &'a str,
    pub(crate) meter: Option<&'a str>,
    pub(crate) customer: Option<&'a str>,
    pub(crate) value: i64,
    pub(crate) timestamp: i64,
    pub(crate) received_ms: i64,
    /// Why it can never count; an asynchronous way in reports it later.
    pub(crate) error_code: Option<&'a str>,
}

/// Whether the identifier was accepted within its window.
pub(crate) fn is_repeat(db: &Connection, identifier: &str, now_ms: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM meter_events
        WHERE identifier = ?1 AND received_ms > ?2 AND error_code IS NULL LIMIT 1";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![identifier, now_ms - IDENTIFIER_WINDOW_MS], |_| {
            Ok(())
        })
        .optional()?;
    Ok(found.is_some())
}

/// Stores an event: accepted, or invalid where it has an error.
pub(crate) fn insert(db: &Connection, event: &MeterEvent<'_>) -> Result<()> {
    let sql = "INSERT INTO meter_events
        (identifier, event_name, meter, customer, value, timestamp, received_ms, state, error_code)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let state = if event.error_code.is_some() {
        "invalid"
    } else {
        "accepted"
    };
    db.prepare_cached(sql)?.execute(params![
        event.identifier,
        event.event_name,
        event.meter,
        event.customer,
        event.value,
        event.timestamp,
        event.received_ms,
        state,
        event.error_code,
    ])?;
    Ok(())
}

/// Makes what was accepted by a moment visible to summaries and invoices.
pub(crate) fn aggregate(db: &Connection, received_by_ms: i64) -> Result<usize> {
    let sql = "UPDATE meter_events SET state = 'aggregated'
        WHERE state = 'accepted' AND received_ms <= ?1";
    Ok(db.prepare_cached(sql)?.execute([received_by_ms])?)
}

/// Cancels the newest event with an identifier; answers when it was received, if there is one.
pub(crate) fn find_received(
    db: &Connection,
    event_name: &str,
    identifier: &str,
) -> Result<Option<(i64, i64, bool)>> {
    let sql = "SELECT seq, received_ms, state = 'cancelled' FROM meter_events
        WHERE identifier = ?1 AND event_name = ?2 AND error_code IS NULL
        ORDER BY received_ms DESC LIMIT 1";
    let found = db
        .prepare_cached(sql)?
        .query_row([identifier, event_name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(found)
}

/// Takes an event out of every sum.
pub(crate) fn cancel(db: &Connection, seq: i64) -> Result<()> {
    db.prepare_cached("UPDATE meter_events SET state = 'cancelled' WHERE seq = ?1")?
        .execute([seq])?;
    Ok(())
}

/// How a meter makes one number of many events (`default_aggregation.formula`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Formula {
    Sum,
    Count,
    Last,
}

impl Formula {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "count" => Self::Count,
            "last" => Self::Last,
            _ => Self::Sum,
        }
    }
}

/// Whose events, and of which time: `start <= timestamp < end`.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) meter: &'a str,
    pub(crate) customer: &'a str,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The aggregated value of a scope, `None` where it has no event.
pub(crate) fn value(db: &Connection, formula: Formula, scope: Scope<'_>) -> Result<Option<i64>> {
    let sql = match formula {
        Formula::Sum => {
            "SELECT SUM(value) FROM meter_events WHERE state = 'aggregated'
            AND meter = ?1 AND customer = ?2 AND timestamp >= ?3 AND timestamp < ?4"
        }
        Formula::Count => {
            "SELECT NULLIF(COUNT(*), 0) FROM meter_events WHERE state = 'aggregated'
            AND meter = ?1 AND customer = ?2 AND timestamp >= ?3 AND timestamp < ?4"
        }
        Formula::Last => {
            "SELECT value FROM meter_events WHERE state = 'aggregated'
            AND meter = ?1 AND customer = ?2 AND timestamp >= ?3 AND timestamp < ?4
            ORDER BY timestamp DESC, seq DESC LIMIT 1"
        }
    };
    let found: Option<Option<i64>> = db
        .prepare_cached(sql)?
        .query_row(
            params![scope.meter, scope.customer, scope.start, scope.end],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.flatten())
}

/// The starts of the windows of `width` seconds that hold events, newest first.
pub(crate) fn windows(db: &Connection, scope: Scope<'_>, width: i64) -> Result<Vec<i64>> {
    let sql = "SELECT DISTINCT timestamp / ?5 * ?5 AS start FROM meter_events
        WHERE state = 'aggregated' AND meter = ?1 AND customer = ?2
        AND timestamp >= ?3 AND timestamp < ?4 ORDER BY start DESC";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(
        params![scope.meter, scope.customer, scope.start, scope.end, width],
        |row| row.get(0),
    )?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// An event that can never count, on its way into a report.
pub(crate) struct Invalid {
    pub(crate) identifier: String,
    pub(crate) event_name: String,
    pub(crate) meter: Option<String>,
    pub(crate) code: String,
    pub(crate) received_ms: i64,
}

/// Takes the invalid events received by a moment, each for one report.
pub(crate) fn take_invalid(db: &Connection, received_by_ms: i64) -> Result<Vec<Invalid>> {
    let sql = "SELECT identifier, event_name, meter, error_code, received_ms FROM meter_events
        WHERE state = 'invalid' AND received_ms <= ?1 ORDER BY seq";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([received_by_ms], |row| {
        Ok(Invalid {
            identifier: row.get(0)?,
            event_name: row.get(1)?,
            meter: row.get(2)?,
            code: row.get(3)?,
            received_ms: row.get(4)?,
        })
    })?;
    let taken: Vec<Invalid> = rows.collect::<rusqlite::Result<_>>()?;
    if !taken.is_empty() {
        let sql = "UPDATE meter_events SET state = 'reported'
            WHERE state = 'invalid' AND received_ms <= ?1";
        db.prepare_cached(sql)?.execute([received_by_ms])?;
    }
    Ok(taken)
}
