//! Keys of requests that are under way, of which each has one at a time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The keys in use.
#[derive(Debug, Default)]
pub(crate) struct KeysInUse(Mutex<HashSet<String>>);

/// Holds a key until its request is answered.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    keys: &'a KeysInUse,
    key: String,
}

impl KeysInUse {
    /// Takes a key, unless another request has it.
    pub(crate) fn claim(&self, key: &str) -> Option<Claim<'_>> {
        let is_free = self.with(|keys| keys.insert(key.to_owned()));
        is_free.then(|| Claim {
            keys: self,
            key: key.to_owned(),
        })
    }

    /// A set of texts is whole whatever happened while it was locked.
    fn with<T>(&self, change: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.keys.with(|keys| keys.remove(&self.key));
    }
}
