//! What a reconciliation says.

use billing::{CustomerId, HeldReason, UsageStatus};
use ledger::UsageEventRow;
use serde::Serialize;

/// Events that are named at most for one finding.
pub(super) const NAMED_MAX: usize = 20;

/// What became of one customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CustomerReport {
    /// Whose.
    pub customer_id: CustomerId,
    /// The customer's present: the test clock's, where there is one. RFC 3339.
    pub now: String,
    /// Units that Stripe has by the log. This and the next sums are over all
    /// meters, whatever each of them counts.
    pub log_units: i64,
    /// Units that Stripe has by its meters.
    pub stripe_units: i64,
    /// Units that the log has as legacy usage records, which no meter counts
    /// and which were compared with nothing.
    pub usage_record_units: u64,
    /// Units that are on their way, or too new to compare.
    pub in_flight_units: u64,
    /// Units that are not billed, by decision or refusal: rejected, voided.
    pub unbilled_units: u64,
    /// Finalised periods whose invoice was compared.
    pub invoices_compared: usize,
    /// What happened in the range and is held: on no invoice until somebody
    /// redrives it. It is no difference: Stripe never had it, and the log says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldUsage>,
    /// The same of each meter, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<MeterReport>,
    /// What differs.
    pub findings: Vec<Finding>,
}

/// Usage that is held for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldUsage {
    /// Why it has no billable period.
    pub reason: HeldReason,
    /// How many events.
    pub events: u64,
    /// Their units, over all meters.
    pub units: u64,
}

impl From<(HeldReason, u64, u64)> for HeldUsage {
    fn from((reason, events, units): (HeldReason, u64, u64)) -> Self {
        Self {
            reason,
            events,
            units,
        }
    }
}

/// What became of one meter's usage of a customer who has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeterReport {
    /// The event name that the meter listens to.
    pub meter_event_name: String,
    /// Units that Stripe has by the log.
    pub log_units: i64,
    /// Units that Stripe has by this meter.
    pub stripe_units: i64,
    /// As in [`CustomerReport`].
    pub usage_record_units: u64,
    /// As in [`CustomerReport`].
    pub in_flight_units: u64,
    /// As in [`CustomerReport`].
    pub unbilled_units: u64,
    /// Finalised periods in which the lines of this meter were compared.
    pub invoices_compared: usize,
}

impl CustomerReport {
    /// Whether log, totals, Stripe and invoices agree, or do so after a repair.
    pub fn agrees(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_repaired)
    }
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The meter that it is about, where the customer has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter_event_name: Option<String>,
    /// From, RFC 3339: the minute's start, the hour's, the period's; none for
    /// events that are told of wherever they lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Units by the log (by the totals' log, or delivered in the period).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_units: Option<i64>,
    /// Units by the other side: Stripe's meter, the totals, the invoice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_units: Option<i64>,
    /// The events that it points to, or the candidates; the first of them.
    pub events: Vec<NamedEvent>,
    /// How many events there are besides.
    pub more_events: usize,
    /// Whether it is settled now.
    pub is_repaired: bool,
}

impl MeterReport {
    /// Of all `meters` together, under no name.
    pub(super) fn sum(meters: &[Self]) -> Self {
        let none = Self {
            meter_event_name: String::new(),
            log_units: 0,
            stripe_units: 0,
            usage_record_units: 0,
            in_flight_units: 0,
            unbilled_units: 0,
            invoices_compared: 0,
        };
        meters.iter().fold(none, |sum, meter| Self {
            log_units: sum.log_units.saturating_add(meter.log_units),
            stripe_units: sum.stripe_units.saturating_add(meter.stripe_units),
            usage_record_units: (sum.usage_record_units).saturating_add(meter.usage_record_units),
            in_flight_units: sum.in_flight_units.saturating_add(meter.in_flight_units),
            unbilled_units: sum.unbilled_units.saturating_add(meter.unbilled_units),
            invoices_compared: sum.invoices_compared.max(meter.invoices_compared),
            ..sum
        })
    }
}

impl Finding {
    /// A finding of `kind`, of which nothing else is said yet.
    pub(super) const fn of(kind: FindingKind) -> Self {
        Self {
            kind,
            meter_event_name: None,
            from: None,
            log_units: None,
            other_units: None,
            events: Vec::new(),
            more_events: 0,
            is_repaired: false,
        }
    }
}

/// What differs, and so what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Stripe has just these events; the log calls them something else.
    StripeHas,
    /// Stripe has just these events at a time that it was told before they were
    /// carried over, and the log has them later.
    BilledBefore,
    /// The log calls just these events delivered; Stripe has them not.
    StripeLacks,
    /// Several sets of these events would explain the difference.
    Ambiguous,
    /// Stripe has more than all rows account for; doubles of these would fit.
    PerhapsDoubled,
    /// No set of rows explains the difference.
    Unexplained,
    /// These rows do not say any more what was recorded.
    Altered,
    /// These are sent no more and Stripe has them not.
    Undelivered,
    /// Stripe does not have these where the log has them, and whether it has them at
    /// another time that it was told cannot be told.
    Uncertain,
    /// The totals are not what the log adds up to.
    TotalsDiffer,
    /// A final invoice has not the units that the log has for its period.
    InvoiceDiffers,
    /// Usage that Stripe has and no invoice bills, though its period is over.
    NotInvoiced,
    /// Usage that Stripe has of a meter that the customer has no item of: no
    /// invoice will bill it.
    NoSubscriptionItem,
}

impl FindingKind {
    /// It, and what to do, in words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::StripeHas => "Stripe has these events, and the log does not say so",
            Self::BilledBefore => {
                "Stripe had these events before they were carried over, and bills them in \
                 the period in which they happened: the log says so with --repair"
            }
            Self::StripeLacks => {
                "Stripe does NOT have these events, and the log calls them delivered: \
                 look into it, then send them again with --repair --resend"
            }
            Self::Ambiguous => "several sets of these events would explain it: decide by hand",
            Self::PerhapsDoubled => {
                "Stripe has more than the log: counted twice, these events would fit; \
                 else rows are missing from the log, or somebody else sends usage"
            }
            Self::Unexplained => {
                "no set of the log's events explains it: a row is missing from the log, \
                 or somebody else sends usage to this meter, or it was carried over, and the \
                 range does not hold the period that it was carried into"
            }
            Self::Altered => "these rows were changed by hand: they are not what was recorded",
            Self::Undelivered => {
                "Stripe does not have these events, and nobody sends them any more: \
                 send them with --repair, or `meterline redrive`"
            }
            Self::Uncertain => {
                "Stripe does not have these events here, or that is not known yet, and may have \
                 them at another time that it was told before they were carried over: reconcile \
                 a range that holds that time too, or look in Stripe's own list, and say \
                 `meterline redrive --event EVENT_ID --in-stripe --at TIME`"
            }
            Self::TotalsDiffer => "the totals are not the log's: run `meterline rebuild`",
            Self::NotInvoiced => {
                "from here on, usage that Stripe has is on no invoice, though its period is over: \
                 bill it by hand"
            }
            Self::NoSubscriptionItem => {
                "from here on, no invoice bills what Stripe has of this meter, and the customer \
                 has no item of it: bill it by hand, and run `meterline catalog subscribe` for \
                 what is yet to come"
            }
            Self::InvoiceDiffers => {
                "the invoice is final, and its units are not the log's for its period"
            }
        }
    }
}

/// An event, by the names that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedEvent {
    /// The agent's id of it.
    pub event_id: String,
    /// Its key, and Stripe's `identifier`.
    pub identifier: String,
    /// Units.
    pub quantity: u64,
    /// Where it stands: after a repair, where it stood before.
    pub status: UsageStatus,
}

impl From<&UsageEventRow> for NamedEvent {
    fn from(row: &UsageEventRow) -> Self {
        Self {
            event_id: row.event_id.as_str().to_owned(),
            identifier: row.identifier.as_str().to_owned(),
            quantity: row.quantity,
            status: row.status,
        }
    }
}
