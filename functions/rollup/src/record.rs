//! Records of the audit log's stream, as the rollup reads them.

use std::fmt;

use billing::{ActionType, CustomerId, Identifier, Timestamp, UsageStatus};
use ledger::{EventReservation, Poison, SettledHold, TotalKey};
use serde::Deserialize;
use serde_dynamo::{AttributeValue, Item};

/// The longest sequence number (Amazon DynamoDB Streams API reference:
/// `StreamRecord`), and what they are padded to, so that texts compare as numbers.
const DIGITS_MAX: usize = 40;

/// The hex digits of an identifier.
const IDENTIFIER_LENGTH: usize = 64;

/// The place of a record in its shard, zero-padded to 40 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber(String);

/// A sequence number that is none: without one a record has no place, and
/// nothing after it may be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream record's sequence number is not 1 to {DIGITS_MAX} digits")]
pub struct InvalidSequenceNumber;

impl SequenceNumber {
    /// Reads up to 40 digits.
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] for anything else.
    pub fn parse(digits: &str) -> Result<Self, InvalidSequenceNumber> {
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        if digits.is_empty() || digits.len() > DIGITS_MAX || !is_number {
            return Err(InvalidSequenceNumber);
        }
        Ok(Self(format!("{digits:0>DIGITS_MAX$}")))
    }

    /// The 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What totals and outbox need to know of a usage event's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The row's key.
    pub identifier: Identifier,
    /// Whose usage.
    pub customer_id: CustomerId,
    /// The meter that counts it, by its event name.
    pub meter_event_name: String,
    /// What was done.
    pub action_type: ActionType,
    /// Units used.
    pub quantity: u64,
    /// Where it stands.
    pub status: UsageStatus,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it is billed; none while it is held.
    pub billed_at: Option<Timestamp>,
    /// The start of the period that it is billed in.
    pub period_start: Option<Timestamp>,
    /// When it last became pending.
    pub pending_since: Timestamp,
    /// What it has settled of a reservation.
    pub settled: Option<SettledHold>,
}

/// The attributes of an [`Image`] as they are stored, not yet checked.
#[derive(Deserialize)]
struct StoredImage {
    identifier: Identifier,
    customer_id: String,
    meter_event_name: String,
    action_type: String,
    quantity: u64,
    status: UsageStatus,
    occurred_at: Timestamp,
    billed_at: Option<Timestamp>,
    period_start: Option<Timestamp>,
    pending_since: Timestamp,
    #[serde(default)]
    reservation: Option<EventReservation>,
}

impl Image {
    /// Reads an item of the audit log. What could not be a key of the totals is
    /// refused here: DynamoDB would refuse the whole transaction, again and again.
    fn read(item: Item) -> Result<Self, String> {
        let stored: StoredImage =
            serde_dynamo::from_item(item).map_err(|error| error.to_string())?;
        let identifier = stored.identifier.as_str();
        let is_hex = identifier.bytes().all(|byte| byte.is_ascii_hexdigit());
        if identifier.len() != IDENTIFIER_LENGTH || !is_hex {
            return Err(format!("identifier is not {IDENTIFIER_LENGTH} hex digits"));
        }
        Ok(Self {
            customer_id: CustomerId::parse(&stored.customer_id).map_err(|e| e.to_string())?,
            action_type: ActionType::parse(&stored.action_type).map_err(|e| e.to_string())?,
            identifier: stored.identifier,
            meter_event_name: stored.meter_event_name,
            quantity: stored.quantity,
            status: stored.status,
            occurred_at: stored.occurred_at,
            billed_at: stored.billed_at,
            period_start: stored.period_start,
            pending_since: stored.pending_since,
            settled: stored.reservation.and_then(|it| it.settled),
        })
    }

    /// What it has settled of a reservation, and the cell that this is counted in.
    pub fn settled(&self) -> Option<(TotalKey, u64)> {
        let settled = self.settled.as_ref()?;
        let (customer_id, action_type) = (self.customer_id.clone(), self.action_type.clone());
        let key = settled.total_key(customer_id, action_type, self.occurred_at);
        Some((key, settled.quantity))
    }

    /// The cell that it is counted in.
    pub fn total_key(&self) -> TotalKey {
        TotalKey::of(
            self.customer_id.clone(),
            self.meter_event_name.clone(),
            self.action_type.clone(),
            self.period_start,
            self.billed_at,
            self.occurred_at,
        )
    }

    /// Since when it is pending; none while it is not.
    pub fn pending(&self) -> Option<Timestamp> {
        (self.status == UsageStatus::Pending).then_some(self.pending_since)
    }
}

/// One record of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its place in the shard.
    pub sequence_number: SequenceNumber,
    /// What it tells.
    pub change: Change,
}

/// What a record tells of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row before and after. Without `old` it is new; without `new`, gone,
    /// which happens to no row of the audit log.
    Row {
        /// Before.
        old: Option<Box<Image>>,
        /// After.
        new: Option<Box<Image>>,
    },
    /// The record cannot be counted.
    Unreadable(Poison),
}

impl StreamRecord {
    /// Reads a record with its two images; an empty image is an absent one. An
    /// image that is not a usage event makes the record an unreadable one.
    ///
    /// # Errors
    /// [`InvalidSequenceNumber`] where the record has no place in the shard.
    pub fn read(
        sequence_number: &str,
        old: Option<Item>,
        new: Option<Item>,
    ) -> Result<Self, InvalidSequenceNumber> {
        let sequence_number = SequenceNumber::parse(sequence_number)?;
        let identifier = [&new, &old].into_iter().flatten().find_map(identifier_of);
        let change = match (read_image(old), read_image(new)) {
            (Ok(None), Ok(None)) => unreadable(identifier, "it has no image".to_owned()),
            (Ok(old), Ok(new)) => Change::Row { old, new },
            (Err(reason), _) => unreadable(identifier, format!("old image: {reason}")),
            (_, Err(reason)) => unreadable(identifier, format!("new image: {reason}")),
        };
        Ok(Self {
            sequence_number,
            change,
        })
    }
}

fn read_image(item: Option<Item>) -> Result<Option<Box<Image>>, String> {
    let item = item.filter(|item| !item.inner().is_empty());
    item.map(|item| Image::read(item).map(Box::new)).transpose()
}

fn identifier_of(item: &Item) -> Option<String> {
    match item.inner().get("identifier") {
        Some(AttributeValue::S(identifier)) => Some(identifier.clone()),
        _ => None,
    }
}

pub(crate) fn unreadable(identifier: Option<String>, reason: String) -> Change {
    Change::Unreadable(Poison { identifier, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stored() -> Value {
        json!({
            "identifier": { "S": "ab".repeat(32) },
            "customer_id": { "S": "cus_1" },
            "meter_event_name": { "S": "agent_operations" },
            "action_type": { "S": "document_processed" },
            "quantity": { "N": "3" },
            "status": { "S": "pending" },
            "occurred_at": { "N": "1769864400001" },
            "billed_at": { "N": "1769864400001" },
            "period_start": { "N": "1769860800000" },
            "pending_since": { "N": "1769864400002" },
            "history": { "L": [] },
        })
    }

    fn item(image: Value) -> Option<Item> {
        Some(serde_json::from_value(image).unwrap())
    }

    #[test]
    fn sequence_numbers_compare_as_numbers_do() {
        let number = |digits: &str| SequenceNumber::parse(digits).unwrap();
        assert!(number("9") < number("10"));
        assert!(number("10") < number(&"9".repeat(40)));
        assert_eq!(number("007"), number("7"));
        for text in ["", "-1", "1e3", "٣", &"9".repeat(41)] {
            assert_eq!(
                SequenceNumber::parse(text),
                Err(InvalidSequenceNumber),
                "{text}"
            );
        }
    }

    #[test]
    fn a_row_is_read_as_far_as_it_counts() {
        let record = StreamRecord::read("5", None, item(stored())).unwrap();
        let Change::Row {
            old: None,
            new: Some(image),
        } = record.change
        else {
            panic!("{record:?}");
        };
        assert_eq!((image.quantity, image.status), (3, UsageStatus::Pending));
        assert_eq!(
            image.total_key().hour,
            Timestamp::from_unix_s(1_769_864_400)
        );
        assert_eq!(image.pending(), Some(image.pending_since));
    }

    #[test]
    fn what_could_be_no_key_is_poison_and_still_named() {
        for (attribute, value) in [
            ("customer_id", json!({ "S": "" })),
            ("customer_id", json!({ "S": "cus#1" })),
            ("action_type", json!({ "S": "a#b" })),
            ("quantity", json!({ "N": "-1" })),
            ("quantity", json!({ "S": "3" })),
            ("status", json!({ "S": "lost" })),
            ("pending_since", json!({ "BOOL": true })),
        ] {
            let mut image = stored();
            image[attribute] = value;
            let record = StreamRecord::read("5", item(stored()), item(image)).unwrap();
            let Change::Unreadable(poison) = record.change else {
                panic!("{attribute}: {record:?}");
            };
            assert_eq!(poison.identifier, Some("ab".repeat(32)), "{attribute}");
        }
        let empty = StreamRecord::read("5", None, item(json!({}))).unwrap();
        assert!(matches!(empty.change, Change::Unreadable(_)));
    }
}
