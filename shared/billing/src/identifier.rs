//! The key of a usage event, and the fingerprint of what its agent said.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::usage_event::{CustomerId, EventId, UsageEvent};

/// The one name of a usage event everywhere: key of the audit log and Stripe's
/// `identifier`. Hex SHA-256 over customer and event id, so it is unique across
/// customers, 64 characters long and safe with any character in an event id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identifier(String);

impl Identifier {
    /// The identifier of `event_id` of `customer_id`.
    pub fn of(customer_id: &CustomerId, event_id: &EventId) -> Self {
        let mut hasher = Sha256::new();
        update_framed(&mut hasher, customer_id.as_str());
        update_framed(&mut hasher, event_id.as_str());
        Self(hex::encode(hasher.finalize()))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 bytes that the digits stand for; none where they are no such text,
    /// which no identifier made here is.
    pub fn to_bytes(&self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.0, &mut bytes).ok()?;
        Some(bytes)
    }

    /// The identifier of 32 bytes; none where they are more or fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 32).then(|| Self(hex::encode(bytes)))
    }

    /// One of the 16 buckets that keep a busy customer from being one hot
    /// partition: the first hex digit.
    pub fn bucket(&self) -> &str {
        self.0.get(..1).unwrap_or("0")
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hex SHA-256 over exactly what the agent sent. Two calls with one event id
/// and equal hashes are a repeat; with unequal hashes, a conflict.
///
/// An omitted `occurred_at` stays omitted here, though the row holds the time of
/// its first recording: a retry a second later is no conflict.
///
/// CloudEvents says that an event is named by its source and its id together. The id
/// alone is an event's name here, so that the source is a part of the content: one id
/// from two sources is a conflict, which its emitter sees, and never taken for a repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentHash(String);

impl ContentHash {
    /// The fingerprint of `event`.
    pub fn of(event: &UsageEvent) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"usage event 1");
        update_framed(&mut hasher, event.action_type.as_str());
        hasher.update(event.quantity.get().to_be_bytes());
        match &event.subscription_item_id {
            Some(id) => {
                hasher.update([1]);
                update_framed(&mut hasher, id);
            }
            None => hasher.update([0]),
        }
        match event.occurred_at {
            Some(at) => {
                hasher.update([1]);
                hasher.update(at.unix_ms().to_be_bytes());
            }
            None => hasher.update([0]),
        }
        // Without a source the hash is what it was before events had any.
        if let Some(source) = &event.source {
            hasher.update([1]);
            update_framed(&mut hasher, source.as_str());
        }
        Self(hex::encode(hasher.finalize()))
    }
}

/// Length first: ("ab", "c") and ("a", "bc") must not meet in one hash.
fn update_framed(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use crate::usage_event::EventSource;
    use crate::usage_event::tests::an_event;

    fn identifier(customer: &str, event: &str) -> Identifier {
        Identifier::of(
            &CustomerId::parse(customer).unwrap(),
            &EventId::parse(event).unwrap(),
        )
    }

    #[test]
    fn the_boundary_between_customer_and_event_counts() {
        assert_ne!(identifier("cus_a", "bc"), identifier("cus_ab", "c"));
    }

    #[test]
    fn it_is_the_same_in_every_process() {
        assert_eq!(
            identifier("cus_1", "job-7/ä#").as_str(),
            "009d2e048faf8d9a481e3695a2fa375d519640ee4b82507f709e8a66cbd81484"
        );
    }

    #[test]
    fn it_goes_into_bytes_and_back() {
        let identifier = identifier("cus_1", "a");
        let bytes = identifier.to_bytes().unwrap();
        assert_eq!(Identifier::from_bytes(&bytes), Some(identifier));
        assert_eq!(Identifier::from_bytes(&bytes[1..]), None);
        for text in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
            assert_eq!(Identifier(text.to_owned()).to_bytes(), None, "{text}");
        }
    }

    #[test]
    fn every_field_that_was_sent_is_in_the_content() {
        let base = an_event();
        let mut changed = vec![base.clone(); 6];
        changed[0].quantity = crate::Quantity::new(2).unwrap();
        changed[1].action_type = crate::ActionType::parse("other").unwrap();
        changed[2].subscription_item_id = Some("si_1".into());
        changed[3].occurred_at = Some(Timestamp::from_unix_s(1_769_860_800));
        changed[4].source = Some(EventSource::parse("/agents/7").unwrap());
        changed[5].source = Some(EventSource::parse("/agents/8").unwrap());
        let mut hashes: Vec<_> = changed.iter().map(ContentHash::of).collect();
        hashes.push(ContentHash::of(&base));
        for (n, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..n].contains(hash), "{n}");
        }
        assert_eq!(ContentHash::of(&base.clone()), hashes[6]);
    }

    #[test]
    fn what_was_recorded_before_events_had_sources_stays_what_it_was() {
        assert_eq!(
            ContentHash::of(&an_event()).0,
            "9226706656f59b3cfcd3da7b0231a71ed4c08a2f679de84b245bb477014cefcb"
        );
        let mut full = an_event();
        full.subscription_item_id = Some("si_1".into());
        full.occurred_at = Some(Timestamp::from_unix_s(1_769_860_800));
        assert_eq!(
            ContentHash::of(&full).0,
            "266734845d6d32b6194ba052dcfb6eccac09f5e6abdf88694922d7954ea30542"
        );
    }
}
