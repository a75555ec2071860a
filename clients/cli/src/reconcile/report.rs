//! What a reconciliation says.

use billing::{CustomerId, UsageStatus};
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
    /// Units that Stripe has by the log.
    pub log_units: i64,
    /// Units that Stripe has by its meter.
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
    /// What differs.
    pub findings: Vec<Finding>,
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

/// What differs, and so what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Stripe has just these events; the log calls them something else.
    StripeHas,
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
    /// These are sent no more, and whether Stripe has them cannot be told.
    Uncertain,
    /// The totals are not what the log adds up to.
    TotalsDiffer,
    /// A final invoice has not the units that the log has for its period.
    InvoiceDiffers,
    /// Usage that Stripe has and no invoice bills, though its period is over.
    NotInvoiced,
}

impl FindingKind {
    /// It, and what to do, in words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::StripeHas => "Stripe has these events, and the log does not say so",
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
                 or somebody else sends usage to this meter"
            }
            Self::Altered => "these rows were changed by hand: they are not what was recorded",
            Self::Undelivered => {
                "Stripe does not have these events, and nobody sends them any more: \
                 send them with --repair, or `meterline redrive`"
            }
            Self::Uncertain => {
                "nobody sends these any more; they were carried over, and Stripe may have them \
                 from before: reconcile a range that holds the time when they happened"
            }
            Self::TotalsDiffer => "the totals are not the log's: run `meterline rebuild`",
            Self::NotInvoiced => {
                "from here on, usage that Stripe has is on no invoice, though its period is over: \
                 bill it by hand"
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
