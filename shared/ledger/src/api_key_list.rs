//! Every API key, page by page: for the operator's commands. No function of
//! Meterline reads the whole table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::Timestamp;
use serde::Deserialize;

use crate::api_keys::TABLE;
use crate::items::{Item, SCAN_PAGE_ITEMS, from_item};
use crate::request_rate::COUNTER_PREFIX;
use crate::{ApiKeyRow, Ledger, LedgerError};

/// How far a reader of the keys' table has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiKeyCursor {
    last_key: Option<Item>,
    is_at_end: bool,
}

/// Part of the keys' table. A key and its last use can be on different pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeyPage {
    /// Keys.
    pub keys: Vec<ApiKeyRow>,
    /// When keys were last used, by id, give or take [`RATE_WINDOW_MS`]: none
    /// for a key that never was.
    ///
    /// [`RATE_WINDOW_MS`]: crate::RATE_WINDOW_MS
    pub last_used_at: HashMap<String, Timestamp>,
}

/// What counts a key's requests, as far as it tells of its use.
#[derive(Deserialize)]
struct Counter {
    key_id: String,
    last_used_at: Timestamp,
}

impl Ledger {
    /// The next part of the keys' table after `cursor`, in no order; none where
    /// all of it has been read. `cursor` moves on.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn next_api_keys(
        &self,
        cursor: &mut ApiKeyCursor,
    ) -> Result<Option<ApiKeyPage>, LedgerError> {
        if cursor.is_at_end {
            return Ok(None);
        }
        let scanned = self
            .client
            .scan()
            .table_name(&self.tables.api_keys)
            .consistent_read(true)
            .set_exclusive_start_key(cursor.last_key.take())
            .limit(SCAN_PAGE_ITEMS)
            .send()
            .await
            .map_err(LedgerError::unavailable("list API keys"))?;
        cursor.is_at_end = scanned.last_evaluated_key.is_none();
        cursor.last_key = scanned.last_evaluated_key;
        let mut page = ApiKeyPage::default();
        for item in scanned.items.unwrap_or_default() {
            if !is_counter(&item) {
                page.keys.push(from_item(TABLE, item)?);
                continue;
            }
            let counter: Counter = from_item(TABLE, item)?;
            let key_id = counter.key_id.trim_start_matches(COUNTER_PREFIX);
            page.last_used_at
                .insert(key_id.to_owned(), counter.last_used_at);
        }
        Ok(Some(page))
    }
}

fn is_counter(item: &Item) -> bool {
    matches!(
        item.get("key_id"),
        Some(AttributeValue::S(key)) if key.starts_with(COUNTER_PREFIX)
    )
}
