//! A row of the totals: one customer's day of one action that one meter counts,
//! hour by hour.
//!
//! An hour is a pair of attributes for each status, `d07u` and `d07e`: the units
//! and the events that are delivered and billed at 07:00 UTC or within the hour
//! after; and `s07u`, the units of reservations that were settled. Short names, so that a day of them stays within the kilobyte that a
//! write unit pays for, and a period's report reads some thirty rows instead of
//! hundreds.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{ActionType, CustomerId, Timestamp, UsageStatus};

use crate::items::{Item, number};
use crate::usage_totals::{Tally, TotalKey};

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;
/// Hours of a row.
pub(crate) const HOURS_OF_DAY: usize = 24;

/// Period of what has none: held events.
const NO_PERIOD: &str = "held";

/// Counts of an update, at most: an expression takes 4 kB, and 300 operators
/// (Amazon DynamoDB Developer Guide: "Service quotas"). One event moves two.
const COUNTS_MAX: usize = 64;

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TotalsDay {
    pub(crate) customer_id: CustomerId,
    pub(crate) period_start: Option<Timestamp>,
    pub(crate) day: Timestamp,
    pub(crate) meter_event_name: String,
    pub(crate) action_type: ActionType,
}

/// Tallies of a day, by the hour of the day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hours(BTreeMap<u8, Tally>);

impl TotalsDay {
    /// The row that the cell `key` is in, and its hour of the day.
    pub(crate) fn of(key: &TotalKey) -> (Self, u8) {
        let since_midnight_s = key.hour.unix_s().rem_euclid(DAY_S);
        let row = Self {
            customer_id: key.customer_id.clone(),
            period_start: key.period_start,
            day: Timestamp::from_unix_s(key.hour.unix_s() - since_midnight_s),
            meter_event_name: key.meter_event_name.clone(),
            action_type: key.action_type.clone(),
        };
        let hour = u8::try_from(since_midnight_s.div_euclid(HOUR_S)).unwrap_or_default();
        (row, hour)
    }

    /// Its sort key. The rows of several slots add up.
    pub(crate) fn sort_key(&self, slot: &str) -> String {
        let (period, day) = (period_prefix(self.period_start), self.day.unix_s());
        let meter = escaped(&self.meter_event_name);
        let action_type = self.action_type.as_str();
        format!("{period}#{day:010}#{meter}#{action_type}#{slot}")
    }

    /// The row and the slot that a key is of.
    pub(crate) fn parse<'a>(customer_id: &str, sort_key: &'a str) -> Option<(Self, &'a str)> {
        let mut parts = sort_key.splitn(5, '#');
        let period_start = match parts.next()? {
            NO_PERIOD => None,
            digits => Some(Timestamp::from_unix_s(digits.parse().ok()?)),
        };
        let row = Self {
            customer_id: CustomerId::parse(customer_id).ok()?,
            period_start,
            day: Timestamp::from_unix_s(parts.next()?.parse().ok()?),
            meter_event_name: unescaped(parts.next()?),
            action_type: ActionType::parse(parts.next()?).ok()?,
        };
        Some((row, parts.next()?))
    }

    /// The cell of one of its hours.
    pub(crate) fn cell(&self, hour: u8) -> TotalKey {
        TotalKey {
            customer_id: self.customer_id.clone(),
            period_start: self.period_start,
            hour: Timestamp::from_unix_s(self.day.unix_s() + i64::from(hour) * HOUR_S),
            meter_event_name: self.meter_event_name.clone(),
            action_type: self.action_type.clone(),
        }
    }
}

/// A meter that was made elsewhere may have any event name: one with the mark
/// between a key's parts must not be taken for two of them.
fn escaped(meter_event_name: &str) -> String {
    meter_event_name.replace('%', "%25").replace('#', "%23")
}

fn unescaped(part: &str) -> String {
    part.replace("%23", "#").replace("%25", "%")
}

/// What the sort keys of a period begin with.
pub(crate) fn period_prefix(period_start: Option<Timestamp>) -> String {
    period_start.map_or_else(|| NO_PERIOD.to_owned(), |at| format!("{:010}", at.unix_s()))
}

impl Hours {
    pub(crate) fn tally(&mut self, hour: u8) -> &mut Tally {
        self.0.entry(hour).or_default()
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.values().all(Tally::is_zero)
    }

    /// Whether one update can add it to a row.
    pub(crate) fn fits(&self) -> bool {
        let counts = self.0.values();
        let counts =
            counts.map(|tally| tally.counts().count() + usize::from(tally.settled_units() != 0));
        counts.sum::<usize>() <= COUNTS_MAX
    }

    /// What `item` holds, hour by hour.
    pub(crate) fn from_item(item: &Item) -> Self {
        let mut hours = Self::default();
        for (count, amount) in counts_in(item) {
            let tally = hours.tally(count.hour);
            match count.of {
                Counted::Units(status) => tally.change(status, amount, 0),
                Counted::Events(status) => {
                    tally.change(status, 0, i64::try_from(amount).unwrap_or_default());
                }
                Counted::Settled => tally.change_settled(amount),
            }
        }
        hours
    }

    /// The hours that hold something.
    pub(crate) fn into_tallies(self) -> impl Iterator<Item = (u8, Tally)> {
        self.0.into_iter().filter(|(_, tally)| !tally.is_zero())
    }

    /// An update that adds it to a row.
    pub(crate) fn addition(&self) -> (String, HashMap<String, AttributeValue>) {
        let mut parts = Vec::new();
        let mut values = HashMap::new();
        for (hour, tally) in &self.0 {
            for (name, amount) in attributes(*hour, tally) {
                parts.push(format!("{name} :{name}"));
                values.insert(format!(":{name}"), amount);
            }
        }
        (format!("ADD {}", parts.join(", ")), values)
    }
}

/// What a row counts, each with how much of it; other attributes are passed over.
pub(crate) fn counts_in(item: &Item) -> impl Iterator<Item = (Count, i128)> {
    item.iter().filter_map(|(name, value)| {
        let amount = value.as_n().ok().and_then(|digits| digits.parse().ok());
        Some((Count::parse(name)?, amount.unwrap_or_default()))
    })
}

/// An update that sets an hour of a row to `tally`, whatever it was.
pub(crate) fn replacement(
    hour: u8,
    tally: &Tally,
) -> (String, Option<HashMap<String, AttributeValue>>) {
    let values: HashMap<String, AttributeValue> = attributes(hour, tally).collect();
    let set: Vec<String> = values
        .keys()
        .map(|name| format!("{name} = :{name}"))
        .collect();
    let counted = UsageStatus::ALL.into_iter();
    let counted = counted.flat_map(|status| [Counted::Units(status), Counted::Events(status)]);
    let remove: Vec<String> = counted
        .chain([Counted::Settled])
        .map(|of| Count { of, hour }.name())
        .filter(|name| !values.contains_key(name))
        .collect();
    let mut expression = format!("REMOVE {}", remove.join(", "));
    if !set.is_empty() {
        expression = format!("SET {} {expression}", set.join(", "));
    }
    let values = values.into_iter();
    let values: HashMap<_, _> = values.map(|(name, n)| (format!(":{name}"), n)).collect();
    (expression, (!values.is_empty()).then_some(values))
}

fn attributes(hour: u8, tally: &Tally) -> impl Iterator<Item = (String, AttributeValue)> {
    let name = move |of| Count { of, hour }.name();
    let settled = tally.settled_units();
    let settled = (settled != 0).then(|| (name(Counted::Settled), number(settled)));
    let by_status = tally.counts().flat_map(move |(status, units, events)| {
        [
            (name(Counted::Units(status)), number(units)),
            (name(Counted::Events(status)), number(events)),
        ]
    });
    by_status.chain(settled)
}

/// What an attribute counts, and of which hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) of: Counted,
    /// Of the day, 0 to 23.
    pub(crate) hour: u8,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Units in a status.
    Units(UsageStatus),
    /// Events in a status.
    Events(UsageStatus),
    /// Units of reservations that were settled.
    Settled,
}

/// Of [`Counted::Settled`]; no status has it.
const SETTLED: char = 's';

impl Count {
    pub(crate) fn name(self) -> String {
        let (letter, kind) = match self.of {
            Counted::Units(status) => (letter(status), 'u'),
            Counted::Events(status) => (letter(status), 'e'),
            Counted::Settled => (SETTLED, 'u'),
        };
        format!("{letter}{:02}{kind}", self.hour)
    }

    fn parse(name: &str) -> Option<Self> {
        let &[first, tens, ones, kind] = name.as_bytes() else {
            return None;
        };
        let digit = |byte: u8| char::from(byte).to_digit(10);
        let hour = u8::try_from(digit(tens)? * 10 + digit(ones)?).ok()?;
        let first = char::from(first);
        let status = || UsageStatus::ALL.into_iter().find(|it| letter(*it) == first);
        let of = match kind {
            b'u' if first == SETTLED => Counted::Settled,
            b'u' => Counted::Units(status()?),
            b'e' => Counted::Events(status()?),
            _ => return None,
        };
        (usize::from(hour) < HOURS_OF_DAY).then_some(Self { of, hour })
    }
}

const fn letter(status: UsageStatus) -> char {
    match status {
        UsageStatus::Pending => 'p',
        UsageStatus::Delivered => 'd',
        UsageStatus::Rejected => 'r',
        UsageStatus::Quarantined => 'q',
        UsageStatus::Held => 'h',
        UsageStatus::Voiding => 'v',
        UsageStatus::Voided => 'x',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::text;

    fn key() -> TotalKey {
        TotalKey {
            customer_id: CustomerId::parse("cus_1").unwrap(),
            period_start: Some(Timestamp::from_unix_s(1_769_860_800)),
            // 2026-01-31T13:00:00Z.
            hour: Timestamp::from_unix_s(1_769_864_400),
            meter_event_name: "agent_operations".to_owned(),
            action_type: ActionType::parse("document_processed").unwrap(),
        }
    }

    #[test]
    fn a_cell_is_an_hour_of_its_day_and_reads_back() {
        let held = TotalKey {
            period_start: None,
            ..key()
        };
        let odd = ["", "a#b", "%23", "%2523#%"].map(|name| TotalKey {
            meter_event_name: name.to_owned(),
            ..key()
        });
        for cell in [key(), held].into_iter().chain(odd) {
            let (day, hour) = TotalsDay::of(&cell);
            assert_eq!(
                (hour, day.day.to_string().as_str()),
                (13, "2026-01-31T00:00:00Z")
            );
            let sort_key = day.sort_key("ab12");
            let (parsed, slot) = TotalsDay::parse("cus_1", &sort_key).unwrap();
            assert_eq!((&parsed, slot), (&day, "ab12"));
            assert_eq!(parsed.cell(hour), cell);
        }
    }

    #[test]
    fn every_count_has_a_name_of_its_own_and_reads_back() {
        let mut names = std::collections::BTreeSet::new();
        for status in UsageStatus::ALL {
            for hour in 0..24 {
                for of in [Counted::Units(status), Counted::Events(status)] {
                    let count = Count { of, hour };
                    assert_eq!(Count::parse(&count.name()), Some(count));
                    assert!(names.insert(count.name()), "{}", count.name());
                }
            }
        }
        for hour in 0..24 {
            let count = Count {
                of: Counted::Settled,
                hour,
            };
            assert_eq!(Count::parse(&count.name()), Some(count));
            assert!(names.insert(count.name()), "{}", count.name());
        }
        for name in [
            "s07e", "", "d", "du", "d7u", "d24u", "d07x", "z07u", "d007u", "d+7u", "ä07u",
        ] {
            assert_eq!(Count::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_day_that_is_written_reads_back_hour_by_hour() {
        let mut hours = Hours::default();
        hours.tally(7).enter(UsageStatus::Delivered, 5);
        hours.tally(23).leave(UsageStatus::Pending, 2);
        hours.tally(23).settle(4);
        let (expression, values) = hours.addition();
        assert_eq!(
            expression,
            "ADD d07u :d07u, d07e :d07e, p23u :p23u, p23e :p23e, s23u :s23u"
        );
        let mut item: Item = values
            .into_iter()
            .map(|(name, n)| (name[1..].to_owned(), n))
            .collect();
        item.insert("total_key".to_owned(), text("whatever"));
        assert_eq!(Hours::from_item(&item), hours);
    }

    #[test]
    fn an_update_takes_no_more_counts_than_an_expression_does() {
        let mut hours = Hours::default();
        for hour in 0..24 {
            hours.tally(hour).enter(UsageStatus::Pending, 1);
            hours.tally(hour).enter(UsageStatus::Delivered, 1);
        }
        assert!(hours.fits());
        for hour in 0..24 {
            hours.tally(hour).enter(UsageStatus::Rejected, 1);
        }
        assert!(!hours.fits());
    }

    #[test]
    fn an_hour_is_replaced_and_others_are_not() {
        let mut tally = Tally::default();
        tally.enter(UsageStatus::Delivered, 5);
        let (expression, values) = replacement(7, &tally);
        assert!(expression.starts_with("SET "), "{expression}");
        assert!(
            expression.ends_with(
                "REMOVE p07u, p07e, r07u, r07e, q07u, q07e, h07u, h07e, v07u, v07e, x07u, x07e, s07u"
            ),
            "{expression}"
        );
        assert_eq!(values.unwrap().len(), 2);
        let (expression, values) = replacement(7, &Tally::default());
        assert!(expression.starts_with("REMOVE p07u"), "{expression}");
        assert_eq!(values, None);
    }
}
