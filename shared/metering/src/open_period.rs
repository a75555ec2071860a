//! Late sendings: an event that is sent again hours after it was recorded must
//! not land in a period whose invoice has become final meanwhile.

use billing::{BillingTime, Timestamp, UsageStatus};
use ledger::{CarriedOver, Ledger, LedgerError, Transition, Transitioned, UsageEventRow};

use crate::KnownCustomer;

/// For how long after a period's end its invoice is surely still a draft, which
/// late usage is added to. Stripe keeps it one for about an hour at least
/// (Stripe documentation: "Automatically finalize invoices"); a quarter is kept
/// back for clocks and for the sending.
const DRAFT_MS_MIN: i64 = 45 * 60_000;

/// What is to be done with a pending event before it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// Its period is open, or its invoice a draft.
    Keep,
    /// It is billed in the current period instead.
    CarryOver {
        billed_at: Timestamp,
        period_start: Timestamp,
    },
    /// No period is open. Stripe may have it from an earlier sending, so it is
    /// not held either: only `reconcile` may say what Stripe has.
    Quarantine,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It can be sent as the row says now.
    Billable(Box<UsageEventRow>),
    /// It must not be sent: it has this status now.
    Settled(UsageStatus),
}

/// Makes sure that the pending `row` of `customer` still has a time that will
/// be billed: carries it into the current period where its own is over, and
/// quarantines it where there is none. `at` is the present in real time.
///
/// Stripe dedupes by the identifier alone, whatever the timestamp. Where an
/// earlier sending arrived after all, that one counts and this one does not.
///
/// # Errors
/// [`LedgerError`] where DynamoDB fails: the event stays as it is.
pub async fn keep_billable(
    ledger: &Ledger,
    row: Box<UsageEventRow>,
    customer: &KnownCustomer,
    at: Timestamp,
) -> Result<Kept, LedgerError> {
    match placement(&row, customer) {
        Placement::Keep => Ok(Kept::Billable(row)),
        Placement::CarryOver {
            billed_at,
            period_start,
        } => {
            let carried_over = ledger
                .carry_over_usage_event(&row, billed_at, period_start)
                .await?;
            match carried_over {
                CarriedOver::Done => Ok(Kept::Billable(Box::new(UsageEventRow {
                    billed_at: Some(billed_at),
                    period_start: Some(period_start),
                    carried_over: true,
                    ..*row
                }))),
                CarriedOver::Changed => reread(ledger, &row).await,
            }
        }
        Placement::Quarantine => {
            let transition = Transition {
                from: UsageStatus::Pending,
                to: UsageStatus::Quarantined,
                at,
                stripe_code: None,
            };
            let quarantined = ledger.transition_usage_event(&row.identifier, transition);
            Ok(Kept::Settled(match quarantined.await? {
                Transitioned::Done => {
                    tracing::error!(
                        identifier = %row.identifier,
                        customer_id = %row.customer_id,
                        quantity = row.quantity,
                        "usage is quarantined: its subscription has no open period left"
                    );
                    UsageStatus::Quarantined
                }
                Transitioned::NoSuchEvent => UsageStatus::Quarantined,
                Transitioned::Was(status) => status,
            }))
        }
    }
}

/// Somebody was faster: the row as they left it.
async fn reread(ledger: &Ledger, row: &UsageEventRow) -> Result<Kept, LedgerError> {
    Ok(match ledger.usage_event(&row.identifier).await? {
        Some(row) if row.status == UsageStatus::Pending => Kept::Billable(Box::new(row)),
        Some(row) => Kept::Settled(row.status),
        None => Kept::Settled(row.status),
    })
}

fn placement(row: &UsageEventRow, customer: &KnownCustomer) -> Placement {
    let Some(period_start) = row.period_start else {
        return Placement::Keep;
    };
    let known = &customer.row;
    let period_end = if period_start < known.period_start {
        known.period_start
    } else {
        known.subscription_ends_at.map_or(known.period_end, |end| {
            // Canceled in its period: nothing is invoiced at the period's end.
            end.min(known.period_end)
        })
    };
    if customer.now < period_end.plus_ms(DRAFT_MS_MIN) {
        return Placement::Keep;
    }
    match known.billing_time(row.occurred_at, customer.now) {
        BillingTime::Billable {
            billed_at,
            period_start,
            ..
        } => Placement::CarryOver {
            billed_at,
            period_start,
        },
        BillingTime::Held(_) => Placement::Quarantine,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use billing::{ActionType, Currency, CustomerId, EventId, Quantity, UsageEvent};
    use ledger::{CustomerRow, CustomerStatus};

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const START: Timestamp = Timestamp::from_unix_s(1_769_860_800);
    const END: Timestamp = START.plus_ms(30 * 24 * HOUR_MS);
    const NEXT_END: Timestamp = END.plus_ms(30 * 24 * HOUR_MS);

    /// In the period from `START` to `END`, as the tables know it.
    fn a_customer(now: Timestamp) -> KnownCustomer {
        let row = CustomerRow {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            external_id: None,
            subscription_id: "sub_1".to_owned(),
            subscription_item_id: "si_1".to_owned(),
            price_id: "price_1".to_owned(),
            unit_amount_decimal: "1".to_owned(),
            currency: Currency::parse("usd").unwrap(),
            meter_id: "mtr_1".to_owned(),
            meter_event_name: "operations".to_owned(),
            subscription_started_at: START,
            subscription_ends_at: None,
            period_start: START,
            period_end: END,
            status: CustomerStatus::Active,
            test_clock: None,
            version: 1,
            created_at: START,
        };
        KnownCustomer {
            row: Arc::new(row),
            now,
        }
    }

    fn with(customer: KnownCustomer, change: impl FnOnce(&mut CustomerRow)) -> KnownCustomer {
        let mut row = (*customer.row).clone();
        change(&mut row);
        KnownCustomer {
            row: Arc::new(row),
            ..customer
        }
    }

    /// Recorded an hour before the period's end.
    fn a_row() -> UsageEventRow {
        let event = UsageEvent {
            event_id: EventId::parse("job-1").unwrap(),
            customer_id: CustomerId::parse("cus_1").unwrap(),
            subscription_item_id: None,
            quantity: Quantity::new(1).unwrap(),
            action_type: ActionType::parse("read").unwrap(),
            occurred_at: None,
        };
        let at = END.plus_ms(-HOUR_MS);
        let billing_time = a_customer(at).row.billing_time(at, at);
        UsageEventRow::new(&event, at, billing_time, "operations", String::new(), at)
    }

    #[test]
    fn an_open_period_and_a_draft_keep_the_event() {
        for now in [END.plus_ms(-1), END, END.plus_ms(DRAFT_MS_MIN - 1)] {
            assert_eq!(placement(&a_row(), &a_customer(now)), Placement::Keep);
        }
    }

    #[test]
    fn past_the_draft_the_event_is_billed_in_the_current_period() {
        let now = END.plus_ms(DRAFT_MS_MIN);
        let moved = with(a_customer(now), |row| {
            row.period_start = END;
            row.period_end = NEXT_END;
        });
        // Whether or not the customer's row has moved on yet.
        for customer in [a_customer(now), moved] {
            let carried_over = Placement::CarryOver {
                billed_at: now,
                period_start: END,
            };
            assert_eq!(placement(&a_row(), &customer), carried_over);
        }
    }

    #[test]
    fn after_the_subscriptions_end_it_is_left_to_reconcile() {
        let now = END.plus_ms(DRAFT_MS_MIN);
        let ended = with(a_customer(now), |row| row.subscription_ends_at = Some(END));
        assert_eq!(placement(&a_row(), &ended), Placement::Quarantine);
        // Canceled in the period, which Stripe then does not invoice at its end.
        let canceled_at = END.plus_ms(-HOUR_MS + 1);
        let canceled = |now| {
            with(a_customer(now), |row| {
                row.subscription_ends_at = Some(canceled_at);
            })
        };
        let last = canceled_at.plus_ms(DRAFT_MS_MIN);
        assert_eq!(placement(&a_row(), &canceled(last)), Placement::Quarantine);
        let before = canceled(last.plus_ms(-1));
        assert_eq!(placement(&a_row(), &before), Placement::Keep);
    }
}
