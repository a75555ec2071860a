//! What totals and outbox should hold by the audit log, and what they hold.

use std::collections::BTreeMap;
use std::fmt;

use billing::{CustomerId, Identifier, Timestamp, UsageStatus};
use ledger::{
    OutboxEntry, OutboxKey, ReservationRow, ReservationState, Reserved, Tally, Total, TotalKey,
    UsageEventRow,
};

/// A cell of the totals.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// By the audit log.
    due: Tally,
    /// By the rollup, over all slots.
    counted: Tally,
    /// By rebuilds before.
    rebuilt: Tally,
}

/// Collects both sides, one item at a time.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    events: u64,
    cells: BTreeMap<TotalKey, Cell>,
    /// What is pending, and since when.
    pending: BTreeMap<Identifier, Timestamp>,
    /// What the outbox lists: the time of the last entry that does.
    listed: BTreeMap<Identifier, Timestamp>,
    /// What should be reserved of each period, and what is.
    reserved: BTreeMap<(CustomerId, Timestamp), Sums>,
    unreadable: Vec<Difference>,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    due: Reserved,
    found: Option<Reserved>,
}

/// Something that is not as the audit log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A cell of the totals.
    Total {
        /// The cell.
        key: TotalKey,
        /// What it should hold.
        due: Tally,
        /// What it holds.
        found: Tally,
        /// What a rebuild has to add to what the rollup counted.
        to_add: Tally,
    },
    /// The sum of what is reserved of a customer's period.
    Reserved {
        /// Whose.
        customer_id: CustomerId,
        /// The start of the period.
        period_start: Timestamp,
        /// What it should be: held reservations, and those that usage has settled.
        due: Reserved,
        /// What it is; none where there is no such row.
        found: Option<Reserved>,
    },
    /// An event is pending and not in the outbox: nobody would send it.
    NotInOutbox {
        /// The event.
        identifier: Identifier,
        /// Since when.
        pending_since: Timestamp,
    },
    /// A row of the audit log cannot be read, and is in no total. Nobody but
    /// the operator can set it right.
    Unreadable(String),
    /// An entry of the outbox cannot be read. What of it is pending is told
    /// as missing; the entry is the operator's to remove.
    UnreadableEntry(OutboxKey),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total {
                key, due, found, ..
            } => {
                let period = key
                    .period_start
                    .map_or_else(|| "held".to_owned(), |at| at.to_string());
                let (meter, action_type) = (&key.meter_event_name, key.action_type.as_str());
                let action = match meter.is_empty() {
                    true => action_type.to_owned(),
                    false => format!("{action_type} by {meter}"),
                };
                write!(
                    f,
                    "total of {} in the period {period}, hour {}, {action}: {found}; \
                     the log says {due}",
                    key.customer_id, key.hour,
                )
            }
            Self::Reserved {
                customer_id,
                period_start,
                due,
                found,
            } => {
                let found = found.as_ref().map_or(0, |found| found.units);
                write!(
                    f,
                    "reservations of {customer_id} in the period {period_start}: {found} units \
                     in sum; one by one they are {}",
                    due.units
                )
            }
            Self::NotInOutbox { identifier, .. } => {
                write!(f, "pending and not in the outbox: {identifier}")
            }
            Self::Unreadable(key) => {
                write!(f, "a row of the audit log that cannot be read: {key}")
            }
            Self::UnreadableEntry(OutboxKey { bucket, outbox_key }) => {
                write!(
                    f,
                    "an entry of the outbox that cannot be read: {bucket}/{outbox_key}"
                )
            }
        }
    }
}

impl Comparison {
    /// An event of the audit log.
    pub(crate) fn log(&mut self, row: &UsageEventRow) {
        self.events = self.events.saturating_add(1);
        let cell = self.cells.entry(row.total_key()).or_default();
        cell.due.enter(row.status, row.quantity);
        if let Some((key, units)) = row.settled() {
            if let Some(period_start) = key.period_start {
                let sums = self.sums(key.customer_id.clone(), period_start);
                sums.due.add(&key.meter_event_name, units);
            }
            self.cells.entry(key).or_default().due.settle(units);
        }
        if row.status == UsageStatus::Pending {
            self.pending
                .insert(row.identifier.clone(), row.pending_since);
        }
    }

    /// A row of the audit log that is no event.
    pub(crate) fn unreadable(&mut self, key: String) {
        self.unreadable.push(Difference::Unreadable(key));
    }

    pub(crate) fn counted(&mut self, total: &Total) {
        let cell = self.cells.entry(total.key.clone()).or_default();
        cell.counted.add(&total.tally);
    }

    pub(crate) fn rebuilt(&mut self, total: &Total) {
        let cell = self.cells.entry(total.key.clone()).or_default();
        cell.rebuilt.add(&total.tally);
    }

    /// A reservation. One that has ended holds nothing; what settled it is in the log.
    pub(crate) fn reservation(&mut self, row: &ReservationRow) {
        if row.state == ReservationState::Held {
            let sums = self.sums(row.customer_id.clone(), row.period_start);
            sums.due.add(&row.meter_event_name, row.quantity);
        }
    }

    /// The sum of what is reserved of a period.
    pub(crate) fn reserved(
        &mut self,
        customer_id: CustomerId,
        period_start: Timestamp,
        found: Reserved,
    ) {
        self.sums(customer_id, period_start).found = Some(found);
    }

    fn sums(&mut self, customer_id: CustomerId, period_start: Timestamp) -> &mut Sums {
        self.reserved
            .entry((customer_id, period_start))
            .or_default()
    }

    /// An entry of the outbox. It may list what is pending no more.
    pub(crate) fn outbox(&mut self, entry: OutboxEntry) {
        let since = entry.pending_since;
        for identifier in entry.identifiers {
            let last = self.listed.entry(identifier).or_insert(since);
            *last = since.max(*last);
        }
    }

    pub(crate) fn unreadable_entry(&mut self, key: OutboxKey) {
        self.unreadable.push(Difference::UnreadableEntry(key));
    }

    /// How many events the audit log holds.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn differences(self) -> Vec<Difference> {
        let mut differences = self.unreadable;
        for (key, cell) in self.cells {
            let mut found = cell.counted.clone();
            found.add(&cell.rebuilt);
            if found != cell.due {
                let mut to_add = cell.due.clone();
                to_add.subtract(&cell.counted);
                differences.push(Difference::Total {
                    key,
                    due: cell.due,
                    found,
                    to_add,
                });
            }
        }
        for ((customer_id, period_start), Sums { due, found }) in self.reserved {
            if !due.equals(&found.clone().unwrap_or_default()) {
                differences.push(Difference::Reserved {
                    customer_id,
                    period_start,
                    due,
                    found,
                });
            }
        }
        // Redelivery takes an entry's word only for what was pending when it
        // was made.
        let listed = &self.listed;
        let is_missing = |(identifier, since): &(Identifier, Timestamp)| {
            listed.get(identifier).is_none_or(|last| last < since)
        };
        let missing = self.pending.into_iter().filter(is_missing);
        differences.extend(
            missing.map(|(identifier, pending_since)| Difference::NotInOutbox {
                identifier,
                pending_since,
            }),
        );
        differences
    }
}
