//! Rows beside the totals that somebody has to look at when their time comes:
//! limits that are watched, reservations that expire. The index `by-due-time`
//! lists those that have a time, and no others.

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{CustomerId, Timestamp};
use sha2::{Digest, Sha256};

use crate::items::{Item, text};
use crate::{Ledger, LedgerError};

/// The index of the totals' table.
pub(crate) const INDEX: &str = "by-due-time";
/// Attributes of its key.
pub(crate) const DUE_BUCKET: &str = "due_bucket";
pub(crate) const DUE_KEY: &str = "due_key";

/// Partitions of the index, so that none has all that is reserved.
const BUCKETS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

/// A row whose time has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Due {
    /// Whose.
    pub customer_id: CustomerId,
    /// What it is.
    pub duty: Duty,
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// The customer's limit, in the period that begins then.
    Limit(Timestamp),
    /// A reservation, by its id.
    Reservation(String),
}

/// A page of what is due.
#[derive(Clone, Debug, Default)]
pub struct DuePage {
    /// The rows, the longest due first.
    pub due: Vec<Due>,
    /// Where the next page begins; none where this is the last one.
    pub next: Option<DueCursor>,
}

/// A place in what is due.
#[derive(Clone, Debug)]
pub struct DueCursor(Item);

/// A part of what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueBucket(char);

impl DueBucket {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        BUCKETS.into_iter().map(Self)
    }

    /// The one that a customer's rows are in.
    pub fn of(customer_id: &CustomerId) -> Self {
        let digest = Sha256::digest(customer_id.as_str().as_bytes());
        let digit = digest.first().copied().unwrap_or_default() % 16;
        Self(char::from_digit(u32::from(digit), 16).unwrap_or('0'))
    }
}

/// The attributes by which a row of `customer_id` is due at `at`.
pub(crate) fn due_attributes(
    customer_id: &CustomerId,
    at: Timestamp,
) -> [(&'static str, AttributeValue); 2] {
    let bucket = DueBucket::of(customer_id).0;
    let at_ms = at.unix_ms().max(0);
    [
        (DUE_BUCKET, text(bucket)),
        (DUE_KEY, text(format!("{at_ms:013}#{customer_id}"))),
    ]
}

/// The end of a sort key of what is due until `at`.
fn until(at: Timestamp) -> String {
    format!("{:013}$", at.unix_ms().max(0))
}

impl Ledger {
    /// What of `bucket` is due at `now`, from `start` on, up to `limit` rows. The
    /// index follows the table with a delay: whoever acts on a row reads it first.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] where DynamoDB fails.
    pub async fn due(
        &self,
        bucket: DueBucket,
        now: Timestamp,
        limit: i32,
        start: Option<DueCursor>,
    ) -> Result<DuePage, LedgerError> {
        let page = self
            .client
            .query()
            .table_name(&self.tables.usage_totals)
            .index_name(INDEX)
            .key_condition_expression("due_bucket = :bucket AND due_key < :until")
            .expression_attribute_values(":bucket", text(bucket.0))
            .expression_attribute_values(":until", text(until(now)))
            .limit(limit)
            .set_exclusive_start_key(start.map(|DueCursor(key)| key))
            .send()
            .await
            .map_err(LedgerError::unavailable("list what is due"))?;
        let items = page.items.unwrap_or_default();
        Ok(DuePage {
            due: items.iter().filter_map(due_in).collect(),
            next: page.last_evaluated_key.map(DueCursor),
        })
    }
}

fn due_in(item: &Item) -> Option<Due> {
    let attribute = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
    let total_key = attribute("total_key")?;
    Some(Due {
        customer_id: CustomerId::parse(attribute("customer_id")?).ok()?,
        duty: Duty::parse(total_key)?,
    })
}

impl Duty {
    fn parse(total_key: &str) -> Option<Self> {
        if let Some(reservation_id) = total_key.strip_prefix(RESERVATION_PREFIX) {
            return Some(Self::Reservation(reservation_id.to_owned()));
        }
        let period_start_s = total_key.strip_suffix(LIMIT_WATCH_SUFFIX)?;
        let period_start_s = period_start_s.parse().ok()?;
        Some(Self::Limit(Timestamp::from_unix_s(period_start_s)))
    }
}

/// What the sort key of a reservation begins with; no period does.
pub(crate) const RESERVATION_PREFIX: &str = "reservation#";
/// What the sort key of a watched limit ends with, after its period. It lies
/// among the period's totals, and is none: they go on with a day's digits.
pub(crate) const LIMIT_WATCH_SUFFIX: &str = "#limit-watch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_told_by_its_key() {
        assert_eq!(
            Duty::parse("1769860800#limit-watch"),
            Some(Duty::Limit(Timestamp::from_unix_s(1_769_860_800)))
        );
        assert_eq!(
            Duty::parse("reservation#a#limit-watch"),
            Some(Duty::Reservation("a#limit-watch".to_owned()))
        );
        for other in ["checkpoint", "1769860800#1769817600#m#a#0", "x#limit-watch"] {
            assert_eq!(Duty::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_due_now_sorts_before_what_is_due_later() {
        let customer_id = CustomerId::parse("cus_zzz").unwrap();
        let key = |ms| {
            let [_, (_, key)] = due_attributes(&customer_id, Timestamp::from_unix_ms(ms));
            key.as_s().unwrap().clone()
        };
        let now = until(Timestamp::from_unix_ms(1_000));
        assert!(key(999) < now && key(1_000) < now && key(1_001) > now);
        assert!(key(-5) < now);
    }

    #[test]
    fn customers_are_spread_over_all_buckets() {
        let used: std::collections::BTreeSet<char> = (0..500)
            .map(|n| DueBucket::of(&CustomerId::parse(&format!("cus_{n}")).unwrap()).0)
            .collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), BUCKETS);
        assert_eq!(DueBucket::all().count(), 16);
    }
}
