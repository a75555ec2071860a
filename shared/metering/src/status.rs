//! Whether a customer may act, read off Stripe's current state.

use ledger::CustomerStatus;

/// A customer's status by the current `subscription_status` of Stripe (Stripe
/// API reference: Subscriptions, `status`), where `before` is what was known
/// and `owes` says whether an invoice of the subscription is open whose payment
/// was tried and failed.
///
/// Stripe calls a subscription active as soon as its *latest* invoice is
/// settled, one of $0 among them. So while anything is owed, active means no
/// more than Stripe tries again, and nobody is let back in.
pub fn customer_status(
    before: CustomerStatus,
    subscription_status: &str,
    owes: bool,
) -> CustomerStatus {
    match subscription_status {
        "active" | "trialing" if !owes => CustomerStatus::Active,
        "active" | "trialing" | "past_due" => match before {
            // Stripe had given up; only what is owed, paid, undoes that.
            CustomerStatus::Suspended if owes => CustomerStatus::Suspended,
            _ => CustomerStatus::PastDue,
        },
        // The first payment is under way.
        "incomplete" => CustomerStatus::PastDue,
        "unpaid" | "paused" => CustomerStatus::Suspended,
        "canceled" | "incomplete_expired" => CustomerStatus::Canceled,
        // A status of a later version of Stripe's: no ground to change anything.
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::customer_status;
    use ledger::CustomerStatus::{Active, Canceled, PastDue, Suspended};

    #[test]
    fn stripes_status_and_what_is_owed_decide() {
        for (before, stripe, owes, after) in [
            (Active, "active", false, Active),
            (Active, "past_due", true, PastDue),
            (PastDue, "past_due", true, PastDue),
            (PastDue, "unpaid", true, Suspended),
            (Suspended, "active", false, Active),
            (PastDue, "active", false, Active),
            (Active, "trialing", false, Active),
            (Canceled, "active", false, Active),
            (Active, "incomplete", true, PastDue),
            (Active, "incomplete_expired", true, Canceled),
            (Suspended, "canceled", true, Canceled),
            (Active, "paused", false, Suspended),
        ] {
            assert_eq!(
                customer_status(before, stripe, owes),
                after,
                "{before:?} {stripe} {owes}"
            );
        }
    }

    #[test]
    fn one_of_two_unpaid_invoices_paid_reactivates_nobody() {
        assert_eq!(customer_status(PastDue, "active", true), PastDue);
        assert_eq!(customer_status(Suspended, "active", true), Suspended);
        assert_eq!(customer_status(Suspended, "past_due", true), Suspended);
        assert_eq!(customer_status(Active, "active", true), PastDue);
    }

    #[test]
    fn an_unknown_word_of_stripes_changes_nothing() {
        for before in [Active, PastDue, Suspended, Canceled] {
            assert_eq!(customer_status(before, "resting", false), before);
        }
    }
}
