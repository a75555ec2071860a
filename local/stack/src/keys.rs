//! The demo key and the secrets of this machine: made once, kept in files for
//! the owner alone.

use billing::Timestamp;
use ledger::{Ledger, LedgerError, NewApiKey, PresentedApiKey, Scope};
use secrecy::{ExposeSecret, SecretString};

use crate::local_dir::{LocalDir, LocalDirError};

const API_KEY_FILE: &str = "api-key";
const DASHBOARD_LINK_SECRET_FILE: &str = "dashboard-link-secret";
const WEBHOOK_SECRET_FILE: &str = "webhook-secret";

const SECRET_BYTES: usize = 32;

/// Why there is no key or secret.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Its file.
    #[error(transparent)]
    LocalDir(#[from] LocalDirError),
    /// Its row.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The system has no randomness to make it from.
    #[error("the system gives no random bytes")]
    Randomness(#[from] getrandom::Error),
}

/// The demo key, which may do everything. The tables hold its hash, as of any
/// key; if they know it no more, a new one is made.
///
/// # Errors
/// A [`KeysError`].
pub async fn demo_api_key(
    local_dir: &LocalDir,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<SecretString, KeysError> {
    if let Some(key) = local_dir.read_secret(API_KEY_FILE)?
        && is_known(&key, ledger, now).await?
    {
        return Ok(key);
    }
    let NewApiKey { key, row } = NewApiKey::generate(vec![Scope::Admin], now)?;
    ledger.put_api_key(&row).await?;
    local_dir.write_secret(API_KEY_FILE, &key)?;
    Ok(key)
}

async fn is_known(
    key: &SecretString,
    ledger: &Ledger,
    now: Timestamp,
) -> Result<bool, LedgerError> {
    let Ok(presented) = PresentedApiKey::parse(key.expose_secret()) else {
        return Ok(false);
    };
    let row = ledger.api_key(&presented.key_id).await?;
    Ok(row.is_some_and(|row| row.is(&presented) && row.is_valid_at(now)))
}

/// What dashboard links are signed with.
///
/// # Errors
/// A [`KeysError`].
pub fn dashboard_link_secret(local_dir: &LocalDir) -> Result<SecretString, KeysError> {
    kept_secret(local_dir, DASHBOARD_LINK_SECRET_FILE, "")
}

/// What events are signed with that are fetched, which Stripe does not sign.
///
/// # Errors
/// A [`KeysError`].
pub fn webhook_secret(local_dir: &LocalDir) -> Result<SecretString, KeysError> {
    kept_secret(local_dir, WEBHOOK_SECRET_FILE, "whsec_")
}

/// The secret in `file`, which is made if it is missing.
fn kept_secret(local_dir: &LocalDir, file: &str, prefix: &str) -> Result<SecretString, KeysError> {
    if let Some(secret) = local_dir.read_secret(file)? {
        return Ok(secret);
    }
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random)?;
    let secret = SecretString::from(format!("{prefix}{}", hex::encode(random)));
    local_dir.write_secret(file, &secret)?;
    Ok(secret)
}
