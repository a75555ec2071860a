//! Of which sending of an event Stripe's report is. It names the event alone.

use billing::{Timestamp, UsageStatus, window};
use ledger::UsageEventRow;

/// What is pending for longer may have been sent again, by redelivery.
const FIRST_SENDING_MS_MAX: i64 = 60_000;

/// The sending that Stripe refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedSending {
    /// The only one: Stripe does not have the event.
    Only,
    /// One of several, of which another may count.
    OneOfSeveral,
    /// One from before the event was redriven, or was found in Stripe: of how the
    /// event stands now the report says nothing.
    Superseded,
}

impl RefusedSending {
    /// Of `row` at `now`, by a report of what Stripe checked until `validation_end`.
    pub(crate) fn of(row: &UsageEventRow, validation_end: Timestamp, now: Timestamp) -> Self {
        let newest = validation_end.plus_ms(window::CLOCK_MARGIN_MS);
        if newest < stands_since(row) {
            Self::Superseded
        } else if is_sent_once(row, now) {
            Self::Only
        } else {
            Self::OneOfSeveral
        }
    }
}

/// What Stripe refused before this does not concern the row any more.
fn stands_since(row: &UsageEventRow) -> Timestamp {
    match row.history.as_slice() {
        // Whoever noted it without sending it knew that Stripe has it.
        [.., before, last]
            if last.status == UsageStatus::Delivered && before.status != UsageStatus::Pending =>
        {
            last.at
        }
        _ => row.first_attempt_at,
    }
}

/// Whether nobody but the call that recorded it, or redrove it from `held`, has had
/// time to send it.
fn is_sent_once(row: &UsageEventRow, now: Timestamp) -> bool {
    let mut history = row.history.iter();
    let began = history.find(|entry| entry.status == UsageStatus::Pending);
    let Some(began) = began else {
        // Imported.
        return true;
    };
    let ended_at = history.next().map_or(now, |entry| entry.at);
    let is_redriven = history.any(|entry| entry.status == UsageStatus::Pending);
    !is_redriven && row.told_at.is_empty() && ended_at.ms_since(began.at) < FIRST_SENDING_MS_MAX
}

#[cfg(test)]
mod tests {
    use UsageStatus::{Delivered, Held, Pending, Quarantined, Rejected};
    use billing::{ActionType, BillingTime, CustomerId, EventId, HeldReason, Quantity, UsageEvent};
    use ledger::HistoryEntry;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);
    const HOUR_MS: i64 = 3_600_000;

    /// An event that took on each status so many milliseconds after `NOW`, and was
    /// last recorded or redriven when it last became pending.
    fn a_row(history: &[(UsageStatus, i64)]) -> UsageEventRow {
        let event = UsageEvent {
            event_id: EventId::parse("job-1").unwrap(),
            customer_id: CustomerId::parse("cus_1").unwrap(),
            subscription_item_id: None,
            quantity: Quantity::new(1).unwrap(),
            action_type: ActionType::parse("read").unwrap(),
            occurred_at: None,
            source: None,
        };
        let held = BillingTime::Held(HeldReason::NoSubscriptionItem);
        let mut row = UsageEventRow::new(&event, NOW, held, "operations", String::new(), NOW);
        let entry = |(status, at_ms): &(UsageStatus, i64)| HistoryEntry {
            status: *status,
            at: NOW.plus_ms(*at_ms),
        };
        row.history = history.iter().map(entry).collect();
        let mut pending = row.history.iter().rev();
        let pending = pending.find(|entry| entry.status == Pending);
        row.first_attempt_at = pending.map_or(NOW, |entry| entry.at);
        row
    }

    /// By a report of what was checked until so many milliseconds after `NOW`, which
    /// comes an hour later.
    fn refused(row: &UsageEventRow, checked_ms: i64) -> RefusedSending {
        let validation_end = NOW.plus_ms(checked_ms);
        RefusedSending::of(row, validation_end, validation_end.plus_ms(HOUR_MS))
    }

    #[test]
    fn what_was_delivered_at_once_was_sent_once() {
        for history in [
            &[(Pending, 0), (Delivered, 100)][..],
            &[(Pending, 0), (Delivered, FIRST_SENDING_MS_MAX - 1)],
            &[(Held, 0), (Pending, HOUR_MS), (Delivered, HOUR_MS + 100)],
        ] {
            let row = a_row(history);
            let sent_ms = row.first_attempt_at.ms_since(NOW);
            for checked_ms in [sent_ms, sent_ms + 10_000, sent_ms + HOUR_MS] {
                assert_eq!(refused(&row, checked_ms), RefusedSending::Only);
            }
            // Stripe's clock may be behind.
            let behind = refused(&row, sent_ms - window::CLOCK_MARGIN_MS);
            assert_eq!(behind, RefusedSending::Only);
        }
    }

    #[test]
    fn what_was_pending_for_a_minute_may_have_been_sent_again() {
        for history in [
            &[(Pending, 0)][..],
            &[(Pending, 0), (Delivered, FIRST_SENDING_MS_MAX)],
            &[(Pending, 0), (Quarantined, 23 * HOUR_MS)],
        ] {
            let row = a_row(history);
            assert_eq!(refused(&row, 0), RefusedSending::OneOfSeveral);
        }
        let mut carried_over = a_row(&[(Pending, 0), (Delivered, 100)]);
        carried_over.told_at.push(NOW);
        assert_eq!(refused(&carried_over, 0), RefusedSending::OneOfSeveral);
        let still_in_its_call = a_row(&[(Pending, 0)]);
        let refused = RefusedSending::of(&still_in_its_call, NOW, NOW.plus_ms(10_000));
        assert_eq!(refused, RefusedSending::Only);
    }

    #[test]
    fn a_report_from_before_a_redrive_says_nothing_of_it() {
        let redriven_ms = 2 * HOUR_MS;
        let history = [
            (Pending, 0),
            (Delivered, 100),
            (Rejected, HOUR_MS),
            (Pending, redriven_ms),
            (Delivered, redriven_ms + 100),
        ];
        // In the middle of the redrive, and after it.
        for history in [&history[..4], &history] {
            let row = a_row(history);
            for checked_ms in [0, redriven_ms - window::CLOCK_MARGIN_MS - 1] {
                assert_eq!(refused(&row, checked_ms), RefusedSending::Superseded);
            }
            // It may be of the redrive, or of what was sent shortly before.
            for checked_ms in [redriven_ms - window::CLOCK_MARGIN_MS, redriven_ms + 10_000] {
                assert_eq!(refused(&row, checked_ms), RefusedSending::OneOfSeveral);
            }
        }
    }

    #[test]
    fn a_report_from_before_it_was_found_in_stripe_says_nothing_of_it() {
        let found_ms = 2 * HOUR_MS;
        let row = a_row(&[
            (Pending, 0),
            (Delivered, 100),
            (Quarantined, HOUR_MS),
            (Delivered, found_ms),
        ]);
        assert_eq!(refused(&row, 0), RefusedSending::Superseded);
        assert_ne!(refused(&row, found_ms), RefusedSending::Superseded);
    }
}
