//! Rows to DynamoDB items and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::LedgerError;

/// Items of a page of a scan, at most: about the megabyte that DynamoDB answers.
/// The embedded database reads all that is left for every page without it.
pub(crate) const SCAN_PAGE_ITEMS: i32 = 1_000;

/// A DynamoDB item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// Writes `row` of the kind `table` as an item.
pub(crate) fn to_item(table: &'static str, row: &impl Serialize) -> Result<Item, LedgerError> {
    serde_dynamo::to_item(row).map_err(|source| LedgerError::UnreadableItem { table, source })
}

/// Reads `item` as a row of the kind `table`.
pub(crate) fn from_item<R: DeserializeOwned>(
    table: &'static str,
    item: Item,
) -> Result<R, LedgerError> {
    serde_dynamo::from_item(item).map_err(|source| LedgerError::UnreadableItem { table, source })
}

/// A string attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
