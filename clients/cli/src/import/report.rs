//! What an import says.

use std::collections::BTreeMap;

use serde::Serialize;

/// Rows that are listed at most.
const ISSUES_MAX: usize = 1_000;

/// What came of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Recorded and delivered to Stripe.
    Delivered,
    /// In a dry run: it would be recorded and sent.
    ToSend,
    /// Recorded as delivered: Stripe had it already, and it was not sent.
    AlreadyInStripe,
    /// Recorded; redelivery will deliver it.
    Pending,
    /// Recorded before, with the same content.
    Duplicate,
    /// Recorded before, with other content: left as it was.
    Conflict,
    /// Recorded, and not billed: it lies in no billable period, or the customer
    /// has no subscription item of its meter.
    Held,
    /// Recorded, and refused by Stripe or voided since.
    Rejected,
    /// Recorded, and perhaps in Stripe; it is sent by nobody any more.
    Quarantined,
    /// Not recorded: too old for Stripe.
    TooOld,
    /// Not recorded: nobody was onboarded under the customer's id.
    UnknownCustomer,
    /// Not recorded: it is no usage event.
    Invalid,
}

impl Outcome {
    /// Whether it needs the operator.
    pub const fn is_issue(self) -> bool {
        !matches!(
            self,
            Self::Delivered
                | Self::ToSend
                | Self::AlreadyInStripe
                | Self::Pending
                | Self::Duplicate
        )
    }

    /// It in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::ToSend => "would be sent",
            Self::AlreadyInStripe => "noted as delivered: in Stripe already, not sent",
            Self::Pending => "pending: redelivery will deliver them",
            Self::Duplicate => "recorded before",
            Self::Conflict => "recorded before with other content, left as they were",
            Self::Held => "held: nothing bills them yet",
            Self::Rejected => "recorded and not billed",
            Self::Quarantined => "recorded, and perhaps billed: reconcile finds out",
            Self::TooOld => "too old for Stripe, not recorded",
            Self::UnknownCustomer => "of unknown customers, not recorded",
            Self::Invalid => "not usable, not recorded",
        }
    }
}

/// Rows and units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Rows.
    pub rows: u64,
    /// Units; 0 for rows that could not be read.
    pub units: u64,
}

/// A row that needs the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// The row's line, or its rowid in SQLite.
    pub row: i64,
    /// What came of it.
    pub outcome: Outcome,
    /// Why.
    pub reason: String,
}

/// What came of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Rows that were read.
    pub rows: u64,
    /// How many came to what.
    pub outcomes: BTreeMap<Outcome, Count>,
    /// The first thousand rows that need the operator.
    pub issues: Vec<Issue>,
    /// How many there are besides.
    pub more_issues: u64,
}

impl ImportReport {
    /// Whether no row needs the operator.
    pub fn is_clean(&self) -> bool {
        self.issues.is_empty()
    }

    /// Rows and units of `outcome`.
    pub fn count_of(&self, outcome: Outcome) -> Count {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    pub(super) fn count(&mut self, row: i64, units: u64, outcome: Outcome, reason: String) {
        self.rows += 1;
        let count = self.outcomes.entry(outcome).or_default();
        count.rows += 1;
        count.units = count.units.saturating_add(units);
        if !outcome.is_issue() {
            return;
        }
        if self.issues.len() < ISSUES_MAX {
            self.issues.push(Issue {
                row,
                outcome,
                reason,
            });
        } else {
            self.more_issues += 1;
        }
    }
}
