//! What a meter has counted (Stripe API reference: Meter Event Summary).

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::client::Client;
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::request::segment;

/// What a customer used in a window, as far as Stripe has aggregated it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MeterEventSummary {
    /// Stripe's name for it.
    pub id: String,
    /// Units. Negative where cancellations outweigh.
    #[serde(deserialize_with = "whole_number")]
    pub aggregated_value: i64,
    /// From, in unix seconds.
    pub start_time: i64,
    /// Up to, in unix seconds.
    pub end_time: i64,
    /// The meter, `mtr_…`.
    pub meter: String,
}

listed!(MeterEventSummary);

/// Whose usage, from when to when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMeterEventSummaries {
    /// The customer, `cus_…`.
    pub customer: String,
    /// From, in unix seconds: on a minute, or on an hour or a day (UTC) with a
    /// grouping window.
    pub start_time: i64,
    /// Up to, in unix seconds: likewise.
    pub end_time: i64,
    /// One summary for each such window; one for all if none.
    pub value_grouping_window: Option<ValueGroupingWindow>,
}

/// What one summary covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueGroupingWindow {
    /// An hour.
    Hour,
    /// A day, UTC.
    Day,
}

impl fmt::Display for ValueGroupingWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
        })
    }
}

impl Client {
    /// All summaries of the meter in the window.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_meter_event_summaries(
        &self,
        meter_id: &str,
        window: &ListMeterEventSummaries,
    ) -> Result<List<MeterEventSummary>, Error> {
        let path = format!("/v1/billing/meters/{}/event_summaries", segment(meter_id)?);
        let query = Form::new()
            .with("customer", &window.customer)
            .with("start_time", window.start_time)
            .with("end_time", window.end_time)
            .with_some("value_grouping_window", window.value_grouping_window);
        self.list_all(&path, &query).await
    }
}

/// Stripe's reference calls the value a float, so it may be written as `7.0`
/// or `1e3`. Read from its digits, it stays exact.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = Box::<RawValue>::deserialize(deserializer)?;
    parse_whole(number.get()).ok_or_else(|| de::Error::custom("not a whole number of units"))
}

fn parse_whole(number: &str) -> Option<i64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let value = match power {
        _ if digits == 0 => 0,
        Some(power) if shift >= 0 => digits.checked_mul(power)?,
        Some(power) if digits % power == 0 => digits / power,
        _ => return None,
    };
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_to_the_last_digit() {
        for (number, value) in [
            ("0", 0),
            ("-3", -3),
            ("7.0", 7),
            ("1e3", 1_000),
            ("1.5E+1", 15),
            ("1500e-2", 15),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9007199254740993.000", 9_007_199_254_740_993),
            ("0e999", 0),
        ] {
            assert_eq!(parse_whole(number), Some(value), "{number}");
        }
        for number in [
            "0.5",
            "1e-1",
            "1e40",
            "1e99999999999",
            "\"7\"",
            "null",
            "9223372036854775808",
        ] {
            assert_eq!(parse_whole(number), None, "{number}");
        }
    }
}
