//! What the operator was told of a customer's limit in a period: a row among the
//! period's totals, so that whoever reads these reads it, too.
//!
//! It follows from the totals and the limit: lost with them, thresholds that are
//! crossed are told of once more, under the same ids.

use billing::{CustomerId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::due::{DUE_BUCKET, DUE_KEY, LIMIT_WATCH_SUFFIX, due_attributes};
use crate::error::is_condition_failure;
use crate::items::{Item, from_item, number, text, to_item};
use crate::totals_day::period_prefix;
use crate::{Ledger, LedgerError, Updated};

const TABLE: &str = "usage-totals (limit watches)";

/// A threshold that is crossed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaisedAlert {
    /// The threshold, in percent of the limit.
    pub percent: u16,
    /// The revision of the limit that it was crossed under.
    pub revision: u64,
    /// When that was seen, in real time.
    pub raised_at: Timestamp,
}

/// Something that the operator is still to be told. It names the customer by the
/// row's key alone, so that an erasure has nothing to take out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntoldAlert {
    /// The notification's id, the same at each repeat.
    pub id: String,
    /// The notification's kind.
    pub kind: String,
    /// When it came about.
    pub at: Timestamp,
    /// The notification's `data`: JSON.
    pub data: String,
}

/// The alerts of a customer's limit in one period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitWatch {
    /// Whose.
    pub customer_id: CustomerId,
    /// The start of the period, in whole seconds.
    #[serde(skip, default = "no_period")]
    pub period_start: Timestamp,
    /// Thresholds that are crossed.
    #[serde(default, rename = "alerts_raised")]
    pub raised: Vec<RaisedAlert>,
    /// What is still to be told.
    #[serde(default)]
    pub untold: Vec<UntoldAlert>,
    /// When somebody has to look at it at the latest, in real time; none where
    /// nobody has to.
    #[serde(default)]
    pub due_at: Option<Timestamp>,
    /// Counts the changes of this row, so that none overwrites another.
    #[serde(default)]
    pub version: u64,
}

/// Replaced by what the key says.
const fn no_period() -> Timestamp {
    Timestamp::from_unix_ms(0)
}

impl LimitWatch {
    /// Those of its members, beside the key.
    pub(crate) const ATTRIBUTES: [&str; 4] = ["alerts_raised", "untold", "due_at", "version"];

    /// That of a period in which nothing was seen yet.
    pub const fn new(customer_id: CustomerId, period_start: Timestamp) -> Self {
        Self {
            customer_id,
            period_start,
            raised: Vec::new(),
            untold: Vec::new(),
            due_at: None,
            version: 0,
        }
    }

    /// Reads an item; none where it is another row.
    pub(crate) fn from_item(item: &Item) -> Option<Result<Self, LedgerError>> {
        let total_key = item.get("total_key")?.as_s().ok()?;
        let period_start_s = total_key.strip_suffix(LIMIT_WATCH_SUFFIX)?;
        let period_start = Timestamp::from_unix_s(period_start_s.parse().ok()?);
        let watch = from_item(TABLE, item.clone()).map(|watch: Self| Self {
            period_start,
            ..watch
        });
        Some(watch)
    }

    fn to_item(&self) -> Result<Item, LedgerError> {
        let mut item: Item = to_item(TABLE, self)?;
        let total_key = total_key(self.period_start);
        item.insert("total_key".to_owned(), text(total_key));
        if let Some(at) = self.due_at {
            let due = due_attributes(&self.customer_id, at).into_iter();
            item.extend(due.map(|(name, value)| (name.to_owned(), value)));
        }
        Ok(item)
    }
}

fn total_key(period_start: Timestamp) -> String {
    let period = period_prefix(Some(period_start));
    format!("{period}{LIMIT_WATCH_SUFFIX}")
}

impl Ledger {
    /// The watch of `customer_id`'s limit in the period that begins at
    /// `period_start`, if there is one.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn limit_watch(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
    ) -> Result<Option<LimitWatch>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(customer_id.as_str()))
            .key("total_key", text(total_key(period_start)))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read limit watch"))?;
        let watch = got.item.as_ref().and_then(LimitWatch::from_item);
        watch.transpose()
    }

    /// Puts `watch` in the place of the one that was read as `version`; 0 for
    /// none. It has the next version then.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps put.
    pub async fn put_limit_watch(
        &self,
        version: u64,
        watch: &LimitWatch,
    ) -> Result<Updated, LedgerError> {
        let watch = LimitWatch {
            version: version.saturating_add(1),
            ..watch.clone()
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.tables.usage_totals)
            .set_item(Some(watch.to_item()?));
        let put = match version {
            0 => put.condition_expression("attribute_not_exists(total_key)"),
            version => put
                .condition_expression("#version = :read")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":read", number(version)),
        };
        match put.send().await {
            Ok(_) => Ok(Updated::Done),
            Err(error) if is_condition_failure(&error) => Ok(Updated::VersionConflict),
            Err(error) => Err(LedgerError::unavailable("put limit watch")(error)),
        }
    }

    /// Has somebody look at `customer_id`'s limit at `at`, in the period that
    /// begins at `period_start` or a later one.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps noted.
    pub async fn watch_limit(
        &self,
        customer_id: &CustomerId,
        period_start: Timestamp,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let [(_, bucket), (_, key)] = due_attributes(customer_id, at);
        self.client
            .update_item()
            .table_name(&self.tables.usage_totals)
            .key("customer_id", text(customer_id.as_str()))
            .key("total_key", text(total_key(period_start)))
            .update_expression(format!(
                "SET {DUE_BUCKET} = :bucket, {DUE_KEY} = :key, due_at = :at ADD #version :one"
            ))
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":bucket", bucket)
            .expression_attribute_values(":key", key)
            .expression_attribute_values(":at", number(at.unix_ms()))
            .expression_attribute_values(":one", number(1))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("watch limit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_reads_back_with_its_period_and_only_where_it_is_one() {
        let mut watch = LimitWatch::new(
            CustomerId::parse("cus_1").unwrap(),
            Timestamp::from_unix_s(1_769_860_800),
        );
        for due_at in [None, Some(Timestamp::from_unix_ms(1_769_864_400_001))] {
            watch.due_at = due_at;
            watch.version = 3;
            watch.untold = vec![UntoldAlert {
                id: "a".to_owned(),
                kind: "limit_threshold_reached".to_owned(),
                at: Timestamp::from_unix_ms(2),
                data: "{}".to_owned(),
            }];
            watch.raised = vec![RaisedAlert {
                percent: 50,
                revision: 7,
                raised_at: Timestamp::from_unix_ms(1),
            }];
            let mut item = watch.to_item().unwrap();
            assert_eq!(item.contains_key(DUE_KEY), due_at.is_some());
            let read = LimitWatch::from_item(&item).unwrap().unwrap();
            assert_eq!(read, watch);
            let keys = ["customer_id", "total_key"];
            let asked_for = [&keys[..], &LimitWatch::ATTRIBUTES].concat();
            let mut projected = item.clone();
            projected.retain(|name, _| asked_for.contains(&name.as_str()));
            let read = LimitWatch::from_item(&projected).unwrap().unwrap();
            assert_eq!(read, watch, "nothing is missing from what is asked for");
            item.insert("total_key".to_owned(), text("checkpoint"));
            assert!(LimitWatch::from_item(&item).is_none());
        }
    }
}
