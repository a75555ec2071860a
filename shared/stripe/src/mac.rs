//! What only the holder of a secret can compute.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// The length of the result.
pub(crate) const MAC_BYTES: usize = 32;

/// HMAC-SHA256 of `parts`, one after the other.
pub(crate) fn hmac_sha256(secret: &SecretString, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha256>::new(&block(secret.expose_secret().as_bytes()).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A key of any length as the block that HMAC makes of it (RFC 2104, 2).
fn block(key: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    match block.get_mut(..key.len()) {
        Some(start) => start.copy_from_slice(key),
        None => block[..MAC_BYTES].copy_from_slice(&Sha256::digest(key)),
    }
    block
}
