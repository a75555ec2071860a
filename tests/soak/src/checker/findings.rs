//! What the count found.

use std::collections::BTreeMap;
use std::fmt;

/// Findings of a kind that are told in words; the rest is counted.
const TOLD_MAX: u64 = 10;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was acknowledged is not where it must be.
    Lost,
    /// Something is in Stripe twice.
    Doubled,
    /// Something that no agent sent, or of which the log knows nothing.
    Stranger,
    /// A quantity that was not sent, or not acknowledged.
    WrongQuantity,
    /// Counted by another meter than the catalog says.
    WrongMeter,
    /// In Stripe, and on no invoice.
    Unbilled,
    /// On an invoice, and not in Stripe.
    Overbilled,
    /// The totals are not the audit log's.
    TotalsDiffer,
    /// The outbox does not list what is pending.
    OutboxDiffers,
    /// Neither delivered nor in a state that says why not.
    Unsettled,
    /// Agents were told what is not so.
    Contradiction,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Stranger => "sent by no agent",
            Self::WrongQuantity => "wrong quantity",
            Self::WrongMeter => "wrong meter",
            Self::Unbilled => "unbilled",
            Self::Overbilled => "overbilled",
            Self::TotalsDiffer => "totals differ",
            Self::OutboxDiffers => "outbox differs",
            Self::Unsettled => "unsettled",
            Self::Contradiction => "contradiction",
        })
    }
}

/// One error, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// With what.
    pub what: String,
}

/// All errors, and what is no error but must be named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) counts: BTreeMap<Kind, u64>,
    pub(crate) told: Vec<Finding>,
    /// Events that are not delivered, by the state that says so, and whether
    /// Stripe has them.
    pub(crate) named: BTreeMap<(&'static str, bool), u64>,
    /// Events that Stripe bills in another period than the log says.
    pub(crate) in_another_period: u64,
    /// Events that are carried into a later period.
    pub(crate) carried_over: u64,
    /// Events that Stripe has.
    pub(crate) in_stripe: u64,
    /// Invoices that were compared.
    pub(crate) invoices: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, kind: Kind, what: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            let what = what();
            self.told.push(Finding { kind, what });
        }
    }
}
