//! API keys: an id to find the row by and a secret of which only a hash is kept.

use std::fmt;

use billing::{CustomerId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::items::{from_item, text, to_item};
use crate::{Ledger, LedgerError, RequestRate};

pub(crate) const TABLE: &str = "api-keys";

/// What every key begins with, so that secret scanners can find a leaked one.
const PREFIX: &str = "mk";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Emit usage.
    Emit,
    /// Read usage, access and invoices.
    Read,
    /// Everything, onboarding included.
    Admin,
}

impl Scope {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emit => "emit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// One key. The secret has 256 random bits, so a plain hash of it is enough:
/// there is nothing to guess that a slow hash would slow down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRow {
    /// The public half: the table's key.
    pub key_id: String,
    /// Hex SHA-256 of the secret half.
    pub secret_hash: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The customers that it may act for; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customers: Option<Vec<CustomerId>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to work, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was taken back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key that takes its place, where it was rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_to: Option<String>,
    /// The key whose place it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<String>,
    /// How many requests it may make; as many as the functions let any key,
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<RequestRate>,
}

/// Whether a key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl KeyState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl ApiKeyRow {
    /// Whether `presented` is this key, by its secret; compared in constant time.
    pub fn is(&self, presented: &PresentedApiKey) -> bool {
        let hash = hash_secret(presented.secret.expose_secret());
        self.key_id == presented.key_id
            && bool::from(hash.as_bytes().ct_eq(self.secret_hash.as_bytes()))
    }

    /// Whether it works at `now`, or why not.
    pub fn state_at(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// Whether it works at `now`.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.state_at(now) == KeyState::Active
    }

    /// Whether it may do `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope)
    }

    /// Whether it may act for `customer_id`.
    pub fn may_act_for(&self, customer_id: &CustomerId) -> bool {
        self.customers
            .as_ref()
            .is_none_or(|customers| customers.contains(customer_id))
    }
}

/// A key as a caller presents it: `mk_{id}_{secret}`.
#[derive(Clone)]
pub struct PresentedApiKey {
    /// The public half.
    pub key_id: String,
    secret: SecretString,
}

/// The text is not of the form of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct InvalidApiKey;

impl PresentedApiKey {
    /// Whether `text` has the form of a key's public half.
    pub fn is_key_id(text: &str) -> bool {
        is_hex(text, ID_BYTES)
    }

    /// Reads a key. What is not even of its form costs no read of the table.
    ///
    /// # Errors
    /// [`InvalidApiKey`] for any other text.
    pub fn parse(key: &str) -> Result<Self, InvalidApiKey> {
        let mut parts = key.split('_');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(PREFIX), Some(key_id), Some(secret), None)
                if is_hex(key_id, ID_BYTES) && is_hex(secret, SECRET_BYTES) =>
            {
                Ok(Self {
                    key_id: key_id.to_owned(),
                    secret: SecretString::from(secret),
                })
            }
            _ => Err(InvalidApiKey),
        }
    }
}

impl fmt::Debug for PresentedApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedApiKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A key that was just made: the only moment at which its secret is known.
#[derive(Debug)]
pub struct NewApiKey {
    /// The whole key, for its user.
    pub key: SecretString,
    /// What is stored of it.
    pub row: ApiKeyRow,
}

impl NewApiKey {
    /// Makes a key of `scopes` from the system's randomness.
    ///
    /// # Errors
    /// [`getrandom::Error`] where the system has none.
    pub fn generate(scopes: Vec<Scope>, now: Timestamp) -> Result<Self, getrandom::Error> {
        let mut random = [0; ID_BYTES + SECRET_BYTES];
        getrandom::fill(&mut random)?;
        let (id, secret) = random.split_at(ID_BYTES);
        let (key_id, secret) = (hex::encode(id), hex::encode(secret));
        Ok(Self {
            key: SecretString::from(format!("{PREFIX}_{key_id}_{secret}")),
            row: ApiKeyRow {
                secret_hash: hash_secret(&secret),
                key_id,
                name: None,
                scopes,
                customers: None,
                created_at: now,
                expires_at: None,
                revoked_at: None,
                rotated_to: None,
                rotated_from: None,
                requests_per_second: None,
            },
        })
    }
}

/// In lower case alone: an id is one row's, and its counter's.
fn is_hex(text: &str, bytes: usize) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == bytes * 2 && text.bytes().all(is_digit)
}

fn hash_secret(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

impl Ledger {
    /// The row of `key_id`; one that was just stored is found.
    ///
    /// # Errors
    /// [`LedgerError`] where DynamoDB fails or the row is unreadable.
    pub async fn api_key(&self, key_id: &str) -> Result<Option<ApiKeyRow>, LedgerError> {
        let got = self
            .client
            .get_item()
            .table_name(&self.tables.api_keys)
            .key("key_id", text(key_id))
            .consistent_read(true)
            .send()
            .await
            .map_err(LedgerError::unavailable("read API key"))?;
        got.item.map(|item| from_item(TABLE, item)).transpose()
    }

    /// Stores a key's row.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`]: perhaps stored.
    pub async fn put_api_key(&self, row: &ApiKeyRow) -> Result<(), LedgerError> {
        self.client
            .put_item()
            .table_name(&self.tables.api_keys)
            .set_item(Some(to_item(TABLE, row)?))
            .send()
            .await
            .map(|_| ())
            .map_err(LedgerError::unavailable("store API key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn a_key_opens_its_own_row_and_no_other() {
        let mine = NewApiKey::generate(vec![Scope::Emit], NOW).unwrap();
        let other = NewApiKey::generate(vec![Scope::Admin], NOW).unwrap();
        let presented = PresentedApiKey::parse(mine.key.expose_secret()).unwrap();
        assert!(mine.row.is(&presented));
        assert!(!other.row.is(&presented));
        assert!(mine.row.allows(Scope::Emit) && !mine.row.allows(Scope::Read));
        assert!(other.row.allows(Scope::Read));
    }

    #[test]
    fn other_texts_are_no_keys_and_secrets_are_not_shown() {
        for text in [
            "",
            "mk",
            "mk__",
            "mk_00_11",
            "sk_test_1",
            "mk_0011223344556677_zz",
        ] {
            assert_eq!(
                PresentedApiKey::parse(text).unwrap_err(),
                InvalidApiKey,
                "{text}"
            );
        }
        let key = NewApiKey::generate(vec![], NOW).unwrap();
        let secret = key
            .key
            .expose_secret()
            .rsplit('_')
            .next()
            .unwrap()
            .to_owned();
        let presented = PresentedApiKey::parse(key.key.expose_secret()).unwrap();
        assert!(!format!("{presented:?} {key:?}").contains(&secret));
    }
}
