//! The queue of webhook deliveries.

use rusqlite::{Connection, params};

use crate::api::error::Result;

/// One event on its way to one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    pub(crate) event: String,
    pub(crate) endpoint: String,
    pub(crate) attempts: i64,
    pub(crate) created_ms: i64,
}

/// Queues an event for an endpoint.
pub(crate) fn enqueue(db: &Connection, event: &str, endpoint: &str, now_ms: i64) -> Result<()> {
    let sql = "INSERT INTO deliveries (event, endpoint, state, created_ms, next_ms)
        VALUES (?1, ?2, 'pending', ?3, ?3)";
    db.prepare_cached(sql)?
        .execute(params![event, endpoint, now_ms])?;
    Ok(())
}

/// Pending deliveries whose turn has come by a moment, oldest turn first.
pub(crate) fn due(db: &Connection, by_ms: i64, limit: i64) -> Result<Vec<Delivery>> {
    let sql = "SELECT id, event, endpoint, attempts, created_ms FROM deliveries
        WHERE state = 'pending' AND next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([by_ms, limit], |row| {
        Ok(Delivery {
            id: row.get(0)?,
            event: row.get(1)?,
            endpoint: row.get(2)?,
            attempts: row.get(3)?,
            created_ms: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Records an attempt. Without a next turn a delivery that was not taken is given up.
pub(crate) fn record(
    db: &Connection,
    id: i64,
    delivered: bool,
    next_ms: Option<i64>,
    outcome: &str,
) -> Result<()> {
    let state = match (delivered, next_ms) {
        (true, _) => "delivered",
        (false, Some(_)) => "pending",
        (false, None) => "failed",
    };
    let sql = "UPDATE deliveries SET state = ?2, attempts = attempts + 1,
        next_ms = COALESCE(?3, next_ms), last_outcome = ?4 WHERE id = ?1";
    db.prepare_cached(sql)?
        .execute(params![id, state, next_ms, outcome])?;
    Ok(())
}

/// Drops what is queued for an endpoint that is gone.
pub(crate) fn drop_for(db: &Connection, endpoint: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE deliveries SET state = 'failed' WHERE endpoint = ?1 AND state = 'pending'",
    )?
    .execute([endpoint])?;
    Ok(())
}

/// How many endpoints have not taken an event yet, given up ones left out.
pub(crate) fn pending(db: &Connection, event: &str) -> Result<i64> {
    let sql = "SELECT COUNT(*) FROM deliveries WHERE event = ?1 AND state = 'pending'";
    Ok(db
        .prepare_cached(sql)?
        .query_row([event], |row| row.get(0))?)
}

/// Whether every endpoint took an event.
pub(crate) fn all_taken(db: &Connection, event: &str) -> Result<bool> {
    let sql = "SELECT COUNT(*) FROM deliveries WHERE event = ?1 AND state <> 'delivered'";
    let open: i64 = db
        .prepare_cached(sql)?
        .query_row([event], |row| row.get(0))?;
    Ok(open == 0)
}
