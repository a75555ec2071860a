//! Pages of a customer's log: each bounded in what it shows and in what it looks
//! at, and the next one going on exactly where it ended.

use billing::CustomerId;
use ledger::{
    IndexedUsageEvent, Ledger, LedgerError, READ_EVENTS_MAX, UsageEventOrder, UsageEventPosition,
    UsageEventReader, UsageEventRow,
};

use crate::filter::EventFilter;

/// What a page may hold and cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    /// Events on it, at most.
    pub events: usize,
    /// Events that are looked at for it, at most, whether they are meant or not.
    pub looked_at: usize,
}

/// A page of a customer's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in order. There may be fewer than asked for, or none, and
    /// more on the next page all the same: what is looked at is bounded.
    pub events: Vec<UsageEventRow>,
    /// After which event the next page begins; none where there is no more.
    pub next: Option<UsageEventPosition>,
}

/// The page of the log of `customer_id` that follows `after` in `order`, of the
/// events that `filter` means.
///
/// # Errors
/// [`LedgerError`] where DynamoDB fails or a row is unreadable.
pub async fn read_page(
    ledger: &Ledger,
    customer_id: &CustomerId,
    filter: &EventFilter,
    order: UsageEventOrder,
    after: Option<UsageEventPosition>,
    bounds: PageBounds,
) -> Result<EventPage, LedgerError> {
    let wanted = filter.wanted(customer_id.clone(), order, after.clone());
    let mut reader = UsageEventReader::new(ledger.clone(), wanted, bounds.events);
    let mut events = Vec::new();
    let mut next = after;
    let mut left = bounds.looked_at;
    while events.len() < bounds.events && left > 0 {
        let missing = bounds.events - events.len();
        let most = if filter.is_of_index() {
            missing
        } else {
            missing.max(READ_EVENTS_MAX)
        };
        let looked_at = reader.take(most.min(left)).await?;
        let Some(last) = looked_at.last().map(IndexedUsageEvent::position) else {
            return Ok(EventPage { events, next: None });
        };
        left -= looked_at.len();
        let candidates = looked_at.into_iter().filter(|it| filter.may_take(it));
        let candidates: Vec<IndexedUsageEvent> = candidates.collect();
        let rows = ledger.rows_in_order(&candidates).await?;
        let meant = rows.into_iter().filter(|row| filter.takes(row));
        events.extend(meant.take(missing));
        let is_full = events.len() == bounds.events;
        let cut = events
            .last()
            .filter(|_| is_full)
            .map(UsageEventRow::position);
        if let Some(cut) = cut.filter(|cut| *cut != last) {
            return Ok(EventPage {
                events,
                next: Some(cut),
            });
        }
        next = Some(last);
    }
    let next = if reader.is_at_end().await? {
        None
    } else {
        next
    };
    Ok(EventPage { events, next })
}
