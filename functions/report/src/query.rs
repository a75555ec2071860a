//! Which usage is asked for.

use billing::{DAY_MS, FieldError, HOUR_MS, Timestamp};
use serde::Deserialize;

/// The longest range of a report, in days. Totals are looked for in periods
/// that began up to as long before it.
pub(crate) const DAYS_MAX: i64 = 366;

/// The query string of `GET /v1/customers/{customer_id}/usage`. Unknown names
/// are refused: a misspelt `period_days` would answer for another time.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUsageQuery {
    period_days: Option<String>,
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
}

/// The same, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageQuery {
    pub(crate) range: Range,
    pub(crate) group_by: Option<GroupBy>,
}

/// The time that usage is summed over, by the time that it is billed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The subscription's current period.
    CurrentPeriod,
    /// So many days up to the end of the current hour.
    Days(i64),
    /// From one instant to another, or to the present.
    Between(Timestamp, Option<Timestamp>),
}

/// What a series has an entry for: each of these together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupBy {
    /// Each hour or day (UTC).
    pub(crate) time: Option<TimeGroup>,
    /// Each action.
    pub(crate) action_type: bool,
    /// Each meter.
    pub(crate) meter: bool,
}

/// A stretch of time that a series has entries for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeGroup {
    Hour,
    Day,
}

/// Whole hours from `start`, inclusive, to `end`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hours {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl UsageQuery {
    pub(crate) fn parse(raw: &RawUsageQuery) -> Result<Self, FieldError> {
        let range = match (&raw.period_days, &raw.from, &raw.to) {
            (None, None, None) => Range::CurrentPeriod,
            (Some(days), None, None) => Range::Days(parse_days(days)?),
            (None, Some(from), to) => {
                let to = to.as_deref().map(|to| parse_time("to", to)).transpose()?;
                Range::Between(parse_time("from", from)?, to)
            }
            (None, None, Some(_)) => {
                return Err(FieldError::new("from", "must be given where to is"));
            }
            (Some(_), _, _) => {
                return Err(FieldError::new(
                    "period_days",
                    "cannot be combined with from or to",
                ));
            }
        };
        let group_by = raw.group_by.as_deref().map(parse_group_by).transpose()?;
        Ok(Self { range, group_by })
    }
}

impl Range {
    /// The hours of a range that is no billing period, at the time `now`;
    /// totals are kept by the hour, so both ends are widened to whole ones.
    pub(crate) fn hours(self, now: Timestamp) -> Result<Option<Hours>, FieldError> {
        let hours = match self {
            Self::CurrentPeriod => return Ok(None),
            Self::Days(days) => {
                let end = end_of_hour(now);
                Hours {
                    start: end.plus_ms(-days * DAY_MS),
                    end,
                }
            }
            Self::Between(from, to) => {
                let to = to.unwrap_or(now);
                if to <= from {
                    return Err(FieldError::new("to", "must be later than from"));
                }
                Hours {
                    start: from.start_of_hour(),
                    end: end_of_hour(to.plus_ms(-1)),
                }
            }
        };
        if hours.days() > DAYS_MAX {
            let reason = format!("must lie at most {DAYS_MAX} days before the end of the range");
            return Err(FieldError::new("from", reason));
        }
        Ok(Some(hours))
    }
}

impl Hours {
    /// Its length in days, rounded up.
    pub(crate) fn days(self) -> i64 {
        let length_ms = self.end.ms_since(self.start);
        length_ms.saturating_add(DAY_MS - 1).div_euclid(DAY_MS)
    }
}

impl GroupBy {
    /// Reads words with commas between, each once.
    fn parse(text: &str) -> Option<Self> {
        if !GROUPS.contains(&text) {
            return None;
        }
        let mut group_by = Self::default();
        for word in text.split(',') {
            match word {
                "hour" => group_by.time = Some(TimeGroup::Hour),
                "day" => group_by.time = Some(TimeGroup::Day),
                "action_type" => group_by.action_type = true,
                "meter" => group_by.meter = true,
                _ => return None,
            }
        }
        Some(group_by)
    }
}

impl TimeGroup {
    /// The start of the stretch of time that `hour` is counted in.
    pub(crate) const fn bucket(self, hour: Timestamp) -> Timestamp {
        match self {
            Self::Hour => hour,
            Self::Day => Timestamp::from_unix_ms(hour.unix_ms().div_euclid(DAY_MS) * DAY_MS),
        }
    }
}

fn end_of_hour(at: Timestamp) -> Timestamp {
    at.start_of_hour().plus_ms(HOUR_MS)
}

fn parse_days(text: &str) -> Result<i64, FieldError> {
    text.parse()
        .ok()
        .filter(|days| (1..=DAYS_MAX).contains(days))
        .ok_or_else(|| {
            let reason = format!("must be a whole number from 1 to {DAYS_MAX}");
            FieldError::new("period_days", reason)
        })
}

/// How many are asked for: 1 to `limit_max`.
pub(crate) fn parse_limit(text: &str, limit_max: u32) -> Result<u32, FieldError> {
    text.parse()
        .ok()
        .filter(|limit| (1..=limit_max).contains(limit))
        .ok_or_else(|| {
            let reason = format!("must be a whole number from 1 to {limit_max}");
            FieldError::new("limit", reason)
        })
}

pub(crate) fn parse_time(field: &'static str, text: &str) -> Result<Timestamp, FieldError> {
    Timestamp::parse(text).map_err(|error| FieldError::new(field, error.to_string()))
}

/// What `group_by` may be. The time comes first, then the action, then the meter:
/// one order, so that an address means one thing.
pub(crate) const GROUPS: [&str; 11] = [
    "hour",
    "day",
    "action_type",
    "meter",
    "hour,action_type",
    "day,action_type",
    "hour,meter",
    "day,meter",
    "action_type,meter",
    "hour,action_type,meter",
    "day,action_type,meter",
];

fn parse_group_by(text: &str) -> Result<GroupBy, FieldError> {
    GroupBy::parse(text).ok_or_else(|| {
        let reason = "must be hour or day, action_type, meter, or several of them in this order \
                      with commas between";
        FieldError::new("group_by", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:00:00Z and a half hour.
    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800 + 1_800);

    fn raw(pairs: &[(&str, &str)]) -> RawUsageQuery {
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        RawUsageQuery {
            period_days: value("period_days"),
            from: value("from"),
            to: value("to"),
            group_by: value("group_by"),
        }
    }

    fn hours(pairs: &[(&str, &str)]) -> Result<Option<(String, String, i64)>, &'static str> {
        let query = UsageQuery::parse(&raw(pairs)).map_err(|error| error.field)?;
        let hours = query.range.hours(NOW).map_err(|error| error.field)?;
        Ok(hours.map(|hours| (hours.start.to_string(), hours.end.to_string(), hours.days())))
    }

    fn range(
        start: &str,
        end: &str,
        days: i64,
    ) -> Result<Option<(String, String, i64)>, &'static str> {
        Ok(Some((start.to_owned(), end.to_owned(), days)))
    }

    #[test]
    fn ranges_are_whole_hours_that_hold_what_was_asked_for() {
        assert_eq!(hours(&[]), Ok(None));
        assert_eq!(
            hours(&[("period_days", "30")]),
            range("2026-01-01T13:00:00Z", "2026-01-31T13:00:00Z", 30)
        );
        assert_eq!(
            hours(&[
                ("from", "2026-01-30T00:00:00Z"),
                ("to", "2026-01-31T00:00:00Z")
            ]),
            range("2026-01-30T00:00:00Z", "2026-01-31T00:00:00Z", 1)
        );
        assert_eq!(
            hours(&[
                ("from", "2026-01-31T11:30:00Z"),
                ("to", "2026-01-31T12:00:01Z")
            ]),
            range("2026-01-31T11:00:00Z", "2026-01-31T13:00:00Z", 1)
        );
        assert_eq!(
            hours(&[("from", "1769774400")]),
            range("2026-01-30T12:00:00Z", "2026-01-31T13:00:00Z", 2)
        );
    }

    #[test]
    fn what_names_no_range_is_refused_by_field() {
        for (pairs, field) in [
            (&[("period_days", "0")][..], "period_days"),
            (&[("period_days", "1.5")], "period_days"),
            (&[("period_days", "367")], "period_days"),
            (
                &[("period_days", "30"), ("from", "1769774400")],
                "period_days",
            ),
            (&[("from", "yesterday")], "from"),
            (&[("to", "1769774400")], "from"),
            (&[("from", "1769774400"), ("to", "1769774400")], "to"),
            (&[("from", "1600000000"), ("to", "1769774400")], "from"),
            (&[("group_by", "week")], "group_by"),
            (&[("group_by", "hour,day")], "group_by"),
            (&[("group_by", "action_type,day")], "group_by"),
            (&[("group_by", "day,")], "group_by"),
        ] {
            assert_eq!(hours(pairs), Err(field), "{pairs:?}");
        }
    }

    #[test]
    fn every_group_that_is_offered_is_one_of_its_own() {
        let groups: Vec<_> = GROUPS.map(|text| parse_group_by(text).unwrap()).into();
        for (at, group) in groups.iter().enumerate() {
            assert!(!groups[..at].contains(group), "{}", GROUPS[at]);
        }
        let by_day_and_action = GroupBy {
            time: Some(TimeGroup::Day),
            action_type: true,
            meter: false,
        };
        assert_eq!(parse_group_by("day,action_type"), Ok(by_day_and_action));
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let day = TimeGroup::Day.bucket(NOW.start_of_hour());
        assert_eq!(day.to_string(), "2026-01-31T00:00:00Z");
    }
}
