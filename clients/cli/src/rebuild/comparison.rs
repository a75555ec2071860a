//! What totals and outbox should hold by the audit log, and what they hold.

use std::collections::BTreeMap;
use std::fmt;

use ledger::{OutboxEntry, OutboxKey, Tally, Total, TotalKey, UsageEventRow};

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
    due_entries: BTreeMap<OutboxKey, OutboxEntry>,
    entries: BTreeMap<OutboxKey, OutboxEntry>,
    unreadable: Vec<String>,
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
    /// An event is pending and not in the outbox: nobody would send it.
    NotInOutbox(OutboxEntry),
    /// The outbox points to an event that is not pending, or not since then.
    NotPending(OutboxEntry),
    /// A row of the audit log cannot be read, and is in no total. Nobody but
    /// the operator can set it right.
    Unreadable(String),
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
                write!(
                    f,
                    "total of {} in the period {period}, hour {}, {}: {found}; the log says {due}",
                    key.customer_id,
                    key.hour,
                    key.action_type.as_str()
                )
            }
            Self::NotInOutbox(entry) => {
                write!(f, "pending and not in the outbox: {}", entry.identifier)
            }
            Self::NotPending(entry) => {
                write!(f, "in the outbox and not pending: {}", entry.identifier)
            }
            Self::Unreadable(key) => {
                write!(f, "a row of the audit log that cannot be read: {key}")
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
        if let Some(entry) = row.outbox_entry() {
            self.due_entries.insert(row.outbox_key(), entry);
        }
    }

    /// A row of the audit log that is no event.
    pub(crate) fn unreadable(&mut self, key: String) {
        self.unreadable.push(key);
    }

    pub(crate) fn counted(&mut self, total: &Total) {
        let cell = self.cells.entry(total.key.clone()).or_default();
        cell.counted.add(&total.tally);
    }

    pub(crate) fn rebuilt(&mut self, total: &Total) {
        let cell = self.cells.entry(total.key.clone()).or_default();
        cell.rebuilt.add(&total.tally);
    }

    pub(crate) fn outbox(&mut self, entry: OutboxEntry) {
        let key = OutboxKey {
            bucket: entry.bucket.clone(),
            outbox_key: entry.outbox_key.clone(),
        };
        self.entries.insert(key, entry);
    }

    /// How many events the audit log holds.
    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn differences(self) -> Vec<Difference> {
        let unreadable = self.unreadable.into_iter();
        let mut differences: Vec<_> = unreadable.map(Difference::Unreadable).collect();
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
        for (key, entry) in &self.due_entries {
            if !self.entries.contains_key(key) {
                differences.push(Difference::NotInOutbox(entry.clone()));
            }
        }
        for (key, entry) in self.entries {
            if !self.due_entries.contains_key(&key) {
                differences.push(Difference::NotPending(entry));
            }
        }
        differences
    }
}
