//! Notifications by mail and webhook: which of them were given up, and how they are
//! sent after all.

use billing::Timestamp;
use ledger::{
    BillingEventRow, Channel, Delivery, DeliveryState, Ledger, LedgerError, Order, Progress,
    Updated,
};

/// Tries at an event that a run of redelivery works on.
const TRIES: u32 = 5;

/// Which deliveries of an event are sent again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// By this way alone; none for all.
    pub channel: Option<Channel>,
    /// Even those that were taken.
    pub even_sent: bool,
}

impl Wanted {
    fn has(self, delivery: &Delivery) -> bool {
        let is_over = match delivery.state {
            DeliveryState::Dead | DeliveryState::Dropped => true,
            DeliveryState::Sent => self.even_sent,
            DeliveryState::Pending => false,
        };
        is_over
            && self
                .channel
                .is_none_or(|channel| channel == delivery.channel)
    }
}

/// What became of sending an event's notifications again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resent {
    /// These are due now.
    Due(Vec<Delivery>),
    /// The event has none that are wanted.
    Nothing,
    /// There is no such event.
    Unknown,
    /// Its deliveries changed again and again.
    Busy,
}

/// Up to `limit` events that stand at `progress`, those first that stand so longest.
///
/// # Errors
/// [`LedgerError`].
pub async fn events_at(
    ledger: &Ledger,
    progress: Progress,
    limit: u16,
) -> Result<Vec<BillingEventRow>, LedgerError> {
    let order = Order::OldestFirst;
    let listed = ledger
        .billing_events_at(progress, order, None, i32::from(limit))
        .await?;
    let mut events = Vec::new();
    for event in listed.into_iter().take(usize::from(limit)) {
        events.extend(ledger.billing_event(&event.stripe_event_id).await?);
    }
    Ok(events)
}

/// Has the deliveries of `stripe_event_id` that are `wanted` tried again, from `now`
/// on and for as long as new ones.
///
/// # Errors
/// [`LedgerError`]; doing it again is safe.
pub async fn resend(
    ledger: &Ledger,
    stripe_event_id: &str,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Resent, LedgerError> {
    for _ in 0..TRIES {
        let Some(event) = ledger.billing_event(stripe_event_id).await? else {
            return Ok(Resent::Unknown);
        };
        let again =
            |delivery: &Delivery| Delivery::new(&delivery.notification_id, delivery.channel, now);
        let due: Vec<Delivery> = event
            .deliveries
            .iter()
            .filter(|delivery| wanted.has(delivery))
            .map(again)
            .collect();
        if due.is_empty() {
            return Ok(Resent::Nothing);
        }
        let deliveries = event
            .deliveries
            .iter()
            .map(|delivery| match wanted.has(delivery) {
                true => again(delivery),
                false => delivery.clone(),
            });
        let deliveries = deliveries.collect();
        if ledger.replace_deliveries(&event, deliveries).await? == Updated::Done {
            return Ok(Resent::Due(due));
        }
    }
    Ok(Resent::Busy)
}
