//! Keys that are taken back, and keys that another one replaces.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, ReturnValue, TransactWriteItem, Update};
use billing::Timestamp;

use crate::api_keys::TABLE;
use crate::error::is_condition_failure;
use crate::items::{from_item, number, text, to_item};
use crate::{ApiKeyRow, KeyState, Ledger, LedgerError, NewApiKey};

/// What became of taking a key back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is taken back, by this call or, as `revoked_at` tells, an earlier one.
    Done(Box<ApiKeyRow>),
    /// There is no such key.
    Unknown,
}

/// A key, and the one that is to replace it.
#[derive(Debug)]
pub struct Rotation {
    /// The key that is replaced, as it will be.
    pub old: ApiKeyRow,
    /// The one that replaces it.
    pub new: NewApiKey,
    /// When the old one ended before, if ever.
    ended_at: Option<Timestamp>,
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The new key works, and the old one will end.
    Done,
    /// The old key was changed since it was read: nothing was written.
    Changed,
}

impl Rotation {
    /// Prepares to replace `old` by a key that may do the same. `old` works for
    /// another `overlap_ms` at most. Where it had an end, the new one is given as
    /// long a time again.
    ///
    /// # Errors
    /// [`getrandom::Error`] where the system has no randomness.
    pub fn prepare(
        old: ApiKeyRow,
        overlap_ms: i64,
        now: Timestamp,
    ) -> Result<Self, getrandom::Error> {
        let mut new = NewApiKey::generate(old.scopes.clone(), now)?;
        let ended_at = old.expires_at;
        let lasted_ms = ended_at.map(|end| end.ms_since(old.created_at));
        new.row.expires_at = lasted_ms.map(|lasted_ms| now.plus_ms(lasted_ms));
        new.row.name = old.name.clone();
        new.row.customers = old.customers.clone();
        new.row.requests_per_second = old.requests_per_second;
        new.row.rotated_from = Some(old.key_id.clone());
        let end = now.plus_ms(overlap_ms);
        let old = ApiKeyRow {
            expires_at: Some(ended_at.map_or(end, |ended_at| ended_at.min(end))),
            rotated_to: Some(new.row.key_id.clone()),
            ..old
        };
        Ok(Self { old, new, ended_at })
    }
}

impl Ledger {
    /// Takes a key back at `now`. Its row stays, to tell of it. Repeating it
    /// changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]: perhaps taken back.
    pub async fn revoke_api_key(
        &self,
        key_id: &str,
        now: Timestamp,
    ) -> Result<Revoked, LedgerError> {
        const OPERATION: &str = "revoke API key";
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.api_keys)
            .key("key_id", text(key_id))
            .update_expression("SET revoked_at = if_not_exists(revoked_at, :now)")
            // A key, and not a counter.
            .condition_expression("attribute_exists(secret_hash)")
            .expression_attribute_values(":now", number(now.unix_ms()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match updated {
            Ok(updated) => {
                let row = from_item(TABLE, updated.attributes.unwrap_or_default())?;
                Ok(Revoked::Done(Box::new(row)))
            }
            Err(error) if is_condition_failure(&error) => Ok(Revoked::Unknown),
            Err(error) => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }

    /// Stores a rotation: the new key and the end of the old one, or neither.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps stored; the old key's row tells.
    pub async fn rotate_api_key(&self, rotation: &Rotation) -> Result<Rotated, LedgerError> {
        const OPERATION: &str = "rotate API key";
        let put = Put::builder()
            .table_name(&self.tables.api_keys)
            .set_item(Some(to_item(TABLE, &rotation.new.row)?))
            .condition_expression("attribute_not_exists(key_id)")
            .build()
            .map_err(LedgerError::unavailable(OPERATION))?;
        let end = rotation.old.expires_at.map_or(0, Timestamp::unix_ms);
        let update = Update::builder()
            .table_name(&self.tables.api_keys)
            .key("key_id", text(&rotation.old.key_id))
            .update_expression("SET expires_at = :end, rotated_to = :new")
            .expression_attribute_values(":end", number(end))
            .expression_attribute_values(":new", text(&rotation.new.row.key_id));
        let as_read = "attribute_exists(secret_hash) AND attribute_not_exists(revoked_at) \
                       AND attribute_not_exists(rotated_to)";
        let update = match rotation.ended_at {
            None => update
                .condition_expression(format!("{as_read} AND attribute_not_exists(expires_at)")),
            Some(ended_at) => update
                .condition_expression(format!("{as_read} AND expires_at = :ended"))
                .expression_attribute_values(":ended", number(ended_at.unix_ms())),
        };
        let update = update
            .build()
            .map_err(LedgerError::unavailable(OPERATION))?;
        let transaction = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(put).build())
            .transact_items(TransactWriteItem::builder().update(update).build())
            .send()
            .await;
        let Err(error) = transaction else {
            return Ok(Rotated::Done);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                if cancelled
                    .cancellation_reasons()
                    .iter()
                    .any(|reason| reason.code() == Some("ConditionalCheckFailed")) =>
            {
                Ok(Rotated::Changed)
            }
            _ => Err(LedgerError::unavailable(OPERATION)(error)),
        }
    }
}

impl ApiKeyRow {
    /// Why no other key can take this one's place, if none can.
    pub fn refuses_rotation(&self, now: Timestamp) -> Option<String> {
        let key_id = &self.key_id;
        match (self.state_at(now), &self.rotated_to) {
            (KeyState::Revoked, _) => Some(format!("the key {key_id} is revoked")),
            (_, Some(new)) => Some(format!(
                "the key {key_id} was rotated before: {new} takes its place"
            )),
            (KeyState::Expired, None) => Some(format!("the key {key_id} has expired")),
            (KeyState::Active, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RequestRate, Scope};
    use billing::CustomerId;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);
    const HOUR_MS: i64 = 3_600_000;

    fn a_key() -> ApiKeyRow {
        let made = NewApiKey::generate(vec![Scope::Emit], NOW).unwrap();
        ApiKeyRow {
            name: Some("agent".to_owned()),
            customers: Some(vec![CustomerId::parse("cus_1").unwrap()]),
            requests_per_second: Some(RequestRate::new(7).unwrap()),
            ..made.row
        }
    }

    #[test]
    fn the_new_key_may_do_what_the_old_one_might() {
        let old = a_key();
        let rotation = Rotation::prepare(old.clone(), HOUR_MS, NOW).unwrap();
        let new = &rotation.new.row;
        assert_ne!(new.key_id, old.key_id);
        assert_ne!(new.secret_hash, old.secret_hash);
        assert_eq!(
            (&new.name, &new.scopes, &new.customers),
            (&old.name, &old.scopes, &old.customers)
        );
        assert_eq!(new.requests_per_second, old.requests_per_second);
        assert_eq!(new.expires_at, None);
        assert_eq!(rotation.old.expires_at, Some(NOW.plus_ms(HOUR_MS)));
        assert_eq!(rotation.old.rotated_to.as_ref(), Some(&new.key_id));
        assert_eq!(new.rotated_from.as_ref(), Some(&old.key_id));
    }

    #[test]
    fn an_end_that_is_near_stays_and_the_new_key_lasts_as_long_again() {
        let old = ApiKeyRow {
            expires_at: Some(NOW.plus_ms(10 * HOUR_MS)),
            ..a_key()
        };
        let later = NOW.plus_ms(9 * HOUR_MS);
        let rotation = Rotation::prepare(old, 24 * HOUR_MS, later).unwrap();
        assert_eq!(rotation.old.expires_at, Some(NOW.plus_ms(10 * HOUR_MS)));
        let end = later.plus_ms(10 * HOUR_MS);
        assert_eq!(rotation.new.row.expires_at, Some(end));
    }

    #[test]
    fn what_does_not_work_is_not_rotated_and_nothing_twice() {
        let key = a_key();
        assert_eq!(key.refuses_rotation(NOW), None);
        let revoked_at = Some(NOW);
        let expires_at = Some(NOW);
        let rotated_to = Some("00".to_owned());
        for (key, why) in [
            (
                ApiKeyRow {
                    revoked_at,
                    ..a_key()
                },
                "revoked",
            ),
            (
                ApiKeyRow {
                    expires_at,
                    ..a_key()
                },
                "expired",
            ),
            (
                ApiKeyRow {
                    rotated_to,
                    ..a_key()
                },
                "rotated before: 00",
            ),
        ] {
            let refused = key.refuses_rotation(NOW).unwrap();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
