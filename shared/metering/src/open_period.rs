//! Late sendings: an event that is sent again hours after it was recorded must
//! not land in a period whose invoice has become final meanwhile.

use billing::{BillingTime, EndedPeriod, Timestamp, UsageStatus};
use ledger::{
    CarriedOver, Ledger, LedgerError, MeteredItem, Transition, Transitioned, UsageEventRow,
};

use crate::{CustomerDirectory, KnownCustomer};

/// Why a pending event is quarantined.
const NO_PERIOD: &str = "its subscription has no open period left";
const NO_ITEM: &str = "its subscription has no item left that bills its meter";

/// What is to be done with a pending event before it is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// Its period is open, or its invoice takes usage still.
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
    /// Its period is over, and Stripe did not tell whether its invoice is final:
    /// it stays pending, unsent.
    Waits,
    /// It must not be sent: it has this status now.
    Settled(UsageStatus),
}

/// Makes sure that the pending `row` of `customer` still has a time that will
/// be billed. Where its period is over, that period's invoice decides: a draft
/// takes it as it is; out of a final one it is carried into the current period,
/// or quarantined where there is none. `at` is the present in real time.
///
/// Stripe dedupes by the identifier alone, whatever the timestamp. Where an
/// earlier sending arrived after all, that one counts and this one does not.
///
/// # Errors
/// [`LedgerError`] where DynamoDB fails: the event stays as it is.
pub async fn keep_billable(
    customers: &CustomerDirectory,
    row: Box<UsageEventRow>,
    customer: &KnownCustomer,
    at: Timestamp,
) -> Result<Kept, LedgerError> {
    let mut item = customer.row.item_of_event(&row).cloned();
    if item.is_none() {
        // What is remembered of the customer may be from before the item.
        let current = customers.ledger().customer(&row.customer_id).await?;
        item = current.and_then(|current| current.item_of_event(&row).cloned());
    }
    let Some(item) = item else {
        // Stripe would take it and bill it never.
        return quarantine(customers.ledger(), &row, at, NO_ITEM).await;
    };
    let ended = match row.billed_at {
        // The item was taken out and added again since: as of that time nothing
        // bills it.
        Some(billed_at) if item.added_at.is_some_and(|added_at| billed_at < added_at) => {
            EndedPeriod::Final
        }
        Some(billed_at) if is_over(&row, customer) => {
            match customers.ended_period(customer, billed_at).await {
                Ok(ended) => ended,
                Err(_) => return Ok(Kept::Waits),
            }
        }
        _ => return Ok(Kept::Billable(row)),
    };
    let ledger = customers.ledger();
    match placement(&row, &item, customer, ended) {
        Placement::Keep => Ok(Kept::Billable(row)),
        Placement::CarryOver {
            billed_at,
            period_start,
        } => {
            let carried_over = ledger
                .carry_over_usage_event(&row, billed_at, period_start)
                .await?;
            match carried_over {
                CarriedOver::Done => Ok(Kept::Billable(Box::new(
                    row.carried_over_to(billed_at, period_start),
                ))),
                // Somebody was faster.
                CarriedOver::Changed(left) => Ok(match left {
                    Some(row) if row.status == UsageStatus::Pending => Kept::Billable(row),
                    Some(row) => Kept::Settled(row.status),
                    None => Kept::Settled(row.status),
                }),
            }
        }
        Placement::Quarantine => quarantine(ledger, &row, at, NO_PERIOD).await,
    }
}

async fn quarantine(
    ledger: &Ledger,
    row: &UsageEventRow,
    at: Timestamp,
    reason: &'static str,
) -> Result<Kept, LedgerError> {
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
                reason,
                "usage is quarantined"
            );
            UsageStatus::Quarantined
        }
        Transitioned::NoSuchEvent => UsageStatus::Quarantined,
        Transitioned::Was(status) => status,
    }))
}

/// Whether the period that the row is billed in is over.
fn is_over(row: &UsageEventRow, customer: &KnownCustomer) -> bool {
    let Some(period_start) = row.period_start else {
        return false;
    };
    let known = &customer.row;
    let period_end = if period_start < known.period_start {
        known.period_start
    } else {
        known.period_end
    };
    // Canceled in its period: that is over with the subscription.
    let subscription_end = known.subscription_ends_at.unwrap_or(period_end);
    customer.now >= period_end.min(subscription_end)
}

fn placement(
    row: &UsageEventRow,
    item: &MeteredItem,
    customer: &KnownCustomer,
    ended: EndedPeriod,
) -> Placement {
    if let EndedPeriod::TakesUsage { .. } = ended {
        return Placement::Keep;
    }
    let time = customer
        .row
        .billing_time(item, row.occurred_at, customer.now);
    match time {
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

    use billing::{ActionType, CustomerId, EventId, PriceTerms, Quantity, UsageEvent};
    use ledger::{CustomerRow, CustomerStatus, MeteredItem};

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
            item: MeteredItem {
                added_at: None,
                subscription_item_id: "si_1".to_owned(),
                price_id: "price_1".to_owned(),
                price: PriceTerms::per_unit("1", "usd").try_into().unwrap(),
                meter_id: "mtr_1".to_owned(),
                meter_event_name: "operations".to_owned(),
            },
            more_items: Vec::new(),
            subscription_started_at: START,
            subscription_ends_at: None,
            period_start: START,
            period_end: END,
            status: CustomerStatus::Active,
            grace_ends_at: None,
            test_clock: None,
            version: 1,
            created_at: START,
            erased_at: None,
            spending_limit: None,
            trial: None,
        };
        KnownCustomer {
            row: Arc::new(row),
            now,
        }
    }

    fn place(row: &UsageEventRow, customer: &KnownCustomer, ended: EndedPeriod) -> Placement {
        placement(row, &customer.row.item, customer, ended)
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
            source: None,
        };
        let at = END.plus_ms(-HOUR_MS);
        let billing_time = a_customer(at)
            .row
            .billing_time(&a_customer(at).row.item, at, at);
        UsageEventRow::new(&event, at, billing_time, "operations", String::new(), at)
    }

    const DRAFT: EndedPeriod = EndedPeriod::TakesUsage {
        period_start: START,
    };

    #[test]
    fn a_period_is_over_at_its_end_and_at_its_subscriptions() {
        assert!(!is_over(&a_row(), &a_customer(END.plus_ms(-1))));
        assert!(is_over(&a_row(), &a_customer(END)));
        let moved = with(a_customer(END), |row| {
            row.period_start = END;
            row.period_end = NEXT_END;
        });
        assert!(is_over(&a_row(), &moved));
        let canceled = |now| {
            with(a_customer(now), |row| {
                row.subscription_ends_at = Some(END.plus_ms(-1));
            })
        };
        assert!(is_over(&a_row(), &canceled(END.plus_ms(-1))));
        assert!(!is_over(&a_row(), &canceled(END.plus_ms(-2))));
    }

    #[test]
    fn a_draft_keeps_the_event() {
        for now in [END, END.plus_ms(70 * HOUR_MS)] {
            let placed = place(&a_row(), &a_customer(now), DRAFT);
            assert_eq!(placed, Placement::Keep);
        }
    }

    #[test]
    fn out_of_a_final_invoice_the_event_is_billed_in_the_current_period() {
        let now = END.plus_ms(1);
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
            let placed = place(&a_row(), &customer, EndedPeriod::Final);
            assert_eq!(placed, carried_over);
        }
    }

    #[test]
    fn after_the_subscriptions_end_it_is_left_to_reconcile() {
        for end in [END, END.plus_ms(-HOUR_MS + 1)] {
            let ended = with(a_customer(END), |row| row.subscription_ends_at = Some(end));
            let placed = place(&a_row(), &ended, EndedPeriod::Final);
            assert_eq!(placed, Placement::Quarantine);
            assert_eq!(place(&a_row(), &ended, DRAFT), Placement::Keep);
        }
    }
}
