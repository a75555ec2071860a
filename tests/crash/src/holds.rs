//! Counts what is reserved of spending limits: each sum against its parts, read
//! over the wire alone.
//!
//! `reserved` of a customer's period is what is held, one by one, and what the
//! audit log says was settled. `settled`, beside the totals, is the latter once the
//! stream has been rolled up. So what is held by the sums is what is held one by one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::database::{Database, Item, number, text};

/// Whether a row of the totals' table is none of the totals.
pub(crate) fn is_beside_the_totals(total_key: &str) -> bool {
    total_key.starts_with("reservation#")
        || total_key.ends_with("#reserved")
        || total_key.ends_with("#limit-watch")
}

/// What is reserved of one customer's period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// By its sum.
    pub reserved: i64,
    /// By the rows of reservations that are held.
    pub held: i64,
    /// By the rows of the audit log that have settled one.
    pub settled: i64,
    /// By what the rollup has counted of these.
    pub counted: i64,
}

impl Holds {
    /// Whether no unit is lost, and none is in two places.
    pub const fn agree(&self) -> bool {
        self.reserved == self.held + self.settled && self.counted == self.settled
    }
}

/// What is reserved, by `customer/period`, of a system whose stream is rolled up.
pub async fn holds(database: &Database) -> BTreeMap<String, Holds> {
    let mut all: BTreeMap<String, Holds> = BTreeMap::new();
    for item in database.scan("UsageTotalsTable").await {
        let (customer_id, key) = (text(&item, "customer_id"), text(&item, "total_key"));
        if let Some(period) = key.strip_suffix("#reserved") {
            let of = all.entry(format!("{customer_id}/{period}")).or_default();
            of.reserved += number(&item, "reserved_units");
        } else if key.starts_with("reservation#") {
            if text(&item, "state") == "held" {
                let period = number(&item, "period_start").div_euclid(1_000);
                let of = all
                    .entry(format!("{customer_id}/{period:010}"))
                    .or_default();
                of.held += number(&item, "quantity");
            }
        } else if let Some((period, _)) = key.split_once('#') {
            let is_settled = |name: &&String| name.len() == 4 && name.starts_with('s');
            for name in item.keys().filter(is_settled) {
                let of = all.entry(format!("{customer_id}/{period}")).or_default();
                of.counted += number(&item, name);
            }
        }
    }
    for row in database.scan("UsageEventsTable").await {
        if let Some(settled) = settled(&row) {
            let customer_id = text(&row, "customer_id");
            let period = number(settled, "period_start").div_euclid(1_000);
            let of = all
                .entry(format!("{customer_id}/{period:010}"))
                .or_default();
            of.settled += number(settled, "quantity");
        }
    }
    all
}

fn settled(row: &Item) -> Option<&Item> {
    let settled = row.get("reservation")?.pointer("/M/settled/M")?;
    match settled {
        Value::Object(settled) => Some(settled),
        _ => None,
    }
}
