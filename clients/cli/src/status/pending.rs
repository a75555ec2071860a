//! What waits for redelivery.

use billing::{Identifier, Timestamp, UsageStatus};
use ledger::{Ledger, LedgerError, OutboxCursor, UsageEventFound};
use serde::Serialize;

/// Entries of each of the outbox's 16 buckets that are read.
const ENTRIES_OF_A_BUCKET: i32 = 4;
/// Events of the oldest entries that are looked up.
const LOOKED_UP_MAX: usize = 25;

/// Events that are listed for redelivery. The outbox lists what *became* pending: most
/// of it was delivered since, and redelivery finds that out within a minute or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// Events in the entries that were read.
    pub listed: usize,
    /// Whether there are more entries.
    pub more: bool,
    /// Since when the oldest of those is pending that were looked up and are so still;
    /// 0 where none is.
    pub oldest_ms: i64,
}

pub(super) async fn look(ledger: &Ledger, now: Timestamp) -> Result<Pending, LedgerError> {
    let mut cursor = OutboxCursor::default();
    let read = ledger
        .next_outbox_entries(&mut cursor, now, ENTRIES_OF_A_BUCKET)
        .await?;
    let identifiers = read.entries.iter().flat_map(|entry| &entry.identifiers);
    let oldest: Vec<Identifier> = identifiers.clone().take(LOOKED_UP_MAX).cloned().collect();
    let mut oldest_ms = 0;
    if !oldest.is_empty() {
        let mut found = ledger.look_up_usage_events(&oldest).await?;
        for identifier in &oldest {
            if let Some(UsageEventFound::Row(row)) = found.take(identifier)
                && row.status == UsageStatus::Pending
            {
                oldest_ms = oldest_ms.max(now.ms_since(row.pending_since));
            }
        }
    }
    Ok(Pending {
        listed: identifiers.count(),
        more: !cursor.is_at_end(),
        oldest_ms,
    })
}
