//! What the outbox lists.

use std::collections::HashMap;

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{OutboxEntry, OutboxKey, UsageEventRow};

/// An event that the outbox lists.
pub(crate) struct Listed<'a> {
    /// Of the entry with the latest time among those that list it.
    pub(crate) key: &'a OutboxKey,
    pub(crate) identifier: &'a Identifier,
    /// When the last of that entry's events became pending.
    pub(crate) since: Timestamp,
}

impl<'a> Listed<'a> {
    /// What `entries` list, each once: an event that became pending again is in
    /// several.
    pub(crate) fn all(entries: &'a [OutboxEntry]) -> Vec<Self> {
        let mut places: HashMap<&Identifier, usize> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        for entry in entries {
            let (key, since) = (&entry.key, entry.pending_since);
            for identifier in &entry.identifiers {
                let place = *places.entry(identifier).or_insert(all.len());
                match all.get_mut(place) {
                    // Not the last one read: an entry's place says when it is
                    // due, which is earlier where a clock was ahead, or for a rebuild.
                    Some(listed) if listed.since < since => {
                        (listed.key, listed.since) = (key, since);
                    }
                    Some(_) => {}
                    None => all.push(Self {
                        key,
                        identifier,
                        since,
                    }),
                }
            }
        }
        all
    }

    /// Whether `row` is pending, and became so no later than any entry that lists
    /// it says: what became so later is listed by another.
    pub(crate) fn is_still(&self, row: &UsageEventRow) -> bool {
        row.status == UsageStatus::Pending && row.pending_since <= self.since
    }
}
