//! Objects of the API: their documents, and the columns that follow from them.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde_json::Value;

use crate::api::error::{Result, StripeError};
use crate::api::json::{array, integer, is_true, text};
use crate::calendar::parse_rfc3339;
use crate::engine::trials;

/// A condition of a list: a column and what it must be, or any condition with one `?`.
pub(crate) type Filter = (&'static str, Sql);

/// A document with its place in the order of creation.
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) document: Value,
}

/// What lists filter by.
#[derive(Default)]
struct Columns {
    customer: Option<String>,
    parent: Option<String>,
    status: Option<String>,
    label: Option<String>,
    clock: Option<String>,
    due_at: Option<i64>,
}

impl Columns {
    fn of(document: &Value) -> Self {
        let owned = |pointer| text(document, pointer).map(str::to_owned);
        let activity = if is_true(document, "/active") {
            "active"
        } else {
            "inactive"
        };
        let mut columns = Self {
            customer: owned("/customer").or_else(|| owned("/_customer")),
            status: owned("/status"),
            clock: owned("/test_clock"),
            ..Self::default()
        };
        match text(document, "/object").unwrap_or_default() {
            "customer" => columns.label = owned("/email"),
            "product" => columns.status = Some(activity.to_owned()),
            "price" => {
                columns.parent = owned("/product");
                columns.label = owned("/lookup_key");
                columns.status = Some(activity.to_owned());
            }
            "billing.meter" => columns.label = owned("/event_name"),
            "subscription" => columns.due_at = subscription_due(document),
            "subscription_item" => columns.parent = owned("/subscription"),
            "invoice" => {
                columns.parent = owned("/parent/subscription_details/subscription");
                columns.due_at = invoice_due(document);
            }
            "checkout.session" => {
                columns.parent = owned("/subscription");
                columns.due_at = session_due(document);
            }
            "setup_intent" => columns.parent = owned("/payment_method"),
            "payment_intent" => columns.parent = owned("/_invoice"),
            "charge" => columns.parent = owned("/payment_intent"),
            "invoice_payment" => {
                columns.parent = owned("/invoice");
                columns.label = owned("/payment/payment_intent");
            }
            "dispute" => {
                columns.parent = owned("/charge");
                columns.label = owned("/payment_intent");
                columns.due_at = integer(document, "/_decided_at");
            }
            "balance_transaction" => {
                columns.parent = owned("/source");
                columns.label = owned("/type");
            }
            "event" | "v2.core.event" => columns.label = owned("/type"),
            _ => {}
        }
        if is_true(document, "/deleted") {
            columns.status = Some("deleted".to_owned());
        }
        columns
    }
}

fn subscription_due(document: &Value) -> Option<i64> {
    match text(document, "/status")? {
        "active" | "trialing" | "past_due" | "unpaid" => {
            let end = array(document, "/items/data")
                .iter()
                .filter_map(|item| integer(item, "/current_period_end"))
                .min();
            let cancel_at = integer(document, "/cancel_at");
            let trial = trials::announcement(document);
            end.into_iter().chain(cancel_at).chain(trial).min()
        }
        _ => None,
    }
}

fn invoice_due(document: &Value) -> Option<i64> {
    match text(document, "/status")? {
        "draft" if is_true(document, "/auto_advance") => {
            integer(document, "/automatically_finalizes_at")
        }
        "open" => integer(document, "/next_payment_attempt"),
        _ => None,
    }
}

fn session_due(document: &Value) -> Option<i64> {
    match text(document, "/status")? {
        "open" => integer(document, "/expires_at"),
        _ => None,
    }
}

/// Unix seconds, which v2 writes as RFC 3339.
fn created(document: &Value) -> i64 {
    let v2 = || text(document, "/created").and_then(parse_rfc3339);
    integer(document, "/created")
        .or_else(v2)
        .unwrap_or_default()
}

/// Stores a new document.
pub(crate) fn insert(db: &Connection, document: &Value) -> Result<()> {
    let columns = Columns::of(document);
    let sql = "INSERT INTO objects
        (id, kind, created, customer, parent, status, label, clock, due_at, document)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    db.prepare_cached(sql)?.execute(params![
        text(document, "/id"),
        text(document, "/object"),
        created(document),
        columns.customer,
        columns.parent,
        columns.status,
        columns.label,
        columns.clock,
        columns.due_at,
        document.to_string(),
    ])?;
    Ok(())
}

/// Stores a changed document.
pub(crate) fn update(db: &Connection, document: &Value) -> Result<()> {
    let columns = Columns::of(document);
    let sql = "UPDATE objects SET customer = ?2, parent = ?3, status = ?4, label = ?5,
        clock = ?6, due_at = ?7, document = ?8 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![
        text(document, "/id"),
        columns.customer,
        columns.parent,
        columns.status,
        columns.label,
        columns.clock,
        columns.due_at,
        document.to_string(),
    ])?;
    Ok(())
}

/// Takes a document away.
pub(crate) fn delete(db: &Connection, id: &str) -> Result<()> {
    db.prepare_cached("DELETE FROM objects WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

/// How many objects were ever stored.
pub(crate) fn count(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT COALESCE(MAX(seq), 0) FROM objects";
    db.query_row(sql, [], |row| row.get(0))
}

/// The document with an id, whatever it is.
pub(crate) fn find(db: &Connection, id: &str) -> Result<Option<Value>> {
    let document: Option<String> = db
        .prepare_cached("SELECT document FROM objects WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match document {
        Some(document) => Ok(Some(serde_json::from_str(&document)?)),
        None => Ok(None),
    }
}

/// The place of an object in the order of creation.
pub(crate) fn seq(db: &Connection, kind: &str, id: &str) -> Result<Option<i64>> {
    let sql = "SELECT seq FROM objects WHERE id = ?1 AND kind = ?2";
    let seq = db
        .prepare_cached(sql)?
        .query_row([id, kind], |row| row.get(0))
        .optional()?;
    Ok(seq)
}

/// Where a page of a list lies.
#[derive(Default, Clone, Copy)]
pub(crate) struct Window {
    /// Only objects created before this one.
    pub(crate) before_seq: Option<i64>,
    /// Only objects created after this one, oldest first.
    pub(crate) after_seq: Option<i64>,
    /// At most so many.
    pub(crate) limit: i64,
}

/// Objects of a kind that fulfil every filter, newest first unless the window looks up.
pub(crate) fn list(
    db: &Connection,
    kind: &str,
    filters: &[Filter],
    created: &[(&'static str, i64)],
    window: Window,
) -> Result<Vec<Stored>> {
    let mut sql = String::from("SELECT seq, document FROM objects WHERE kind = ?");
    let mut values = vec![Sql::Text(kind.to_owned())];
    for (column, value) in filters {
        let condition = if column.contains('?') { "" } else { " = ?" };
        sql.push_str(&format!(" AND {column}{condition}"));
        values.push(value.clone());
    }
    if !filters.iter().any(|(column, _)| *column == "status") {
        sql.push_str(" AND status IS NOT 'deleted'");
    }
    for (operator, moment) in created {
        sql.push_str(&format!(" AND created {operator} ?"));
        values.push(Sql::Integer(*moment));
    }
    if let Some(seq) = window.before_seq {
        sql.push_str(" AND seq < ?");
        values.push(Sql::Integer(seq));
    }
    if let Some(seq) = window.after_seq {
        sql.push_str(" AND seq > ? ORDER BY seq ASC LIMIT ?");
        values.push(Sql::Integer(seq));
    } else {
        sql.push_str(" ORDER BY seq DESC LIMIT ?");
    }
    values.push(Sql::Integer(window.limit));
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let document: String = row.get(1)?;
        found.push(Stored {
            seq: row.get(0)?,
            document: serde_json::from_str(&document)?,
        });
    }
    Ok(found)
}

/// Every object of a kind that fulfils the filters, oldest first.
pub(crate) fn all(db: &Connection, kind: &str, filters: &[Filter]) -> Result<Vec<Value>> {
    let window = Window {
        after_seq: Some(0),
        limit: i64::MAX,
        ..Window::default()
    };
    let found = list(db, kind, filters, &[], window)?;
    Ok(found.into_iter().map(|stored| stored.document).collect())
}

/// The object on a clock (`None`: the account's own) that has something to do first, if that
/// is due by `until`.
pub(crate) fn next_due(
    db: &Connection,
    clock: Option<&str>,
    until: i64,
) -> Result<Option<(Value, i64)>> {
    let sql = "SELECT document, due_at FROM objects
        WHERE clock IS ?1 AND due_at <= ?2 ORDER BY due_at, seq LIMIT 1";
    let found: Option<(String, i64)> = db
        .prepare_cached(sql)?
        .query_row(params![clock, until], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((document, due_at)) = found else {
        return Ok(None);
    };
    let document = serde_json::from_str(&document).map_err(StripeError::from)?;
    Ok(Some((document, due_at)))
}
