//! Billing periods: the anchor's day of the month, or the month's last day where it is shorter
//! (Stripe's documentation: Billing cycle).

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime};

use crate::api::json::{integer, text_or_empty};

/// A price's `recurring[interval]` and `recurring[interval_count]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interval {
    unit: String,
    count: i64,
}

impl Interval {
    /// The interval of a price.
    pub(crate) fn of(price: &Value) -> Self {
        Self {
            unit: text_or_empty(price, "/recurring/interval"),
            count: integer(price, "/recurring/interval_count").unwrap_or(1),
        }
    }

    /// The anchor, `periods` intervals later. Always from the anchor itself: 31 January,
    /// 28 February, 31 March.
    pub(crate) fn after(&self, anchor: i64, periods: i64) -> i64 {
        let count = self.count * periods;
        match self.unit.as_str() {
            "day" => anchor + count * 86_400,
            "week" => anchor + count * 7 * 86_400,
            "year" => add_months(anchor, count * 12),
            _ => add_months(anchor, count),
        }
    }

    /// The first period end after a moment.
    pub(crate) fn end_after(&self, anchor: i64, moment: i64) -> i64 {
        if anchor > moment {
            return anchor;
        }
        let mut periods = 1;
        while self.after(anchor, periods) <= moment {
            periods += 1;
        }
        self.after(anchor, periods)
    }
}

fn add_months(anchor: i64, months: i64) -> i64 {
    let Ok(start) = OffsetDateTime::from_unix_timestamp(anchor) else {
        return anchor;
    };
    let index = i64::from(start.year()) * 12 + i64::from(u8::from(start.month())) - 1 + months;
    let year = i32::try_from(index.div_euclid(12)).unwrap_or_default();
    let month = u8::try_from(index.rem_euclid(12) + 1).unwrap_or(1);
    let month = Month::try_from(month).unwrap_or(Month::January);
    let day = start.day().min(month.length(year));
    Date::from_calendar_date(year, month, day).map_or(anchor, |date| {
        PrimitiveDateTime::new(date, start.time())
            .assume_utc()
            .unix_timestamp()
    })
}

/// Unix seconds as RFC 3339, as v2 writes times.
pub(crate) fn rfc3339(milliseconds: i64) -> String {
    let moment = OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(milliseconds);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// RFC 3339 as unix seconds.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_rfc3339(text).unwrap()
    }

    fn monthly() -> Interval {
        Interval {
            unit: "month".to_owned(),
            count: 1,
        }
    }

    #[test]
    fn short_months_do_not_move_the_anchor() {
        let anchor = at("2026-01-31T12:00:00Z");
        assert_eq!(monthly().after(anchor, 1), at("2026-02-28T12:00:00Z"));
        assert_eq!(monthly().after(anchor, 2), at("2026-03-31T12:00:00Z"));
        assert_eq!(monthly().after(anchor, 25), at("2028-02-29T12:00:00Z"));
    }

    #[test]
    fn a_future_anchor_is_the_first_end() {
        let anchor = at("2026-03-01T00:00:00Z");
        let start = at("2026-02-10T00:00:00Z");
        assert_eq!(monthly().end_after(anchor, start), anchor);
        assert_eq!(
            monthly().end_after(anchor, anchor),
            at("2026-04-01T00:00:00Z")
        );
    }
}
