//! Stripe's events, and the notifications of them.

use std::cmp::Reverse;

use billing::CustomerId;
use ledger::{Ledger, LedgerError, ListedEvent, Order, Progress};
use serde::Serialize;

/// Events of each of the index's 16 partitions that are read.
const EVENTS_OF_A_PARTITION: i32 = 8;
/// Those that are shown.
const SHOWN_MAX: usize = 8;

/// One of Stripe's events that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookSeen {
    /// When it was applied.
    pub applied_at: String,
    /// Stripe's id of it.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// The customer that it is about, if it is about one.
    pub customer_id: Option<CustomerId>,
}

/// Events with notifications by mail or webhook that are not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Notifications {
    /// Events of which something is to be delivered still, as far as they were read.
    pub pending: usize,
    /// Events of which something was given up, as far as they were read.
    pub dead: usize,
    /// Whether either may be more.
    pub more: bool,
}

pub(super) async fn look(
    ledger: &Ledger,
) -> Result<(Vec<WebhookSeen>, Notifications), LedgerError> {
    let at = |progress| {
        ledger.billing_events_at(progress, Order::NewestFirst, None, EVENTS_OF_A_PARTITION)
    };
    let pending = at(Progress::Pending).await?;
    let dead = at(Progress::Dead).await?;
    let settled = at(Progress::Settled).await?;
    let read_max = usize::try_from(EVENTS_OF_A_PARTITION).unwrap_or_default();
    let notifications = Notifications {
        pending: pending.len(),
        dead: dead.len(),
        more: pending.len().max(dead.len()) >= read_max,
    };
    let mut events: Vec<ListedEvent> = [pending, dead, settled].into_iter().flatten().collect();
    events.sort_by_key(|event| Reverse(event.applied_at));
    let shown = events.into_iter().take(SHOWN_MAX).map(|event| WebhookSeen {
        applied_at: event.applied_at.to_string(),
        event_id: event.stripe_event_id,
        event_type: event.event_type,
        customer_id: event.customer_id,
    });
    Ok((shown.collect(), notifications))
}
