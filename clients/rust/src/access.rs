//! Whether a customer may act, and how much is left to it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::checks::{self, check};
use crate::error::InvalidUsage;
use crate::rfc3339;

/// What [`Emit::access`](crate::Emit::access) asks. A customer's id alone is one, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct AccessQuery {
    pub(crate) customer_id: String,
    pub(crate) units: Option<u64>,
    pub(crate) action_type: Option<String>,
}

impl AccessQuery {
    /// Whether `customer_id` may act.
    pub fn new(customer_id: impl Into<String>) -> Self {
        Self {
            customer_id: customer_id.into(),
            units: None,
            action_type: None,
        }
    }

    /// Whether so many more units, 1 at least, fit into what is left of its limit.
    pub fn units(self, units: u64) -> Self {
        Self {
            units: Some(units),
            ..self
        }
    }

    /// What the [units](Self::units) are for: needed where the limit is in money and
    /// the subscription has several prices.
    pub fn action_type(self, action_type: impl Into<String>) -> Self {
        Self {
            action_type: Some(action_type.into()),
            ..self
        }
    }

    pub(crate) fn checked(self) -> Result<Self, InvalidUsage> {
        checks::customer_id(&self.customer_id)?;
        check(
            self.units != Some(0),
            "units must be a whole number, 1 or more",
        )?;
        if let Some(action_type) = &self.action_type {
            checks::action_type(action_type)?;
            let reason = "action_type has a meaning with units only";
            check(self.units.is_some(), reason)?;
        }
        Ok(self)
    }
}

impl<T: Into<String>> From<T> for AccessQuery {
    fn from(customer_id: T) -> Self {
        Self::new(customer_id)
    }
}

/// What Meterline says before an action.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Access {
    /// Whether the customer may act.
    pub allowed: bool,
    /// Why not, in words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The customer's standing, such as `active` or `suspended`.
    pub status: String,
    /// Units of the current period so far.
    pub units: u64,
    /// The most units of a period, where there is such a limit.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The limit, in units or in money, and what is left of it, where there is one.
    #[serde(default)]
    pub spending_limit: Option<SpendingLimit>,
}

/// A limit, and how much of it is used in the current period. One in units has
/// `units` and `left_units`, one in money `amount` and `left_amount`. Amounts are
/// decimal texts in major units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendingLimit {
    /// The most units of a period.
    #[serde(default)]
    pub units: Option<u64>,
    /// The most that a period may cost.
    #[serde(default)]
    pub amount: Option<String>,
    /// Of the limit's amounts; of one in units, what the customer pays in.
    pub currency: String,
    /// Whether it stops.
    pub enforcement: Enforcement,
    /// At how much of it the operator is told, in percent.
    #[serde(default)]
    pub thresholds_percent: Vec<u32>,
    /// When it was set.
    #[serde(with = "rfc3339")]
    pub set_at: SystemTime,
    /// Units of the period so far.
    pub used_units: u64,
    /// What they cost.
    pub used_amount: String,
    /// What the customer pays in now; none from a Meterline that does not tell.
    #[serde(default)]
    pub used_currency: Option<String>,
    /// Units that reservations hold besides.
    #[serde(default)]
    pub held_units: u64,
    /// How much of the limit is used, in percent, rounded down; none where it is in
    /// another currency than the customer pays in now.
    #[serde(default)]
    pub used_percent: Option<u64>,
    /// Units that are left beside what is held.
    #[serde(default)]
    pub left_units: Option<u64>,
    /// The amount that is left so.
    #[serde(default)]
    pub left_amount: Option<String>,
    /// Thresholds that were crossed in this period, and the operator was told of.
    #[serde(default)]
    pub alerts: Vec<SpendingLimitAlert>,
}

/// What happens where a limit is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enforcement {
    /// The customer may not act.
    Hard,
    /// The operator is told, and nobody is stopped.
    Soft,
    /// A word that this version of the client does not know.
    #[serde(untagged)]
    Other(String),
}

/// A threshold that was crossed in the current period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SpendingLimitAlert {
    /// The threshold, in percent of the limit.
    pub threshold_percent: u32,
    /// When it was seen.
    #[serde(with = "rfc3339")]
    pub raised_at: SystemTime,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use serde_json::{Value, json};

    use super::*;

    fn limit_in_money() -> Value {
        json!({
            "units": null, "amount": "20.00", "currency": "usd", "enforcement": "hard",
            "thresholds_percent": [50, 80], "set_at": "2026-01-02T09:00:00Z", "used_units": 500,
            "used_amount": "10.00", "used_currency": "usd", "held_units": 40, "used_percent": 50,
            "left_units": null, "left_amount": "9.20",
            "alerts": [{"threshold_percent": 50, "raised_at": "2026-01-31T12:00:01.5Z"}],
        })
    }

    fn read(spending_limit: &Value) -> SpendingLimit {
        let access = json!({
            "allowed": true, "reason": null, "status": "active", "units": 500, "limit": null,
            "spending_limit": spending_limit,
        });
        let access: Access = serde_json::from_value(access).unwrap();
        access.spending_limit.unwrap()
    }

    #[test]
    fn a_limit_is_shown_as_it_is_told() {
        let limit = read(&limit_in_money());
        assert_eq!(limit.enforcement, Enforcement::Hard);
        assert_eq!(limit.left_amount.as_deref(), Some("9.20"));
        assert_eq!(serde_json::to_value(limit).unwrap(), limit_in_money());
    }

    #[test]
    fn a_meterline_of_another_version_is_understood() {
        let mut older = limit_in_money();
        for lacking in ["used_currency", "held_units"] {
            older.as_object_mut().unwrap().remove(lacking);
        }
        let limit = read(&older);
        assert_eq!((limit.used_currency, limit.held_units), (None, 0));
        let mut later = limit_in_money();
        later["enforcement"] = json!("polite");
        later["rolls_over"] = json!(true);
        let enforcement = Enforcement::Other("polite".to_owned());
        assert_eq!(read(&later).enforcement, enforcement);
        let before_limits = json!({"allowed": true, "status": "active", "units": 3});
        let access: Access = serde_json::from_value(before_limits).unwrap();
        assert_eq!(access.spending_limit, None);
    }

    #[test]
    fn what_is_asked_is_what_the_api_takes() {
        let asked = || AccessQuery::new("cus_1");
        for good in [asked(), asked().units(1).action_type("page_read")] {
            assert!(good.checked().is_ok());
        }
        for wrong in [
            AccessQuery::from("cus/1"),
            asked().units(0),
            asked().action_type("page_read"),
            asked().units(1).action_type("two words"),
        ] {
            assert!(wrong.clone().checked().is_err(), "{wrong:?}");
        }
    }
}
