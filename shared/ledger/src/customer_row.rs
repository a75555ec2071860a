//! A customer as it is stored: who may act, and what bills its usage.

use billing::{
    BillingTime, CustomerId, EndedPeriod, Money, Price, SpendingLimit, Subscription, Timestamp,
    Trial,
};
use serde::{Deserialize, Serialize};

use crate::UsageEventRow;

/// Whether a customer may act, as far as paying goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomerStatus {
    /// Pays, or owes nothing.
    Active,
    /// A payment failed; Stripe will try again.
    PastDue,
    /// Payments failed for too long; `access` says no until one is made.
    Suspended,
    /// The subscription has ended.
    Canceled,
}

impl CustomerStatus {
    /// The word for it in tables and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Suspended => "suspended",
            Self::Canceled => "canceled",
        }
    }
}

/// An item of a subscription that bills what one meter counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeteredItem {
    /// The subscription item.
    pub subscription_item_id: String,
    /// Its price.
    pub price_id: String,
    /// What that price says: `currency` and `unit_amount_decimal`, or
    /// `currency`, `tiers_mode` and `tiers`, beside the other fields.
    #[serde(flatten)]
    pub price: Price,
    /// The meter behind the price; empty for a price that has none and bills
    /// usage records.
    pub meter_id: String,
    /// The event name that the meter listens to. Without a meter, the name that
    /// the catalog tells the item's usage apart by; empty without a catalog.
    pub meter_event_name: String,
    /// When it was added to the subscription, where that had begun before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_at: Option<Timestamp>,
}

/// One customer. Personal data stays in Stripe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerRow {
    /// The Stripe customer's id: the table's key.
    pub customer_id: CustomerId,
    /// The operator's own id of the customer, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The Stripe subscription.
    pub subscription_id: String,
    /// The metered item of that subscription, the first where it has several.
    /// Its fields stand beside the others.
    #[serde(flatten)]
    pub item: MeteredItem,
    /// The further metered items, of the catalog's other meters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_items: Vec<MeteredItem>,
    /// When the subscription began to bill.
    pub subscription_started_at: Timestamp,
    /// When it ended or is set to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_ends_at: Option<Timestamp>,
    /// Its last free trial, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// Start of the last known period.
    pub period_start: Timestamp,
    /// End of the last known period.
    pub period_end: Timestamp,
    /// Whether the customer may act, as Stripe last told; [`CustomerRow::status_at`]
    /// says what has become of it since.
    pub status: CustomerStatus,
    /// When a customer who is past due is suspended, in the customer's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ends_at: Option<Timestamp>,
    /// The test clock that the customer lives on, in test mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_clock: Option<String>,
    /// How much it may use in each period, where the operator says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spending_limit: Option<SpendingLimit>,
    /// Counts the changes of this row, so that none overwrites another.
    pub version: u64,
    /// When the row was made, in real time.
    pub created_at: Timestamp,
    /// When personal data was taken out of it, if it was. No more is stored then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
}

impl CustomerRow {
    /// The metered items of the subscription.
    pub fn items(&self) -> impl Iterator<Item = &MeteredItem> {
        std::iter::once(&self.item).chain(&self.more_items)
    }

    /// The item that bills what the meter of `meter_event_name` counts.
    pub fn item_of_meter(&self, meter_event_name: &str) -> Option<&MeteredItem> {
        self.items()
            .find(|item| item.meter_event_name == meter_event_name)
    }

    /// The item that bills `row`, a recorded event: that of its meter. Usage
    /// records are added to the item that the row names, whatever the catalog
    /// called that item's usage when it was recorded.
    pub fn item_of_event(&self, row: &UsageEventRow) -> Option<&MeteredItem> {
        let named = row.subscription_item_id.as_deref();
        let is_named = |item: &&MeteredItem| {
            item.meter_id.is_empty() && named == Some(&item.subscription_item_id)
        };
        let by_name = || self.item_of_meter(&row.meter_event_name);
        self.items().find(is_named).or_else(by_name)
    }

    /// The event name of the meter that counts what the totals hold under
    /// `meter_event_name`. Usage records from before a catalog named them went to
    /// the first item, and have its name.
    pub fn meter_of_totals<'a>(&'a self, meter_event_name: &'a str) -> &'a str {
        let first = &self.item;
        if meter_event_name.is_empty() && first.meter_id.is_empty() {
            return &first.meter_event_name;
        }
        meter_event_name
    }

    /// What billing needs to know of the subscription, for usage that `item`
    /// bills.
    pub const fn subscription(&self, item: &MeteredItem) -> Subscription {
        Subscription {
            started_at: self.subscription_started_at,
            ends_at: self.subscription_ends_at,
            item_added_at: item.added_at,
            trial: self.trial,
            period_start: self.period_start,
            period_end: self.period_end,
        }
    }

    /// Whether the customer may act at its time `now`. Grace ends by itself,
    /// whether or not Stripe sends an event then.
    pub fn status_at(&self, now: Timestamp) -> CustomerStatus {
        let is_grace_over = self.grace_ends_at.is_some_and(|end| end <= now);
        match self.status {
            CustomerStatus::PastDue if is_grace_over => CustomerStatus::Suspended,
            status => status,
        }
    }

    /// The free trial that the period is which begins at `period_start`: its invoice bills
    /// usage at nothing.
    pub fn trial_of(&self, period_start: Timestamp) -> Option<Trial> {
        self.trial.filter(|trial| trial.contains(period_start))
    }

    /// Whether usage of the period that begins at `period_start` costs nothing.
    pub fn is_free(&self, period_start: Timestamp) -> bool {
        self.trial_of(period_start).is_some()
    }

    /// What `item` bills for `units` of the period that begins at `period_start`.
    pub fn cost_of(&self, item: &MeteredItem, period_start: Timestamp, units: u64) -> Money {
        if self.is_free(period_start) {
            return Money::from_minor_units(0, item.price.currency().clone());
        }
        item.price.cost(units)
    }

    /// When usage of `occurred_at` is billed by `item`, decided at the customer's
    /// `now`, where nobody asks for the invoice of a period that is over: usage of
    /// one is carried over.
    pub fn billing_time(
        &self,
        item: &MeteredItem,
        occurred_at: Timestamp,
        now: Timestamp,
    ) -> BillingTime {
        let ended = EndedPeriod::Final;
        BillingTime::choose(occurred_at, now, &self.subscription(item), ended)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::types::AttributeValue;
    use billing::PriceTerms;
    use serde_json::json;

    use super::CustomerStatus::{Active, Canceled, PastDue, Suspended};
    use super::*;
    use crate::customers::TABLE;
    use crate::items::{from_item, number, text, to_item};

    /// A row as it was stored when a price had one amount per unit.
    fn stored() -> HashMap<String, AttributeValue> {
        let texts = [
            ("customer_id", "cus_1"),
            ("subscription_id", "sub_1"),
            ("subscription_item_id", "si_1"),
            ("price_id", "price_1"),
            ("unit_amount_decimal", "2"),
            ("currency", "usd"),
            ("meter_id", "mtr_1"),
            ("meter_event_name", "operations"),
            ("status", "active"),
        ];
        let texts = texts.map(|(name, value)| (name.to_owned(), text(value)));
        let numbers = [
            ("subscription_started_at", 1_769_860_800_000_i64),
            ("period_start", 1_769_860_800_000),
            ("period_end", 1_772_280_000_000),
            ("created_at", 1_769_860_800_000),
            ("version", 7),
        ];
        let numbers = numbers.map(|(name, value)| (name.to_owned(), number(value)));
        texts.into_iter().chain(numbers).collect()
    }

    #[test]
    fn a_row_of_one_amount_per_unit_is_read_and_written_as_ever() {
        let row: CustomerRow = from_item(TABLE, stored()).unwrap();
        assert_eq!(
            Price::try_from(PriceTerms::per_unit("2", "usd")),
            Ok(row.item.price.clone())
        );
        assert_eq!(to_item(TABLE, &row).unwrap(), stored());
    }

    #[test]
    fn tiers_and_packages_are_stored_beside_the_other_fields() {
        let tiers = json!({ "currency": "jpy", "tiers_mode": "graduated", "tiers": [
            { "up_to": 9_007_199_254_740_993_u64, "unit_amount_decimal": "0.000000000001" },
            { "up_to": null, "flat_amount_decimal": "100" },
        ]});
        let packages = json!({ "currency": "kwd", "unit_amount_decimal": "2",
            "transform_quantity": { "divide_by": 1_000, "round": "up" } });
        let row: CustomerRow = from_item(TABLE, stored()).unwrap();
        for price in [tiers, packages] {
            let price: Price = serde_json::from_value(price).unwrap();
            let mut row = row.clone();
            row.item.price = price;
            let item = to_item(TABLE, &row).unwrap();
            assert_eq!(from_item::<CustomerRow>(TABLE, item).unwrap(), row);
        }
    }

    #[test]
    fn further_items_are_stored_beside_the_first_and_found_by_their_meter() {
        let mut row: CustomerRow = from_item(TABLE, stored()).unwrap();
        row.more_items.push(MeteredItem {
            subscription_item_id: "si_2".to_owned(),
            price_id: "price_2".to_owned(),
            price: PriceTerms::per_unit("0.0004", "usd").try_into().unwrap(),
            meter_id: "mtr_2".to_owned(),
            meter_event_name: "tokens".to_owned(),
            added_at: Some(Timestamp::from_unix_s(1_769_900_000)),
        });
        let item = to_item(TABLE, &row).unwrap();
        assert_eq!(from_item::<CustomerRow>(TABLE, item).unwrap(), row);
        let found = |name| row.item_of_meter(name).map(|it| it.price_id.as_str());
        assert_eq!(found("operations"), Some("price_1"));
        assert_eq!(found("tokens"), Some("price_2"));
        assert_eq!(found("seats"), None);
    }

    #[test]
    fn grace_ends_by_itself_and_only_for_who_is_past_due() {
        let row: CustomerRow = from_item(TABLE, stored()).unwrap();
        let end = Timestamp::from_unix_s(1_772_280_000);
        for (status, grace_ends_at, now, at_now) in [
            (PastDue, Some(end), end.plus_ms(-1), PastDue),
            (PastDue, Some(end), end, Suspended),
            (PastDue, None, end, PastDue),
            (Active, Some(end), end, Active),
            (Canceled, Some(end), end, Canceled),
        ] {
            let row = CustomerRow {
                status,
                grace_ends_at,
                ..row.clone()
            };
            assert_eq!(row.status_at(now), at_now, "{status:?}");
            let item = to_item(TABLE, &row).unwrap();
            assert_eq!(from_item::<CustomerRow>(TABLE, item).unwrap(), row);
        }
    }

    #[test]
    fn a_price_that_cannot_be_computed_with_is_no_row() {
        let mut item = stored();
        item.insert("unit_amount_decimal".to_owned(), text("two"));
        assert!(from_item::<CustomerRow>(TABLE, item).is_err());
    }
}
