//! Totals and outbox as a rebuild sees them: read as a whole, and set right in a
//! slot of its own.

use billing::{CustomerId, Timestamp};

use crate::items::{Item, SCAN_PAGE_ITEMS, text};
use crate::outbox::{OutboxEntry, OutboxKey, key_in};
use crate::outbox_lease::PARTITION as LEASES;
use crate::totals_day::{TotalsDay, replacement};
use crate::usage_totals::totals_in;
use crate::{Ledger, LedgerError, ReservationRow, Reserved, Tally, Total, TotalKey, UsageEventRow};

/// The slot of what a rebuild adds to a cell. The rollup's own are digits, so the
/// two never write one item.
const REBUILT: &str = "rebuilt";

/// Where the next page of a table begins.
#[derive(Clone, Debug, PartialEq)]
pub struct PageCursor(Item);

/// A page of the totals.
#[derive(Clone, Debug)]
pub struct TotalsPage {
    /// What the rollup has counted: one entry for each cell and slot.
    pub counted: Vec<Total>,
    /// What a rebuild before has added.
    pub rebuilt: Vec<Total>,
    /// Reservations.
    pub reservations: Vec<ReservationRow>,
    /// What the sums of reservations hold: one of each customer and period.
    pub reserved: Vec<(CustomerId, Timestamp, Reserved)>,
    /// Where the next page begins; none after the last.
    pub next: Option<PageCursor>,
}

/// A page of the outbox.
#[derive(Clone, Debug)]
pub struct OutboxPage {
    /// Its entries, in no order.
    pub entries: Vec<OutboxEntry>,
    /// The keys of items that are no entry.
    pub unreadable: Vec<OutboxKey>,
    /// Where the next page begins; none after the last.
    pub next: Option<PageCursor>,
}

impl UsageEventRow {
    /// The cell of the totals that it is counted in.
    pub fn total_key(&self) -> TotalKey {
        TotalKey::of(
            self.customer_id.clone(),
            self.meter_event_name.clone(),
            self.action_type.clone(),
            self.period_start,
            self.billed_at,
            self.occurred_at,
        )
    }

    /// What it has settled of reservations, if anything: units, and the cell of
    /// the totals that they are counted in.
    pub fn settled(&self) -> Option<(TotalKey, u64)> {
        let settled = self.reservation.as_ref()?.settled.as_ref()?;
        let (customer_id, action_type) = (self.customer_id.clone(), self.action_type.clone());
        let key = settled.total_key(customer_id, action_type, self.occurred_at);
        Some((key, settled.quantity))
    }
}

fn customer_in(item: &Item) -> Option<CustomerId> {
    let customer_id = item.get("customer_id")?.as_s().ok()?;
    CustomerId::parse(customer_id).ok()
}

impl Ledger {
    /// The ARN of the audit log's stream, if it has one.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn usage_events_stream(&self) -> Result<Option<String>, LedgerError> {
        let table = &self.tables.usage_events;
        let described = self.client.describe_table().table_name(table).send().await;
        let described = described.map_err(LedgerError::unavailable("describe the audit log"))?;
        Ok(described.table.and_then(|table| table.latest_stream_arn))
    }

    /// A page of all totals, read consistently: the first, or the one after `cursor`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn scan_totals(&self, cursor: Option<PageCursor>) -> Result<TotalsPage, LedgerError> {
        let page = self
            .client
            .scan()
            .limit(SCAN_PAGE_ITEMS)
            .table_name(&self.tables.usage_totals)
            .consistent_read(true)
            .set_exclusive_start_key(cursor.map(|PageCursor(key)| key))
            .send()
            .await
            .map_err(LedgerError::unavailable("scan totals"))?;
        let (mut counted, mut rebuilt) = (Vec::new(), Vec::new());
        let (mut reservations, mut reserved) = (Vec::new(), Vec::new());
        for item in page.items.unwrap_or_default() {
            if let Some(row) = ReservationRow::from_item(&item) {
                reservations.push(row?);
                continue;
            }
            if let Some(sum) = Reserved::from_item(&item) {
                reserved.extend(customer_in(&item).map(|it| (it, sum.0, sum.1)));
                continue;
            }
            for (slot, total) in totals_in(&item) {
                let totals = if slot == REBUILT {
                    &mut rebuilt
                } else {
                    &mut counted
                };
                totals.push(total);
            }
        }
        Ok(TotalsPage {
            counted,
            rebuilt,
            reservations,
            reserved,
            next: page.last_evaluated_key.map(PageCursor),
        })
    }

    /// Sets what a rebuild adds to the cell `key` to `tally`, whatever it was.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps set.
    pub async fn set_rebuilt_total(
        &self,
        key: &TotalKey,
        tally: &Tally,
    ) -> Result<(), LedgerError> {
        let (day, hour) = TotalsDay::of(key);
        let (expression, values) = replacement(hour, tally);
        self.client
            .update_item()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(day.customer_id.as_str()))
            .key("total_key", text(day.sort_key(REBUILT)))
            .update_expression(expression)
            .set_expression_attribute_values(values)
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("set rebuilt total"))
    }

    /// A page of the whole outbox, read consistently: the first, or the one
    /// after `cursor`.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn scan_outbox(&self, cursor: Option<PageCursor>) -> Result<OutboxPage, LedgerError> {
        let page = self
            .client
            .scan()
            .limit(SCAN_PAGE_ITEMS)
            .table_name(&self.tables.outbox)
            // Redelivery's leases lie beside the entries.
            .filter_expression("#bucket <> :leases")
            .expression_attribute_names("#bucket", "bucket")
            .expression_attribute_values(":leases", text(LEASES))
            .consistent_read(true)
            .set_exclusive_start_key(cursor.map(|PageCursor(key)| key))
            .send()
            .await
            .map_err(LedgerError::unavailable("scan outbox"))?;
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        for item in page.items.unwrap_or_default() {
            let key = key_in(&item);
            match OutboxEntry::from_item(key.clone(), &item) {
                Some(entry) => entries.push(entry),
                None => unreadable.push(key),
            }
        }
        Ok(OutboxPage {
            entries,
            unreadable,
            next: page.last_evaluated_key.map(PageCursor),
        })
    }
}
