//! Dunning: how long a customer who does not pay may go on.

use billing::{DAY_MS, Timestamp};
use ledger::CustomerStatus;
use stripe::Invoice;

use crate::status::customer_status;

/// When a customer who is past due is suspended: at the end of the grace, or
/// with so many failed attempts at one invoice, whichever comes first. Stripe's
/// own giving up (`unpaid`) suspends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DunningPolicy {
    grace_days: u16,
    failed_attempts_max: u16,
}

/// A policy out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDunningPolicy {
    /// Too long: Stripe has long given up by then.
    #[error("the grace must be 0 to {} days", DunningPolicy::GRACE_DAYS_MAX)]
    GraceDays,
    /// None would suspend everybody, at all times.
    #[error(
        "the failed attempts must be 1 to {}",
        DunningPolicy::FAILED_ATTEMPTS_MAX
    )]
    FailedAttempts,
}

impl Default for DunningPolicy {
    /// Two weeks, the time in which Stripe's smart retries are made unless they
    /// are set otherwise; or four failed attempts.
    fn default() -> Self {
        Self {
            grace_days: 14,
            failed_attempts_max: 4,
        }
    }
}

impl DunningPolicy {
    /// The longest grace.
    pub const GRACE_DAYS_MAX: u16 = 90;
    /// The most attempts that are waited for.
    pub const FAILED_ATTEMPTS_MAX: u16 = 100;

    /// A policy of these two.
    ///
    /// # Errors
    /// [`InvalidDunningPolicy`] out of bounds.
    pub const fn new(
        grace_days: u16,
        failed_attempts_max: u16,
    ) -> Result<Self, InvalidDunningPolicy> {
        if grace_days > Self::GRACE_DAYS_MAX {
            return Err(InvalidDunningPolicy::GraceDays);
        }
        if failed_attempts_max == 0 || failed_attempts_max > Self::FAILED_ATTEMPTS_MAX {
            return Err(InvalidDunningPolicy::FailedAttempts);
        }
        Ok(Self {
            grace_days,
            failed_attempts_max,
        })
    }

    /// Days that a debt may last.
    pub const fn grace_days(&self) -> u16 {
        self.grace_days
    }

    /// Failed attempts at one invoice that suspend.
    pub const fn failed_attempts_max(&self) -> u16 {
        self.failed_attempts_max
    }

    /// Where a customer stands at its time `now`, of whom `before` was known,
    /// whose subscription has Stripe's status `subscription_status` and who owes
    /// `debt`.
    pub fn standing(
        &self,
        before: CustomerStatus,
        subscription_status: &str,
        debt: Option<Debt>,
        now: Timestamp,
    ) -> Standing {
        let status = customer_status(before, subscription_status, debt.is_some());
        let Some(debt) = debt.filter(|_| status == CustomerStatus::PastDue) else {
            return Standing {
                status,
                grace_ends_at: None,
            };
        };
        let grace_ends_at = debt
            .since
            .plus_ms(i64::from(self.grace_days).saturating_mul(DAY_MS));
        let is_over =
            now >= grace_ends_at || debt.failed_attempts >= u64::from(self.failed_attempts_max);
        Standing {
            status: if is_over {
                CustomerStatus::Suspended
            } else {
                CustomerStatus::PastDue
            },
            grace_ends_at: (!is_over).then_some(grace_ends_at),
        }
    }
}

/// Where a customer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the customer may act.
    pub status: CustomerStatus,
    /// When a customer who is past due is suspended, if nothing is paid until then.
    pub grace_ends_at: Option<Timestamp>,
}

/// What a customer owes: invoices whose payment was tried and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt {
    /// When the oldest of them became final, which is when its payment was tried first.
    pub since: Timestamp,
    /// The failed attempts at that one of them at which there were most.
    pub failed_attempts: u64,
}

impl Debt {
    /// What is owed of the subscription's invoices `open`; none where nothing is.
    pub fn of<'a>(
        open: impl IntoIterator<Item = &'a Invoice>,
        subscription_id: &str,
    ) -> Option<Self> {
        let owed = open
            .into_iter()
            .filter(|invoice| is_owed(invoice, subscription_id));
        owed.map(|invoice| {
            let finalized_at = invoice.status_transitions.finalized_at;
            Self {
                since: Timestamp::from_unix_s(finalized_at.unwrap_or(invoice.created)),
                failed_attempts: invoice.attempt_count,
            }
        })
        .reduce(|one, other| Self {
            since: one.since.min(other.since),
            failed_attempts: one.failed_attempts.max(other.failed_attempts),
        })
    }
}

/// Whether its payment was tried, and failed, and is still wanted. An invoice
/// of $0 is never that.
fn is_owed(invoice: &Invoice, subscription_id: &str) -> bool {
    invoice.status.as_deref() == Some("open")
        && invoice.attempt_count > 0
        && invoice.amount_remaining > 0
        && invoice.subscription.as_deref() == Some(subscription_id)
}

#[cfg(test)]
mod tests {
    use ledger::CustomerStatus::{Active, Canceled, PastDue, Suspended};
    use serde_json::{Value, json};

    use super::*;

    const FIRST_DAY: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    fn debt(failed_attempts: u64) -> Option<Debt> {
        Some(Debt {
            since: FIRST_DAY,
            failed_attempts,
        })
    }

    /// What happened; what is known, what Stripe says, how many attempts at what
    /// is owed have failed, on which day; and what follows.
    type Case = (
        &'static str,
        CustomerStatus,
        &'static str,
        Option<u64>,
        i64,
        CustomerStatus,
    );

    #[rustfmt::skip]
    const CASES: [Case; 19] = [
        ("a first payment fails", Active, "past_due", Some(1), 0, PastDue),
        ("the second attempt fails", PastDue, "past_due", Some(2), 3, PastDue),
        ("the last attempt fails", PastDue, "past_due", Some(3), 8, Suspended),
        ("news on the grace's last day", PastDue, "past_due", Some(1), 9, PastDue),
        ("news when the grace is over", PastDue, "past_due", Some(1), 10, Suspended),
        ("the first news comes late", Active, "past_due", Some(1), 11, Suspended),
        ("Stripe gives up", PastDue, "unpaid", Some(2), 5, Suspended),
        ("Stripe pauses", Active, "paused", None, 0, Suspended),
        ("Stripe resumes", Suspended, "active", None, 0, Active),
        ("all is paid in the grace", PastDue, "active", None, 5, Active),
        ("all is paid after it", Suspended, "active", None, 30, Active),
        ("$0 is paid", Suspended, "active", Some(3), 12, Suspended),
        ("$0 is paid in the grace", PastDue, "active", Some(1), 5, PastDue),
        ("one of two is paid", Suspended, "past_due", Some(1), 2, Suspended),
        ("a first payment is under way", Active, "incomplete", None, 0, PastDue),
        ("it never comes", PastDue, "incomplete_expired", None, 1, Canceled),
        ("the subscription ends", Suspended, "canceled", Some(3), 20, Canceled),
        ("an old event after the end", Canceled, "canceled", None, 20, Canceled),
        ("a word that nobody knows", PastDue, "resting", Some(1), 1, PastDue),
    ];

    /// Under ten days of grace and three attempts.
    #[test]
    fn what_was_and_what_stripe_says_decide() {
        let policy = DunningPolicy::new(10, 3).unwrap();
        for (event, before, stripe, failed_attempts, day, after) in CASES {
            let owed = failed_attempts.and_then(debt);
            let now = FIRST_DAY.plus_ms(day * DAY_MS);
            let standing = policy.standing(before, stripe, owed, now);
            assert_eq!(standing.status, after, "{event}");
            let has_grace = after == PastDue && owed.is_some();
            let end = has_grace.then(|| FIRST_DAY.plus_ms(10 * DAY_MS));
            assert_eq!(standing.grace_ends_at, end, "{event}");
        }
    }

    #[test]
    fn no_grace_suspends_with_the_first_failure() {
        let policy = DunningPolicy::new(0, 100).unwrap();
        let standing = policy.standing(Active, "past_due", debt(1), FIRST_DAY);
        assert_eq!(standing.status, Suspended);
    }

    #[test]
    fn a_policy_has_bounds() {
        assert_eq!(
            DunningPolicy::new(91, 1),
            Err(InvalidDunningPolicy::GraceDays)
        );
        for attempts in [0, 101] {
            assert_eq!(
                DunningPolicy::new(0, attempts),
                Err(InvalidDunningPolicy::FailedAttempts)
            );
        }
    }

    fn invoice(changes: &Value) -> Invoice {
        let mut invoice = json!({
            "id": "in_1", "object": "invoice", "customer": "cus_1", "status": "open",
            "currency": "usd", "amount_due": 2_010, "amount_paid": 0, "amount_remaining": 2_010,
            "total": 2_010, "period_start": 0, "period_end": 0, "created": 7, "attempt_count": 1,
            "parent": { "subscription_details": { "subscription": "sub_1" } },
        });
        for (name, value) in changes.as_object().unwrap() {
            invoice[name] = value.clone();
        }
        serde_json::from_value(invoice).unwrap()
    }

    #[test]
    fn only_an_open_invoice_whose_payment_failed_is_owed() {
        assert!(is_owed(&invoice(&json!({})), "sub_1"));
        assert!(!is_owed(&invoice(&json!({})), "sub_2"));
        for changes in [
            json!({ "status": "paid", "amount_remaining": 0 }),
            json!({ "status": "draft" }),
            json!({ "status": "void" }),
            json!({ "status": "uncollectible" }),
            json!({ "attempt_count": 0 }),
            json!({ "amount_due": 0, "amount_remaining": 0 }),
            json!({ "parent": null }),
        ] {
            assert!(!is_owed(&invoice(&changes), "sub_1"), "{changes}");
        }
    }

    #[test]
    fn a_debt_is_as_old_as_its_oldest_invoice_and_as_often_refused_as_its_worst() {
        let paid = invoice(&json!({ "status": "paid" }));
        assert_eq!(Debt::of([&paid], "sub_1"), None);
        let old = invoice(&json!({ "status_transitions": { "finalized_at": 3_600 } }));
        let refused = invoice(&json!({
            "attempt_count": 3, "status_transitions": { "finalized_at": 7_200 },
        }));
        let all = Debt {
            since: Timestamp::from_unix_s(3_600),
            failed_attempts: 3,
        };
        assert_eq!(Debt::of([&paid, &refused, &old], "sub_1"), Some(all));
        let undated = Debt::of([&invoice(&json!({}))], "sub_1").unwrap();
        assert_eq!(undated.since, Timestamp::from_unix_s(7));
    }
}
