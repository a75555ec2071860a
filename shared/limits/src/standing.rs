//! A limit against what a period has used of it.

use billing::{Cap, Enforcement, Money, SpendingLimit};

use crate::{MixedCurrencies, Spending};

/// What is left of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Of one in units.
    Units(u64),
    /// Of one in money. Never negative.
    Amount(Money),
}

/// Where a customer stands with its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit.
    pub limit: SpendingLimit,
    /// Units of the period so far.
    pub used_units: u64,
    /// What they cost.
    pub used_amount: Money,
    /// Units that reservations hold besides.
    pub held_units: u64,
    /// How much of the limit that is, rounded down; none where the limit is in a
    /// currency that the customer does not pay in any more.
    pub used_percent: Option<u64>,
    /// What is left of it beside what is held; none as above.
    pub left: Option<Left>,
    is_reached: bool,
}

impl Standing {
    /// Where the customer of `spending` stands with its limit; none where it has none.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn of(spending: &Spending<'_>) -> Result<Option<Self>, MixedCurrencies> {
        let limit = spending.customer().spending_limit.as_ref();
        limit.map(|limit| Self::with(limit, spending)).transpose()
    }

    fn with(limit: &SpendingLimit, spending: &Spending<'_>) -> Result<Self, MixedCurrencies> {
        let (used_units, used_amount) = (spending.units(), spending.cost()?);
        let used_percent = limit.cap.used_percent(used_units, &used_amount);
        if used_percent.is_none() {
            tracing::error!(
                customer_id = %spending.customer().customer_id,
                "a spending limit is in another currency than its customer's prices: it stops nobody"
            );
        }
        let held_units = spending.held_units();
        let (taken_units, taken_amount) = (
            used_units.saturating_add(held_units),
            spending.cost_with("", 0)?,
        );
        let taken_percent = limit.cap.used_percent(taken_units, &taken_amount);
        Ok(Self {
            left: left(&limit.cap, taken_units, &taken_amount),
            is_reached: taken_percent.is_some_and(|percent| percent >= 100),
            limit: limit.clone(),
            used_units,
            used_amount,
            held_units,
            used_percent,
        })
    }

    /// Whether the customer may use nothing more than what is held for it.
    pub fn stops(&self) -> bool {
        self.limit.enforcement == Enforcement::Hard && self.is_reached
    }

    /// Whether `more` units of a meter are more than what is left, where that
    /// matters.
    ///
    /// # Errors
    /// [`MixedCurrencies`].
    pub fn refuses(
        &self,
        spending: &Spending<'_>,
        meter_event_name: &str,
        more: u64,
    ) -> Result<bool, MixedCurrencies> {
        if self.limit.enforcement == Enforcement::Soft {
            return Ok(false);
        }
        let cost = spending.cost_with(meter_event_name, more)?;
        let held = spending.held_units();
        let units = spending.units().saturating_add(held).saturating_add(more);
        Ok(self.limit.cap.is_exceeded(units, &cost) == Some(true))
    }
}

fn left(cap: &Cap, units: u64, cost: &Money) -> Option<Left> {
    match cap {
        Cap::Units(most) => Some(Left::Units(most.saturating_sub(units))),
        Cap::Amount { .. } => {
            let left = cap.money()?.checked_sub(cost)?;
            let nothing = Money::from_minor_units(0, left.currency().clone());
            let is_overdrawn = nothing.is_more_than(&left) == Some(true);
            Some(Left::Amount(if is_overdrawn { nothing } else { left }))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use billing::{Currency, Timestamp};

    use super::*;
    use crate::LimitView;

    fn standing(cap: Cap, used_amount: Money) -> Standing {
        Standing {
            limit: SpendingLimit {
                cap,
                enforcement: Enforcement::Hard,
                thresholds_percent: Vec::new(),
                revision: 1,
                set_at: Timestamp::from_unix_s(1_769_860_800),
            },
            used_units: 3,
            used_amount,
            held_units: 0,
            used_percent: None,
            left: None,
            is_reached: false,
        }
    }

    /// A customer's next subscription may be in another currency than its limit.
    #[test]
    fn each_amount_is_shown_with_its_own_currency() {
        let [eur, usd] = ["eur", "usd"].map(|code| Currency::parse(code).unwrap());
        let in_euros = Cap::Amount {
            minor_units: 2_000,
            currency: eur,
        };
        for (cap, currency) in [(in_euros, "eur"), (Cap::Units(5), "usd")] {
            let used = Money::parse("7.50", usd.clone()).unwrap();
            let shown = LimitView::of(&standing(cap, used), None);
            assert_eq!(shown.currency, currency);
            assert_eq!(
                (shown.used_amount.as_str(), shown.used_currency.as_str()),
                ("7.50", "usd")
            );
        }
    }
}
