//! What a difference between Stripe's units and the log's may come from, as far
//! as the sums tell. Which events it comes from, only reconciling tells, which
//! asks Stripe minute by minute.

use serde::Serialize;
use utoipa::ToSchema;

use super::logged::LoggedUsage;

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Difference {
    /// Stripe's units less the log's: negative where Stripe bills less.
    pub units: i64,
    /// What it may come from.
    pub cause: DifferenceCause,
    /// The same in words, and what to do.
    pub explanation: &'static str,
}

/// What a difference may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceCause {
    /// Stripe has not summed up all that it took: the invoice is a draft.
    SummingUp,
    /// Stripe has units that the log calls pending still.
    Pending,
    /// Stripe has units of which the log does not know whether it has them.
    Quarantined,
    /// Units were voided after they were on the invoice.
    Voided,
    /// Stripe has units that it then said it refused.
    Rejected,
    /// The sums do not tell.
    Unknown,
}

impl DifferenceCause {
    /// It in words, and what to do.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::SummingUp => {
                "the invoice is a draft, and Stripe has not summed up yet all that it took: look again \
                 in some minutes"
            }
            Self::Pending => {
                "units on the invoice are not yet noted as delivered: they will be in some minutes"
            }
            Self::Quarantined => {
                "Stripe has units of which the log does not know it: `meterline reconcile` finds them"
            }
            Self::Voided => {
                "units were voided when they were on the invoice already, and no credit is noted for them: \
                 `meterline reconcile` finds them"
            }
            Self::Rejected => {
                "Stripe bills units that it has said to refuse: `meterline reconcile` finds them"
            }
            Self::Unknown => {
                "the sums do not tell where it comes from: `meterline reconcile` for the period names the \
                 events, or says that a row is missing or that somebody else sends usage"
            }
        }
    }
}

impl Difference {
    /// Between what Stripe bills and what `log` has; none where there is none.
    pub(super) fn of(stripe_units: i64, log: &LoggedUsage, is_final: bool) -> Option<Self> {
        let units = stripe_units.saturating_sub(log.billed_units());
        if units == 0 {
            return None;
        }
        let may_be =
            |candidates: u64| u64::try_from(units).is_ok_and(|surplus| surplus <= candidates);
        let cause = if units < 0 && !is_final {
            DifferenceCause::SummingUp
        } else if may_be(log.pending_units) {
            DifferenceCause::Pending
        } else if may_be(log.quarantined_units) {
            DifferenceCause::Quarantined
        } else if may_be(log.voided_units) {
            DifferenceCause::Voided
        } else if may_be(log.rejected_units) {
            DifferenceCause::Rejected
        } else {
            DifferenceCause::Unknown
        };
        Some(Self {
            units,
            cause,
            explanation: cause.sentence(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_what_can_account_for_all_of_the_difference() {
        let log = LoggedUsage {
            delivered_units: 90,
            credited_units: 10,
            pending_units: 3,
            quarantined_units: 5,
            voided_units: 7,
            rejected_units: 9,
            ..LoggedUsage::default()
        };
        for (stripe_units, is_final, cause) in [
            (100, true, None),
            (100, false, None),
            (99, false, Some(DifferenceCause::SummingUp)),
            (99, true, Some(DifferenceCause::Unknown)),
            (103, false, Some(DifferenceCause::Pending)),
            (105, true, Some(DifferenceCause::Quarantined)),
            (107, true, Some(DifferenceCause::Voided)),
            (109, true, Some(DifferenceCause::Rejected)),
            (110, true, Some(DifferenceCause::Unknown)),
        ] {
            let found = Difference::of(stripe_units, &log, is_final);
            assert_eq!(found.map(|it| it.cause), cause, "{stripe_units}");
        }
    }
}
