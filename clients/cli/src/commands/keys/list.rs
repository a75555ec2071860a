//! `meterline keys list`.

use std::collections::HashMap;
use std::io::{self, Write};

use billing::Timestamp;
use clap::Args;
use ledger::{ApiKeyCursor, ApiKeyRow, Ledger};
use serde_json::{Value, json};

use super::super::Failure;
use super::super::table::table;

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const HEADINGS: [&str; 9] = [
    "KEY ID",
    "STATE",
    "SCOPES",
    "CUSTOMERS",
    "PER SECOND",
    "CREATED",
    "LAST USED",
    "ENDS",
    "NAME",
];
/// Customers that a line names; of more it tells the number.
const NAMED_CUSTOMERS: usize = 2;

/// A key and its last use. Of the row, only what is named below is shown: its
/// hash is not.
struct Listed {
    row: ApiKeyRow,
    last_used_at: Option<Timestamp>,
}

pub(super) async fn run(
    arguments: &ListArguments,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<(), Failure> {
    let listed = read(ledger).await?;
    let mut out = io::stdout();
    if arguments.json {
        let keys: Vec<Value> = listed.iter().map(|key| key.json(now)).collect();
        writeln!(out, "{}", json!({ "keys": keys }))?;
    } else {
        let lines: Vec<[String; 9]> = listed.iter().map(|key| key.cells(now)).collect();
        out.write_all(table(&HEADINGS, &lines).as_bytes())?;
    }
    Ok(())
}

/// All keys, oldest first.
async fn read(ledger: &Ledger) -> Result<Vec<Listed>, Failure> {
    let mut rows: Vec<ApiKeyRow> = Vec::new();
    let mut last_used_at: HashMap<String, Timestamp> = HashMap::new();
    let mut cursor = ApiKeyCursor::default();
    while let Some(page) = ledger.next_api_keys(&mut cursor).await? {
        rows.extend(page.keys);
        last_used_at.extend(page.last_used_at);
    }
    rows.sort_by(|a, b| (a.created_at, &a.key_id).cmp(&(b.created_at, &b.key_id)));
    let listed = rows.into_iter().map(|row| Listed {
        last_used_at: last_used_at.get(&row.key_id).copied(),
        row,
    });
    Ok(listed.collect())
}

impl Listed {
    fn json(&self, now: Timestamp) -> Value {
        let Self { row, last_used_at } = self;
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        json!({
            "key_id": row.key_id,
            "name": row.name,
            "state": row.state_at(now),
            "scopes": row.scopes,
            "customers": row.customers,
            "requests_per_second": row.requests_per_second,
            "created_at": row.created_at.to_string(),
            "last_used_at": text(*last_used_at),
            "expires_at": text(row.expires_at),
            "revoked_at": text(row.revoked_at),
            "rotated_from": row.rotated_from,
            "rotated_to": row.rotated_to,
        })
    }

    fn cells(&self, now: Timestamp) -> [String; 9] {
        let row = &self.row;
        let or = |at: Option<Timestamp>, absent: &str| {
            at.map_or_else(|| absent.to_owned(), |at| at.to_string())
        };
        let scopes: Vec<&str> = row.scopes.iter().map(|scope| scope.as_str()).collect();
        let customers = match row.customers.as_deref() {
            None => "all".to_owned(),
            Some(customers) if customers.len() <= NAMED_CUSTOMERS => {
                let names: Vec<&str> = customers.iter().map(|it| it.as_str()).collect();
                names.join(",")
            }
            Some(customers) => format!("{} of them", customers.len()),
        };
        let rate = row.requests_per_second;
        [
            row.key_id.clone(),
            row.state_at(now).as_str().to_owned(),
            scopes.join(","),
            customers,
            rate.map_or_else(|| "default".to_owned(), |rate| rate.get().to_string()),
            row.created_at.to_string(),
            or(self.last_used_at, "never"),
            or(row.revoked_at.or(row.expires_at), "never"),
            row.name.clone().unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{NewApiKey, Scope};

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn a_line_tells_all_but_the_hash() {
        let row = NewApiKey::generate(vec![Scope::Emit, Scope::Read], NOW)
            .unwrap()
            .row;
        let hash = row.secret_hash.clone();
        let key = Listed {
            row: ApiKeyRow {
                name: Some("agent".to_owned()),
                expires_at: Some(NOW.plus_ms(1_000)),
                ..row
            },
            last_used_at: Some(NOW),
        };
        let text = table(&HEADINGS, &[key.cells(NOW)]);
        let line = text.lines().nth(1).unwrap();
        for part in ["active", "emit,read", "all", "default", "agent"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.contains("2026-01-31T12:00:01Z"), "{line}");
        let json = key.json(NOW).to_string();
        assert!(!json.contains(&hash) && !text.contains(&hash));
        assert_eq!(key.json(NOW)["last_used_at"], "2026-01-31T12:00:00Z");
    }
}
