//! What the log has of one meter in a period, by the totals that are kept of it.

use std::collections::{BTreeMap, BTreeSet};

use billing::{Currency, DAY_MS, HOUR_MS, Money, Timestamp, UsageStatus};
use ledger::{CustomerRow, Tally, Total, VoidCredits};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use super::lines::BilledUsage;

/// What the log has of a meter in a period, by where it stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LoggedUsage {
    /// Units that Stripe took.
    pub delivered_units: u64,
    /// Events of them.
    pub delivered_events: u64,
    /// Delivered units by day (UTC) of billing.
    pub by_day: Vec<UnitsOfDay>,
    /// Delivered units by action.
    pub by_action_type: Vec<UnitsOfAction>,
    /// Units that were voided too late to be taken off the invoice: it bills them,
    /// and there is a credit for them.
    pub credited_units: u64,
    /// Units that were voided, and are not on the invoice.
    pub voided_units: u64,
    /// Units that Stripe is not yet known to have.
    pub pending_units: u64,
    /// Units that nobody sends any more, and that Stripe perhaps has.
    pub quarantined_units: u64,
    /// Units that Stripe refused.
    pub rejected_units: u64,
}

/// Units of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnitsOfDay {
    /// When it begins (UTC).
    #[schema(schema_with = schema::time)]
    pub day: String,
    /// Units.
    pub units: u64,
}

/// Units of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UnitsOfAction {
    /// The action.
    #[schema(schema_with = schema::action_type)]
    pub action_type: String,
    /// Units.
    pub units: u64,
}

/// What was credited for voided usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct VoidCredit {
    /// Units that were voided.
    pub units: u64,
    /// What the customer was credited for them.
    #[schema(schema_with = schema::amount)]
    pub amount: String,
}

impl VoidCredit {
    /// Of `credits`; none where nothing was credited.
    pub(super) fn of(credits: &VoidCredits, currency: &Currency) -> Option<Self> {
        (credits.units > 0).then(|| Self {
            units: credits.units,
            amount: Money::from_minor_units(credits.minor_units, currency.clone()).to_string(),
        })
    }
}

impl LoggedUsage {
    /// What should be on the invoice.
    pub(super) fn billed_units(&self) -> i64 {
        let units = self.delivered_units.saturating_add(self.credited_units);
        i64::try_from(units).unwrap_or(i64::MAX)
    }
}

/// The totals of a meter in a period.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    all: Tally,
    by_day: BTreeMap<Timestamp, Tally>,
    by_action_type: BTreeMap<String, Tally>,
    /// What the log calls the meter.
    names: BTreeSet<String>,
}

impl Totals {
    /// Of `totals`, a whole period's, what the lines `billed` are for.
    pub(super) fn of(customer: &CustomerRow, billed: &BilledUsage, totals: &[Total]) -> Self {
        let period = billed.period();
        let mut of_meter = Self::default();
        of_meter.names.insert(billed.name().to_owned());
        for Total { key, tally } in totals {
            let is_in_period = key.hour < period.end && key.hour.plus_ms(HOUR_MS) > period.start;
            let name = customer.meter_of_totals(&key.meter_event_name);
            if !is_in_period || name != billed.name() {
                continue;
            }
            of_meter.all.add(tally);
            let midnight = key.hour.unix_ms().div_euclid(DAY_MS).saturating_mul(DAY_MS);
            let day = Timestamp::from_unix_ms(midnight);
            of_meter.by_day.entry(day).or_default().add(tally);
            let action_type = key.action_type.as_str().to_owned();
            let of_action = of_meter.by_action_type.entry(action_type).or_default();
            of_action.add(tally);
            of_meter.names.insert(key.meter_event_name.clone());
        }
        of_meter
    }

    /// What the log calls the meter: one name, but for usage records.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether the log calls the meter so.
    pub(super) fn has_name(&self, meter_event_name: &str) -> bool {
        self.names.contains(meter_event_name)
    }

    /// What they say; `credited_units` of the voided ones were voided too late.
    pub(super) fn logged(&self, credited_units: u64) -> LoggedUsage {
        let units = |status| self.all.units(status);
        // One that is voiding may be on the invoice still, or have been credited.
        let voided = units(UsageStatus::Voided).saturating_add(units(UsageStatus::Voiding));
        let delivered = |tally: &Tally| tally.units(UsageStatus::Delivered);
        let by_day = self.by_day.iter().map(|(day, tally)| UnitsOfDay {
            day: day.to_string(),
            units: delivered(tally),
        });
        let by_action_type = self.by_action_type.iter();
        let by_action_type = by_action_type.map(|(action_type, tally)| UnitsOfAction {
            action_type: action_type.clone(),
            units: delivered(tally),
        });
        LoggedUsage {
            delivered_units: units(UsageStatus::Delivered),
            delivered_events: self.all.events(UsageStatus::Delivered),
            by_day: by_day.filter(|it| it.units > 0).collect(),
            by_action_type: by_action_type.filter(|it| it.units > 0).collect(),
            credited_units,
            voided_units: voided.saturating_sub(credited_units),
            pending_units: units(UsageStatus::Pending),
            quarantined_units: units(UsageStatus::Quarantined),
            rejected_units: units(UsageStatus::Rejected),
        }
    }
}
