//! The audit log, read from one end to the other: for the operator's commands,
//! on the operator's machine. No function scans.

use billing::{CustomerId, UsageStatus};

use crate::items::{Item, SCAN_PAGE_ITEMS, from_item, text};
use crate::{Ledger, LedgerError, UsageEventRow};

const TABLE: &str = "usage-events";

/// Which events of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageEventFilter {
    /// Only those in this status.
    pub status: Option<UsageStatus>,
    /// Only this customer's.
    pub customer_id: Option<CustomerId>,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageEventCursor(Item);

/// A page of the audit log, in no order.
#[derive(Clone, Debug)]
pub struct UsageEventPage {
    /// The events that the filter lets through; perhaps none on this page.
    pub rows: Vec<UsageEventRow>,
    /// The keys of items that are no event, and were let through all the same.
    pub unreadable: Vec<String>,
    /// How many were looked at.
    pub scanned: u64,
    /// Where the next page begins; none after the last.
    pub next: Option<UsageEventCursor>,
}

impl Ledger {
    /// A page of the audit log, read consistently: the first, or the one after
    /// `cursor`. It holds up to a megabyte of what is looked at.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn scan_usage_events(
        &self,
        filter: &UsageEventFilter,
        cursor: Option<UsageEventCursor>,
    ) -> Result<UsageEventPage, LedgerError> {
        let mut conditions = Vec::new();
        let mut scan = self
            .client
            .scan()
            .limit(SCAN_PAGE_ITEMS)
            .table_name(&self.tables.usage_events)
            .consistent_read(true)
            .set_exclusive_start_key(cursor.map(|UsageEventCursor(key)| key));
        if let Some(status) = filter.status {
            conditions.push("#status = :status");
            scan = scan
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":status", text(status.as_str()));
        }
        if let Some(customer_id) = &filter.customer_id {
            conditions.push("customer_id = :customer");
            scan = scan.expression_attribute_values(":customer", text(customer_id.as_str()));
        }
        let condition = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        let page = scan
            .set_filter_expression(condition)
            .send()
            .await
            .map_err(LedgerError::unavailable("scan usage events"))?;
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for item in page.items.unwrap_or_default() {
            let key = item.get("identifier").and_then(|key| key.as_s().ok());
            let key = key.cloned().unwrap_or_default();
            match from_item(TABLE, item) {
                Ok(row) => rows.push(row),
                Err(_) => unreadable.push(key),
            }
        }
        Ok(UsageEventPage {
            rows,
            unreadable,
            scanned: u64::try_from(page.scanned_count).unwrap_or_default(),
            next: page.last_evaluated_key.map(UsageEventCursor),
        })
    }
}
