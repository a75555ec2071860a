//! The account's secret key, and those that it was rolled from.

use std::sync::{PoisonError, RwLock};

use subtle::ConstantTimeEq;

use crate::api::error::{Result, StripeError};

/// The key in use, and the expired ones.
#[derive(Debug)]
pub(crate) struct SecretKeys(RwLock<Keys>);

#[derive(Debug)]
struct Keys {
    current: String,
    expired: Vec<String>,
}

impl SecretKeys {
    pub(crate) fn new(current: String) -> Self {
        let expired = Vec::new();
        Self(RwLock::new(Keys { current, expired }))
    }

    /// Rolls the key to `next`, at once: the one before has expired.
    pub(crate) fn roll(&self, next: String) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut keys.current, next);
        keys.expired.push(before);
    }

    /// Refuses any other key than the one in use; an expired one by its code.
    pub(crate) fn check(&self, given: &str) -> Result<()> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is = |key: &String| bool::from(given.as_bytes().ct_eq(key.as_bytes()));
        if is(&keys.current) {
            return Ok(());
        }
        // Stripe shows the key's kind and its last four characters; the kind alone says enough.
        let kind: String = given.chars().take("sk_test_".len()).collect();
        if keys.expired.iter().any(is) {
            let message = format!("Expired API Key provided: {kind}****");
            return Err(StripeError::expired_key(message));
        }
        let message = format!("Invalid API Key provided: {kind}****");
        Err(StripeError::unauthenticated(message))
    }
}
