//! What the simulator holds, for a count that does not trust the API's.

use rusqlite::params_from_iter;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use crate::api::error::{Result, StripeError};
use crate::api::params::Params;
use crate::call::Call;

const LIMIT_DEFAULT: i64 = 100;
const LIMIT_MAX: i64 = 10_000;

/// A condition and its values, filled from the query.
struct Where {
    sql: String,
    values: Vec<Sql>,
}

impl Where {
    fn new(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            values: Vec::new(),
        }
    }

    fn and(&mut self, condition: &str, value: Sql) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value);
    }
}

/// `GET /_simulator/meter_events`: without a `state` the events that count or will.
pub(super) fn meter_events(call: &Call<'_>, mut query: Params) -> Result<Value> {
    let mut found = match query.text("state")? {
        Some(state) => {
            let mut found = Where::new("1 = 1");
            found.and("state = ?", Sql::Text(state));
            found
        }
        None => Where::new("state IN ('accepted', 'aggregated')"),
    };
    for column in ["customer", "event_name", "identifier", "meter"] {
        if let Some(value) = query.text(column)? {
            found.and(&format!("{column} = ?"), Sql::Text(value));
        }
    }
    for (param, condition) in [
        ("start_time", "timestamp >= ?"),
        ("end_time", "timestamp < ?"),
    ] {
        if let Some(value) = query.integer(param)? {
            found.and(condition, Sql::Integer(value));
        }
    }
    let limit = take_limit(&mut query)?;
    let after = query.integer("after")?;
    query.finish()?;
    let sql = format!(
        "SELECT COUNT(*), COALESCE(SUM(value), 0) FROM meter_events WHERE {}",
        found.sql
    );
    let (count, value): (i64, i64) = call
        .db
        .prepare(&sql)?
        .query_row(params_from_iter(&found.values), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    found.and("seq > ?", Sql::Integer(after.unwrap_or_default()));
    let sql = format!(
        "SELECT json_object('seq', seq, 'identifier', identifier, 'event_name', event_name,
            'meter', meter, 'customer', customer, 'value', value, 'timestamp', timestamp,
            'received_ms', received_ms, 'state', state, 'error_code', error_code)
        FROM meter_events WHERE {} ORDER BY seq LIMIT {limit}",
        found.sql
    );
    let data = documents(call, &sql, &found.values)?;
    Ok(json!({ "count": count, "value": value, "data": data }))
}

/// `GET /_simulator/deliveries`: webhooks and what became of them.
pub(super) fn deliveries(call: &Call<'_>, mut query: Params) -> Result<Value> {
    let mut found = Where::new("1 = 1");
    for column in ["state", "event", "endpoint"] {
        if let Some(value) = query.text(column)? {
            found.and(&format!("{column} = ?"), Sql::Text(value));
        }
    }
    let limit = take_limit(&mut query)?;
    query.finish()?;
    let sql = format!(
        "SELECT json_object('event', event, 'type', (SELECT label FROM objects WHERE objects.id = event),
            'endpoint', endpoint, 'state', state, 'attempts', attempts,
            'created_ms', created_ms, 'next_ms', next_ms, 'last_outcome', last_outcome)
        FROM deliveries WHERE {} ORDER BY id LIMIT {limit}",
        found.sql
    );
    Ok(json!({ "data": documents(call, &sql, &found.values)? }))
}

fn take_limit(query: &mut Params) -> Result<i64> {
    let limit = query.integer("limit")?.unwrap_or(LIMIT_DEFAULT);
    if (0..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    let message = format!("The limit is 0 to {LIMIT_MAX}.");
    Err(StripeError::invalid_param("limit", message))
}

fn documents(call: &Call<'_>, sql: &str, values: &[Sql]) -> Result<Vec<Value>> {
    let mut statement = call.db.prepare(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        let document: String = row.get(0)?;
        documents.push(serde_json::from_str(&document)?);
    }
    Ok(documents)
}
