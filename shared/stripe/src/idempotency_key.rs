//! One key per intent, fixed before the first attempt.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use sha2::{Digest, Sha256};

/// The longest key that Stripe takes (Stripe API reference: Idempotent requests).
const LENGTH_MAX: usize = 255;

/// The `Idempotency-Key` of a POST (Stripe API reference: Idempotent requests).
///
/// Stripe keeps a key's answer for at least a day and replays it, an error of
/// its own among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key that is `key`. One that Stripe would not take as it stands
    /// (empty, over 255 characters, or not printable ASCII) becomes its hash,
    /// which stands for it in every process alike.
    pub fn new(key: impl Into<String>) -> Self {
        let key = key.into();
        let usable =
            (1..=LENGTH_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if usable {
            Self(key)
        } else {
            Self::derived(&[&key])
        }
    }

    /// The key of the intent that `parts` name: hex SHA-256 over each part and
    /// its length, so that `["ab", "c"]` and `["a", "bc"]` differ. A process
    /// that starts over derives the same key again.
    pub fn derived(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hex::encode(hash.finalize()))
    }

    /// A key that no other call has, for what is harmless to do twice: a new
    /// session, setting a field to the same value, sending what Stripe drops
    /// by its identifier.
    pub fn random() -> Self {
        // Each RandomState is keyed by the operating system's randomness.
        let half = || RandomState::new().hash_one("Idempotency-Key");
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    /// The text of the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_are_framed_and_stable() {
        let key = IdempotencyKey::derived(&["customer", "acme"]);
        // printf '\0\0\0\0\0\0\0\10customer\0\0\0\0\0\0\0\4acme' | sha256sum
        assert_eq!(
            key.as_str(),
            "4111b1caa9e7f935821f56331844ff6ecef0c934b1d35503361ac243239f17a2"
        );
        assert_ne!(
            IdempotencyKey::derived(&["ab", "c"]),
            IdempotencyKey::derived(&["a", "bc"])
        );
        assert_ne!(
            IdempotencyKey::derived(&["a", ""]),
            IdempotencyKey::derived(&["a"])
        );
    }

    #[test]
    fn any_text_becomes_a_key_that_a_header_can_hold() {
        assert_eq!(IdempotencyKey::new("order-1").as_str(), "order-1");
        for text in ["", "ü", "a b", "a\nb", &"x".repeat(256)] {
            let key = IdempotencyKey::new(text);
            assert_eq!(key.as_str().len(), 64, "{text:?}");
            assert_eq!(key, IdempotencyKey::new(text));
        }
    }

    #[test]
    fn random_keys_differ() {
        assert_ne!(IdempotencyKey::random(), IdempotencyKey::random());
    }
}
