//! The states of a usage event, and what a repeat of one means.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a usage event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageStatus {
    /// Recorded; Stripe is not yet known to have it.
    Pending,
    /// Stripe took it.
    Delivered,
    /// Stripe refused it for good; it will not be billed.
    Rejected,
    /// Unsettled past the send window: only `reconcile` may say what Stripe has.
    Quarantined,
    /// It has no billable period; the operator decides.
    Held,
    /// A void is under way; no new sender may start.
    Voiding,
    /// Voided; it is not billed.
    Voided,
}

impl UsageStatus {
    /// Every status, in the order of the table in `docs/exactness.md`.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Delivered,
        Self::Rejected,
        Self::Quarantined,
        Self::Held,
        Self::Voiding,
        Self::Voided,
    ];

    /// The word for it in tables, API and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Quarantined => "quarantined",
            Self::Held => "held",
            Self::Voiding => "voiding",
            Self::Voided => "voided",
        }
    }
}

impl fmt::Display for UsageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a call means whose event id the audit log already holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Still pending: this call takes it over and sends it under the same identifier.
    TakeOver,
    /// Pending for longer than Stripe is sure to know its identifier: a second
    /// sending could count twice, so nothing is sent any more.
    Quarantine,
    /// Already in Stripe; nothing is sent.
    Duplicate,
    /// Refused before, with the reason that the row holds.
    StillRejected,
    /// Durable, but nobody may send it now: quarantined or held.
    StillUndelivered,
    /// Voided, or about to be: the id is used up.
    Voided,
    /// The id belongs to an event with other content.
    Conflict,
}

impl Repeat {
    /// Decides what a repeat is. `same_content` compares the content hashes;
    /// `may_send` says whether the send window is still open.
    pub const fn of(status: UsageStatus, same_content: bool, may_send: bool) -> Self {
        match (status, same_content) {
            (UsageStatus::Voiding | UsageStatus::Voided, _) => Self::Voided,
            (_, false) => Self::Conflict,
            (UsageStatus::Pending, true) if may_send => Self::TakeOver,
            (UsageStatus::Pending, true) => Self::Quarantine,
            (UsageStatus::Delivered, true) => Self::Duplicate,
            (UsageStatus::Rejected, true) => Self::StillRejected,
            (UsageStatus::Quarantined | UsageStatus::Held, true) => Self::StillUndelivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the design, line by line.
    #[test]
    fn every_repeat_has_its_answer() {
        let table = [
            (UsageStatus::Pending, Repeat::TakeOver, Repeat::Quarantine),
            (UsageStatus::Delivered, Repeat::Duplicate, Repeat::Duplicate),
            (
                UsageStatus::Rejected,
                Repeat::StillRejected,
                Repeat::StillRejected,
            ),
            (
                UsageStatus::Quarantined,
                Repeat::StillUndelivered,
                Repeat::StillUndelivered,
            ),
            (
                UsageStatus::Held,
                Repeat::StillUndelivered,
                Repeat::StillUndelivered,
            ),
            (UsageStatus::Voiding, Repeat::Voided, Repeat::Voided),
            (UsageStatus::Voided, Repeat::Voided, Repeat::Voided),
        ];
        assert_eq!(table.map(|(status, ..)| status), UsageStatus::ALL);
        for (status, inside_window, past_window) in table {
            assert_eq!(Repeat::of(status, true, true), inside_window, "{status}");
            assert_eq!(Repeat::of(status, true, false), past_window, "{status}");
            let other_content = match status {
                UsageStatus::Voiding | UsageStatus::Voided => Repeat::Voided,
                _ => Repeat::Conflict,
            };
            assert_eq!(Repeat::of(status, false, true), other_content, "{status}");
            assert_eq!(Repeat::of(status, false, false), other_content, "{status}");
        }
    }
}
