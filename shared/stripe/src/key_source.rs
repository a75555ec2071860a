//! Where another secret key comes from when Stripe refuses the one in use: a key may be
//! rolled while a client lives (Stripe documentation: "API keys: Roll an API key").

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// A key to come.
pub type RenewedKey<'a> = Pin<Box<dyn Future<Output = Option<SecretString>> + Send + 'a>>;

/// Knows whether there is another secret key.
pub trait KeySource: Send + Sync {
    /// Another key than `known`, which may be refused or merely old; none where there is
    /// none, or it must not be used. Called again and again while Stripe refuses: it
    /// limits by itself how often it looks.
    fn renew<'a>(&'a self, known: &'a SecretString) -> RenewedKey<'a>;
}

/// The key in use, shared by the clones of a client.
pub(crate) struct SecretKey {
    current: RwLock<SecretString>,
    source: OnceLock<Arc<dyn KeySource>>,
}

impl SecretKey {
    pub(crate) fn new(key: SecretString) -> Self {
        Self {
            current: RwLock::new(key),
            source: OnceLock::new(),
        }
    }

    pub(crate) fn current(&self) -> SecretString {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `source` is the first one.
    pub(crate) fn set_source(&self, source: Arc<dyn KeySource>) -> bool {
        self.source.set(source).is_ok()
    }

    /// Whether there is another key in use than `known` now.
    pub(crate) async fn renew(&self, known: &SecretString) -> bool {
        if self.current().expose_secret() != known.expose_secret() {
            return true; // Somebody was faster.
        }
        let Some(source) = self.source.get() else {
            return false;
        };
        let Some(key) = source.renew(known).await else {
            return false;
        };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = key;
        true
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}
