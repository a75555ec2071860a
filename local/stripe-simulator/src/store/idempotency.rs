//! Stored answers (Stripe API reference: Idempotent requests).

use rusqlite::{Connection, OptionalExtension, params};

use crate::api::error::Result;

/// How long an answer is kept, in seconds.
pub(crate) const KEPT_SECONDS: i64 = 24 * 60 * 60;

/// An answer as it was given.
#[derive(Debug, Clone)]
pub(crate) struct StoredAnswer {
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) request_id: String,
    pub(crate) status: u16,
    pub(crate) should_retry: Option<bool>,
    pub(crate) body: String,
}

/// The answer that a key got, unless that is too old.
pub(crate) fn find(db: &Connection, key: &str, now: i64) -> Result<Option<StoredAnswer>> {
    let sql = "SELECT fingerprint, request_id, status, should_retry, body FROM idempotency
        WHERE key = ?1 AND created > ?2";
    let found = db
        .prepare_cached(sql)?
        .query_row(params![key, now - KEPT_SECONDS], |row| {
            Ok(StoredAnswer {
                fingerprint: row.get(0)?,
                request_id: row.get(1)?,
                status: row.get(2)?,
                should_retry: row.get(3)?,
                body: row.get(4)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Keeps an answer, in the transaction that did its work.
pub(crate) fn store(db: &Connection, key: &str, answer: &StoredAnswer, now: i64) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO idempotency
        (key, fingerprint, created, request_id, status, should_retry, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.prepare_cached(sql)?.execute(params![
        key,
        answer.fingerprint,
        now,
        answer.request_id,
        answer.status,
        answer.should_retry,
        answer.body,
    ])?;
    Ok(())
}

/// Drops what is too old to be replayed.
pub(crate) fn forget_old(db: &Connection, now: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM idempotency WHERE created <= ?1")?
        .execute([now - KEPT_SECONDS])?;
    Ok(())
}
