//! The sum of what is reserved in a customer's period, which is changed together
//! with the reservations alone: see [`crate::ReservationRow`].

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use billing::{CustomerId, Timestamp};

use crate::error::is_condition_failure;
use crate::items::{Item, number};
use crate::reservations::key_of;
use crate::totals_day::period_prefix;
use crate::{Ledger, LedgerError, ReservationRow, Updated};

/// What the sort key of a period's sum ends with. It lies among the period's
/// totals, and is none.
const SUM_SUFFIX: &str = "#reserved";
/// What the name of a meter's units begins with in it: usage records without a
/// catalog have a meter without a name, and DynamoDB has no such attribute.
const METER_PREFIX: &str = "m:";
/// What reservations hold of a period, and what has settled some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Units of reservations that were neither released nor have expired.
    pub units: i128,
    /// The same by the event name of the meter.
    pub by_meter: BTreeMap<String, i128>,
    /// Counts what was added and taken off, so that no correction overwrites either.
    pub changes: u64,
}

/// How much may be reserved before a reservation is added, so that its limit holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// [`Reserved::units`], at most.
    pub units_max: Option<i128>,
    /// [`Reserved::by_meter`], at most.
    pub by_meter_max: BTreeMap<String, i128>,
}

fn meter_name(meter_event_name: &str) -> String {
    format!("{METER_PREFIX}{meter_event_name}")
}

fn sum_key(customer_id: &CustomerId, period_start: Timestamp) -> Item {
    let period = period_prefix(Some(period_start));
    key_of(customer_id, format!("{period}{SUM_SUFFIX}"))
}

impl Reserved {
    /// Those of its members, beside the key.
    pub(crate) const ATTRIBUTES: [&str; 3] = ["reserved_units", "reserved_by_meter", "changes"];

    /// Reads an item, with the period that it sums up; none where it is another row.
    pub(crate) fn from_item(item: &Item) -> Option<(Timestamp, Self)> {
        let total_key = item.get("total_key")?.as_s().ok()?;
        let period_start_s = total_key.strip_suffix(SUM_SUFFIX)?.parse().ok()?;
        let units = |value: &AttributeValue| value.as_n().ok().and_then(|it| it.parse().ok());
        let by_meter = item.get("reserved_by_meter").and_then(|it| it.as_m().ok());
        let by_meter = by_meter.into_iter().flatten();
        let changes = item.get("changes").and_then(|it| it.as_n().ok());
        let reserved = Self {
            changes: changes.and_then(|it| it.parse().ok()).unwrap_or(0),
            units: item.get("reserved_units").and_then(units).unwrap_or(0),
            by_meter: by_meter
                .filter_map(|(name, it)| {
                    let meter = name.strip_prefix(METER_PREFIX)?;
                    Some((meter.to_owned(), units(it)?))
                })
                .collect(),
        };
        Some((Timestamp::from_unix_s(period_start_s), reserved))
    }

    /// Whether as much is reserved in `other`, of every meter.
    pub fn equals(&self, other: &Self) -> bool {
        let of = |reserved: &Self| {
            let by_meter = reserved.by_meter.clone().into_iter();
            let by_meter: Vec<_> = by_meter.filter(|(_, units)| *units != 0).collect();
            (reserved.units, by_meter)
        };
        of(self) == of(other)
    }

    /// Adds a reservation of `units`.
    pub fn add(&mut self, meter_event_name: &str, units: u64) {
        let units = i128::from(units);
        self.units = self.units.saturating_add(units);
        let of_meter = self.by_meter.entry(meter_event_name.to_owned());
        let of_meter = of_meter.or_default();
        *of_meter = of_meter.saturating_add(units);
    }
}

impl Ledger {
    /// Begins the sum of what is reserved in a period, unless it has begun.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps begun.
    pub async fn begin_reserving(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut item = sum_key(customer_id, period_start);
        item.insert("reserved_units".to_owned(), number(0));
        item.insert("changes".to_owned(), number(0));
        let nothing = AttributeValue::M(HashMap::new());
        item.insert("reserved_by_meter".to_owned(), nothing);
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.usage_totals)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(total_key)")
            .send()
            .await;
        match put {
            Err(error) if !is_condition_failure(&error) => {
                Err(LedgerError::unavailable("begin to reserve")(error))
            }
            _ => Ok(()),
        }
    }

    /// Sets the sum of what is reserved in a period to `due`, if it is `found`.
    /// For a system at rest, on the operator's word.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps set.
    pub async fn set_reserved(
        &self,
        (customer_id, period_start): (&CustomerId, Timestamp),
        found: Option<&Reserved>,
        due: &Reserved,
    ) -> Result<Updated, LedgerError> {
        let by_meter = due.by_meter.iter();
        let by_meter = by_meter.map(|(meter, units)| (meter_name(meter), number(units)));
        let put = self
            .client
            .update_item()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(sum_key(customer_id, period_start)))
            .update_expression(
                "SET reserved_units = :units, reserved_by_meter = :by_meter ADD changes :one",
            )
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":units", number(due.units))
            .expression_attribute_values(":by_meter", AttributeValue::M(by_meter.collect()));
        let put = match found {
            Some(found) => put
                .condition_expression("changes = :found")
                .expression_attribute_values(":found", number(found.changes)),
            None => put.condition_expression("attribute_not_exists(total_key)"),
        };
        match put.send().await {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("set what is reserved")(error)),
        }
    }

    /// Adds `units` of `row`'s meter to the sum of its period, where `room` has
    /// that much.
    pub(crate) fn add_to_sum(
        &self,
        row: &ReservationRow,
        units: i128,
        room: Option<&Room>,
    ) -> Result<Update, LedgerError> {
        let mut conditions = vec!["attribute_exists(total_key)".to_owned()];
        let mut update = Update::builder()
            .table_name(&self.tables.usage_totals)
            .set_key(Some(sum_key(&row.customer_id, row.period_start)))
            .update_expression(
                "SET reserved_units = reserved_units + :units, \
                 reserved_by_meter.#meter = if_not_exists(reserved_by_meter.#meter, :zero) + :units \
                 ADD changes :one",
            )
            .expression_attribute_values(":one", number(1))
            .expression_attribute_names("#meter", meter_name(&row.meter_event_name))
            .expression_attribute_values(":units", number(units))
            .expression_attribute_values(":zero", number(0));
        let room = room.cloned().unwrap_or_default();
        if let Some(most) = room.units_max {
            conditions.push("reserved_units <= :most".to_owned());
            update = update.expression_attribute_values(":most", number(most));
        }
        for (n, (meter, most)) in room.by_meter_max.iter().enumerate() {
            let of_meter = format!("reserved_by_meter.#m{n}");
            // Nothing is reserved of a meter that is not there.
            let is_nothing = if *most >= 0 {
                format!("attribute_not_exists({of_meter}) OR ")
            } else {
                String::new()
            };
            conditions.push(format!("({is_nothing}{of_meter} <= :m{n})"));
            update = update
                .expression_attribute_names(format!("#m{n}"), meter_name(meter))
                .expression_attribute_values(format!(":m{n}"), number(most));
        }
        update
            .condition_expression(conditions.join(" AND "))
            .build()
            .map_err(LedgerError::unavailable("build sum of reservations"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::items::text;

    #[test]
    fn a_sum_is_of_its_period_and_no_other_row() {
        let customer_id = CustomerId::parse("cus_1").unwrap();
        let period_start = Timestamp::from_unix_s(1_769_860_800);
        let mut item = sum_key(&customer_id, period_start);
        item.insert("reserved_units".to_owned(), number(7));
        let by_meter =
            HashMap::from([("m:".to_owned(), number(9)), ("m:b".to_owned(), number(-2))]);
        item.insert("reserved_by_meter".to_owned(), AttributeValue::M(by_meter));
        item.insert("changes".to_owned(), number(3));
        let asked_for = [&["customer_id", "total_key"][..], &Reserved::ATTRIBUTES].concat();
        item.retain(|name, _| asked_for.contains(&name.as_str()));
        let (read_start, reserved) = Reserved::from_item(&item).unwrap();
        assert_eq!((read_start, reserved.units), (period_start, 7));
        assert_eq!((reserved.by_meter[""], reserved.by_meter["b"]), (9, -2));
        assert_eq!(reserved.changes, 3);
        item.insert("total_key".to_owned(), text("checkpoint"));
        assert!(Reserved::from_item(&item).is_none());
    }

    #[test]
    fn sums_are_equal_where_a_meter_has_nothing_in_one_and_is_not_in_the_other() {
        let mut one = Reserved::default();
        one.add("a", 0);
        assert!(one.equals(&Reserved::default()));
        one.add("a", 1);
        assert!(!one.equals(&Reserved::default()));
    }
}
