//! The audit log of one customer in the order in which things happened: what
//! lists, exports and followers read.
//!
//! The index `by-customer` holds a customer in 16 parts, each in that order.
//! Their heads are merged, so that a page costs what it shows, whatever the log
//! holds before and after it; and a reader goes on from a position that anybody
//! can hold.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use billing::{CustomerId, Identifier, Timestamp};
use futures_util::future::try_join_all;

use crate::items::{from_item, text};
use crate::outbox::BUCKETS;
use crate::usage_event_row::customer_bucket;
use crate::usage_log::{INDEX, READ_EVENTS_MAX, TABLE, occurred_prefix};
use crate::{IndexedUsageEvent, Ledger, LedgerError, UsageEventRow};

/// Bytes of a position: of its time, and of its identifier.
const TIME_BYTES: usize = 8;
const POSITION_BYTES: usize = TIME_BYTES + 32;

/// Past every time that a key can hold: 13 digits.
const END_MS: i64 = 9_999_999_999_999;

/// Entries of one part that a read takes at least. A dozen have about 4 kB, which
/// is what the smallest read pays for (Amazon DynamoDB Developer Guide: "Read
/// consistency and capacity units").
const PART_EVENTS_MIN: usize = 12;
/// Entries of one part that a read takes at most.
const PART_EVENTS_MAX: usize = 250;

/// In which order a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageEventOrder {
    /// What happened last comes first.
    NewestFirst,
    /// What happened first comes first.
    OldestFirst,
}

/// Where an event stands in a customer's log: by when it happened, and among
/// those of one millisecond by its identifier. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsageEventPosition {
    occurred_at: Timestamp,
    identifier: Identifier,
}

impl UsageEventPosition {
    /// Of the event `identifier` that happened at `occurred_at`.
    pub const fn new(occurred_at: Timestamp, identifier: Identifier) -> Self {
        Self {
            occurred_at,
            identifier,
        }
    }

    /// When its event happened.
    pub const fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }

    /// As a text of letters and digits, for whoever is to go on from here; none
    /// where the identifier is none that this version makes.
    pub fn to_token(&self) -> Option<String> {
        let mut bytes = self.occurred_at.unix_ms().to_be_bytes().to_vec();
        bytes.extend(self.identifier.to_bytes()?);
        Some(hex::encode(bytes))
    }

    /// Reads what [`to_token`](Self::to_token) made; none for any other text.
    pub fn from_token(token: &str) -> Option<Self> {
        let mut bytes = [0; POSITION_BYTES];
        // One position has one token.
        let is_written = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        hex::decode_to_slice(token, &mut bytes).ok()?;
        token.bytes().all(is_written).then_some(())?;
        let (time, identifier) = bytes.split_at(TIME_BYTES);
        let unix_ms = i64::from_be_bytes(time.try_into().ok()?);
        let position = Self {
            occurred_at: Timestamp::from_unix_ms(unix_ms),
            identifier: Identifier::from_bytes(identifier)?,
        };
        (0..END_MS).contains(&unix_ms).then_some(position)
    }

    /// The key of the index that it stands for.
    fn key(&self) -> String {
        format!("{}#{}", occurred_prefix(self.occurred_at), self.identifier)
    }
}

impl IndexedUsageEvent {
    /// Where it stands in its customer's log.
    pub fn position(&self) -> UsageEventPosition {
        UsageEventPosition::new(self.occurred_at, self.identifier.clone())
    }
}

impl UsageEventRow {
    /// Where it stands in its customer's log.
    pub fn position(&self) -> UsageEventPosition {
        UsageEventPosition::new(self.occurred_at, self.identifier.clone())
    }
}

/// What to read of a customer's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEventsWanted {
    /// Whose.
    pub customer_id: CustomerId,
    /// When they happened.
    pub occurred: Range<Timestamp>,
    /// In which order.
    pub order: UsageEventOrder,
    /// Only those that come after this one in that order.
    pub after: Option<UsageEventPosition>,
}

impl UsageEventsWanted {
    /// All that `customer_id` has, in `order`.
    pub const fn all(customer_id: CustomerId, order: UsageEventOrder) -> Self {
        Self {
            customer_id,
            occurred: Timestamp::from_unix_ms(0)..Timestamp::from_unix_ms(END_MS),
            order,
            after: None,
        }
    }
}

/// Reads a customer's log in order.
///
/// The index follows the table within a moment. An event that is recorded while
/// it is read, and that happened before what was read already, is not met.
pub struct UsageEventReader {
    ledger: Ledger,
    wanted: UsageEventsWanted,
    /// Entries that are asked of a part at once.
    part_events: usize,
    parts: Vec<Part>,
}

/// One of the 16 parts of a customer's log.
struct Part {
    bucket: &'static str,
    /// The key that was read last.
    after: Option<String>,
    is_at_end: bool,
    read: VecDeque<IndexedUsageEvent>,
}

impl UsageEventReader {
    /// Reads what is `wanted` of `ledger`, of which about `expected` events will
    /// be taken.
    pub fn new(ledger: Ledger, wanted: UsageEventsWanted, expected: usize) -> Self {
        let after = wanted.after.as_ref().map(UsageEventPosition::key);
        let parts = (0..BUCKETS.len()).filter_map(|at| BUCKETS.get(at..=at));
        let part = |bucket| Part {
            bucket,
            after: after.clone(),
            is_at_end: false,
            read: VecDeque::new(),
        };
        let part_events = expected / BUCKETS.len() + PART_EVENTS_MIN;
        Self {
            part_events: part_events.min(PART_EVENTS_MAX),
            parts: parts.map(part).collect(),
            ledger,
            wanted,
        }
    }

    /// The next events, `max` at most; fewer only at the log's end.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or an entry is unreadable. What was
    /// taken before stays taken: go on from the last event's position.
    pub async fn take(&mut self, max: usize) -> Result<Vec<IndexedUsageEvent>, LedgerError> {
        let mut taken = Vec::new();
        while taken.len() < max {
            match self.next().await? {
                Some(event) => taken.push(event),
                None => break,
            }
        }
        Ok(taken)
    }

    /// Whether nothing is left.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub async fn is_at_end(&mut self) -> Result<bool, LedgerError> {
        self.read_on().await?;
        Ok(self.parts.iter().all(|part| part.read.is_empty()))
    }

    async fn next(&mut self) -> Result<Option<IndexedUsageEvent>, LedgerError> {
        self.read_on().await?;
        let heads = self.parts.iter_mut().filter(|part| !part.read.is_empty());
        let order = |part: &&mut Part| part.read.front().map(IndexedUsageEvent::position);
        let first = match self.wanted.order {
            UsageEventOrder::NewestFirst => heads.max_by_key(order),
            UsageEventOrder::OldestFirst => heads.min_by_key(order),
        };
        Ok(first.and_then(|part| part.read.pop_front()))
    }

    /// Reads the parts whose heads are not known: any of them may come next.
    async fn read_on(&mut self) -> Result<(), LedgerError> {
        let (ledger, wanted, events) = (&self.ledger, &self.wanted, self.part_events);
        let unknown = self.parts.iter_mut();
        let unknown = unknown.filter(|part| part.read.is_empty() && !part.is_at_end);
        try_join_all(unknown.map(|part| part.read_on(ledger, wanted, events))).await?;
        Ok(())
    }
}

impl Part {
    async fn read_on(
        &mut self,
        ledger: &Ledger,
        wanted: &UsageEventsWanted,
        events: usize,
    ) -> Result<(), LedgerError> {
        while self.read.is_empty() && !self.is_at_end {
            self.read_page(ledger, wanted, events).await?;
        }
        Ok(())
    }

    async fn read_page(
        &mut self,
        ledger: &Ledger,
        wanted: &UsageEventsWanted,
        events: usize,
    ) -> Result<(), LedgerError> {
        let Some((first, last)) = self.bounds(wanted) else {
            self.is_at_end = true;
            return Ok(());
        };
        // The bound itself is read once more, and passed over.
        let limit = events.saturating_add(1);
        let page = ledger
            .client
            .query()
            .table_name(&ledger.tables.usage_events)
            .index_name(INDEX)
            .key_condition_expression(
                "customer_bucket = :bucket AND occurred_key BETWEEN :first AND :last",
            )
            .expression_attribute_values(
                ":bucket",
                text(customer_bucket(&wanted.customer_id, self.bucket)),
            )
            .expression_attribute_values(":first", text(first))
            .expression_attribute_values(":last", text(last))
            .scan_index_forward(wanted.order == UsageEventOrder::OldestFirst)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(LedgerError::unavailable("list usage events"))?;
        self.is_at_end = page.last_evaluated_key.is_none();
        for item in page.items.unwrap_or_default() {
            let event: IndexedUsageEvent = from_item(TABLE, item)?;
            let key = event.position().key();
            if self.after.as_ref() != Some(&key) {
                self.read.push_back(event);
            }
            self.after = Some(key);
        }
        Ok(())
    }

    /// The keys that are left to read lie between these, inclusive; none where
    /// there is nothing between.
    fn bounds(&self, wanted: &UsageEventsWanted) -> Option<(String, String)> {
        let Range { start, end } = &wanted.occurred;
        let (mut first, mut last) = (occurred_prefix(*start), occurred_prefix(*end));
        match (&self.after, wanted.order) {
            (Some(after), UsageEventOrder::NewestFirst) => last = after.clone().min(last),
            (Some(after), UsageEventOrder::OldestFirst) => first = after.clone().max(first),
            (None, _) => {}
        }
        (first <= last).then_some((first, last))
    }
}

impl Ledger {
    /// The rows of `events`, in their order, read consistently. One whose row is
    /// not there is left out.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or a row is unreadable.
    pub async fn rows_in_order(
        &self,
        events: &[IndexedUsageEvent],
    ) -> Result<Vec<UsageEventRow>, LedgerError> {
        let reads = events.chunks(READ_EVENTS_MAX).map(|events| async move {
            let identifiers: Vec<Identifier> =
                events.iter().map(|it| it.identifier.clone()).collect();
            self.usage_events(&identifiers).await
        });
        let rows = try_join_all(reads).await?.into_iter().flatten();
        let mut rows: HashMap<Identifier, UsageEventRow> =
            rows.map(|row| (row.identifier.clone(), row)).collect();
        let in_order = events.iter().filter_map(|it| rows.remove(&it.identifier));
        Ok(in_order.collect())
    }
}

#[cfg(test)]
mod tests {
    use billing::EventId;

    use super::*;

    fn position(event_id: &str, unix_ms: i64) -> UsageEventPosition {
        let customer_id = CustomerId::parse("cus_1").unwrap();
        let identifier = Identifier::of(&customer_id, &EventId::parse(event_id).unwrap());
        UsageEventPosition::new(Timestamp::from_unix_ms(unix_ms), identifier)
    }

    #[test]
    fn a_position_reads_back_from_its_token_and_from_nothing_else() {
        let here = position("a", 1_769_860_800_123);
        let token = here.to_token().unwrap();
        assert_eq!(UsageEventPosition::from_token(&token), Some(here));
        let upper = token.to_uppercase();
        for other in ["", "00", &token[1..], &format!("{token}0"), "zz", &upper] {
            assert_eq!(UsageEventPosition::from_token(other), None, "{other}");
        }
        let negative = format!("ff{}", &token[2..]);
        assert_eq!(UsageEventPosition::from_token(&negative), None);
    }

    #[test]
    fn positions_are_ordered_as_the_keys_of_the_index_are() {
        let mut positions: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .flat_map(|event_id| [9, 10, 1_769_860_800_000].map(|at| position(event_id, at)))
            .collect();
        positions.sort();
        let keys: Vec<String> = positions.iter().map(UsageEventPosition::key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn nothing_lies_beyond_a_position_outside_of_the_range() {
        let wanted = |order| UsageEventsWanted {
            occurred: Timestamp::from_unix_ms(1_000)..Timestamp::from_unix_ms(2_000),
            ..UsageEventsWanted::all(CustomerId::parse("cus_1").unwrap(), order)
        };
        let part = |at| Part {
            bucket: "0",
            after: Some(position("a", at).key()),
            is_at_end: false,
            read: VecDeque::new(),
        };
        for (order, at, is_any) in [
            (UsageEventOrder::NewestFirst, 999, false),
            (UsageEventOrder::NewestFirst, 1_500, true),
            (UsageEventOrder::NewestFirst, 2_500, true),
            (UsageEventOrder::OldestFirst, 999, true),
            (UsageEventOrder::OldestFirst, 2_500, false),
        ] {
            let bounds = part(at).bounds(&wanted(order));
            assert_eq!(bounds.is_some(), is_any, "{order:?} {at}");
        }
    }
}
