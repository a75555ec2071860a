//! What the operator is told of an event: the payloads of `docs/webhooks.md`.

use billing::money::InvalidCurrency;
use billing::{Currency, Money, Timestamp};
use ledger::{CustomerRow, CustomerStatus};
use notify::Origin;
use serde::Serialize;
use stripe::Event;

/// What there is to tell of an event: its kind, and the rest.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub(crate) enum News<'a> {
    /// An invoice was paid, with money.
    Receipt(Bill),
    /// An invoice's payment failed, and the invoice is still open.
    PaymentFailed {
        #[serde(flatten)]
        bill: Bill,
        failed_attempts: u64,
        /// When Stripe tries again, if it does.
        next_attempt_at: Option<String>,
        /// When the customer is suspended, if nothing is paid until then.
        grace_ends_at: Option<String>,
    },
    /// The customer's bank wants the customer to confirm the payment.
    PaymentActionRequired(Bill),
    /// A customer owes.
    PastDue(Change),
    /// A customer may not act any more.
    Suspended(Change),
    /// A customer owes nothing any more.
    Reactivated(Change),
    /// A customer's subscription has ended.
    Canceled(Change),
    /// A customer was deleted in Stripe.
    CustomerDeleted,
    /// A trial ends in three days, or was just shortened to end at once.
    TrialWillEnd { trial_ends_at: String },
    /// A cardholder has a payment taken back.
    Dispute {
        dispute_id: &'a str,
        charge_id: Option<&'a str>,
        amount: String,
        currency: String,
        reason: &'a str,
        status: &'a str,
        /// Until when evidence can be brought.
        evidence_due_by: Option<String>,
    },
    /// Stripe took usage and refused it afterwards.
    UsageRejected {
        /// Events that Stripe says it refused.
        refused_events: u64,
        /// Those that it named, whose rows are rejected now.
        rejected_rows: u64,
        /// Whether it refused more than it named, or one that may count by another
        /// sending: `meterline reconcile` finds them.
        needs_reconciliation: bool,
        /// Stripe's codes.
        codes: Vec<&'a str>,
    },
}

impl notify::News for News<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Receipt(_) => "receipt",
            Self::PaymentFailed { .. } => "payment_failed",
            Self::PaymentActionRequired(_) => "payment_action_required",
            Self::PastDue(_) => "past_due",
            Self::Suspended(_) => "suspended",
            Self::Reactivated(_) => "reactivated",
            Self::Canceled(_) => "canceled",
            Self::CustomerDeleted => "customer_deleted",
            Self::TrialWillEnd { .. } => "trial_will_end",
            Self::Dispute { .. } => "dispute",
            Self::UsageRejected { .. } => "usage_rejected",
        }
    }
}

impl News<'_> {
    /// The status that `after` has and `before` had not, if it changed.
    pub(crate) fn of_status(before: &CustomerRow, after: &CustomerRow) -> Option<Self> {
        if before.status == after.status {
            return None;
        }
        let change = Change {
            status_before: before.status.as_str(),
            status: after.status.as_str(),
            grace_ends_at: after.grace_ends_at.map(|end| end.to_string()),
        };
        Some(match after.status {
            CustomerStatus::Active => Self::Reactivated(change),
            CustomerStatus::PastDue => Self::PastDue(change),
            CustomerStatus::Suspended => Self::Suspended(change),
            CustomerStatus::Canceled => Self::Canceled(change),
        })
    }
}

/// An event, as far as its notifications tell of it.
pub(crate) fn origin(event: &Event) -> Origin<'_> {
    Origin {
        id: &event.id,
        stripe_event_type: Some(&event.event_type),
        created_at: Timestamp::from_unix_s(event.created),
    }
}

/// A customer's status, before and now.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    status_before: &'static str,
    status: &'static str,
    /// When a customer who is past due is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_ends_at: Option<String>,
}

/// An invoice as it is now. Amounts are decimals of the currency.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bill {
    invoice_id: String,
    /// What people call it.
    number: Option<String>,
    currency: String,
    total: String,
    amount_paid: String,
    amount_remaining: String,
    /// Where the customer can look at it and pay.
    hosted_invoice_url: Option<String>,
    invoice_pdf: Option<String>,
}

impl Bill {
    pub(crate) fn of(invoice: &stripe::Invoice) -> Result<Self, InvalidCurrency> {
        let decimal = |minor_units| decimal(minor_units, &invoice.currency);
        Ok(Self {
            invoice_id: invoice.id.clone(),
            number: invoice.number.clone(),
            total: decimal(invoice.total)?,
            amount_paid: decimal(invoice.amount_paid)?,
            amount_remaining: decimal(invoice.amount_remaining)?,
            currency: invoice.currency.clone(),
            hosted_invoice_url: invoice.hosted_invoice_url.clone(),
            invoice_pdf: invoice.invoice_pdf.clone(),
        })
    }
}

/// `minor_units` as a decimal of `currency`.
pub(crate) fn decimal(minor_units: i64, currency: &str) -> Result<String, InvalidCurrency> {
    let currency = Currency::parse(currency)?;
    Ok(Money::from_minor_units(minor_units, currency).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ORIGIN: Origin<'_> = Origin {
        id: "evt_1",
        stripe_event_type: Some("charge.dispute.created"),
        created_at: Timestamp::from_unix_s(1_769_860_800),
    };

    #[test]
    fn a_payload_says_whence_it_is_and_what_is_new() {
        let news = News::Dispute {
            dispute_id: "dp_1",
            charge_id: Some("ch_1"),
            amount: decimal(2_010, "usd").unwrap(),
            currency: "usd".to_owned(),
            reason: "fraudulent",
            status: "needs_response",
            evidence_due_by: None,
        };
        let stored = ORIGIN.notification(None, news).unwrap();
        assert_eq!(
            (stored.id.as_str(), stored.kind.as_str()),
            ("evt_1:dispute", "dispute")
        );
        let message: Value = serde_json::from_str(&stored.message).unwrap();
        assert_eq!(
            message,
            json!({
                "version": 1, "id": "evt_1:dispute", "stripe_event_id": "evt_1",
                "stripe_event_type": "charge.dispute.created",
                "created_at": "2026-01-31T12:00:00Z", "kind": "dispute",
                "data": {
                    "dispute_id": "dp_1", "charge_id": "ch_1", "amount": "20.10",
                    "currency": "usd", "reason": "fraudulent", "status": "needs_response",
                    "evidence_due_by": null,
                },
            })
        );
    }

    #[test]
    fn the_kind_beside_the_message_is_the_kind_in_it() {
        let change = || Change {
            status_before: "active",
            status: "past_due",
            grace_ends_at: None,
        };
        let bill = || Bill {
            invoice_id: "in_1".to_owned(),
            number: None,
            currency: "jpy".to_owned(),
            total: decimal(7, "jpy").unwrap(),
            amount_paid: "0".to_owned(),
            amount_remaining: "7".to_owned(),
            hosted_invoice_url: None,
            invoice_pdf: None,
        };
        for news in [
            News::Receipt(bill()),
            News::PaymentFailed {
                bill: bill(),
                failed_attempts: 1,
                next_attempt_at: None,
                grace_ends_at: None,
            },
            News::PaymentActionRequired(bill()),
            News::PastDue(change()),
            News::Suspended(change()),
            News::Reactivated(change()),
            News::Canceled(change()),
            News::CustomerDeleted,
            News::TrialWillEnd {
                trial_ends_at: String::new(),
            },
            News::UsageRejected {
                refused_events: 2,
                rejected_rows: 1,
                needs_reconciliation: true,
                codes: vec!["no_meter"],
            },
        ] {
            let stored = ORIGIN.notification(None, news).unwrap();
            let message: Value = serde_json::from_str(&stored.message).unwrap();
            assert_eq!(message["kind"], stored.kind);
            assert_eq!(message["id"], stored.id);
        }
    }
}
