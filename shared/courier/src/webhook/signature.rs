//! What says that a request is ours: an HMAC over its id, its time and its body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

/// What a secret is known by.
const PREFIX: &str = "whsec_";
/// What a signature by a shared secret is known by.
const VERSION: &str = "v1";
/// Between 192 and 512 bits, as the specification asks.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// No secret that requests can be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningSecret {
    /// A list of none.
    #[error("there is no secret to sign with")]
    None,
    /// One that is no base64, too short, or too long.
    #[error("a signing secret is not 24 to 64 bytes in base64, with or without whsec_ before it")]
    Malformed,
}

/// The secrets that requests are signed with: one, and while it is rotated the one
/// before it, too.
#[derive(Clone, Debug)]
pub struct SigningSecrets(Vec<SecretSlice<u8>>);

impl SigningSecrets {
    /// Those of `list`, separated by commas.
    ///
    /// # Errors
    /// [`InvalidSigningSecret`].
    pub fn parse(list: &SecretString) -> Result<Self, InvalidSigningSecret> {
        let secrets = list.expose_secret().split(',').map(str::trim);
        let secrets: Vec<SecretSlice<u8>> = secrets
            .filter(|secret| !secret.is_empty())
            .map(key)
            .collect::<Result<_, _>>()?;
        if secrets.is_empty() {
            return Err(InvalidSigningSecret::None);
        }
        Ok(Self(secrets))
    }

    /// The header `webhook-signature` of `body`, sent as `id` at `unix_s`: a signature
    /// by each secret, with blanks between them.
    pub fn sign(&self, id: &str, unix_s: i64, body: &[u8]) -> String {
        let Self(secrets) = self;
        let signatures: Vec<String> = secrets
            .iter()
            .filter_map(|secret| {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret()).ok()?;
                mac.update(format!("{id}.{unix_s}.").as_bytes());
                mac.update(body);
                let signature = STANDARD.encode(mac.finalize().into_bytes());
                Some(format!("{VERSION},{signature}"))
            })
            .collect();
        signatures.join(" ")
    }
}

fn key(secret: &str) -> Result<SecretSlice<u8>, InvalidSigningSecret> {
    let secret = secret.strip_prefix(PREFIX).unwrap_or(secret);
    let key = STANDARD.decode(secret).ok();
    let key = key.filter(|key| KEY_BYTES.contains(&key.len()));
    key.map(SecretSlice::from)
        .ok_or(InvalidSigningSecret::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(list: &str) -> Result<SigningSecrets, InvalidSigningSecret> {
        SigningSecrets::parse(&SecretString::from(list))
    }

    /// The specification's own example (Standard Webhooks: reference libraries' tests).
    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let secrets = secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn while_a_secret_is_rotated_there_is_a_signature_by_each() {
        let (new, old) = ("whsec_".to_owned() + &"A".repeat(32), "B".repeat(44));
        let both = secrets(&format!("{new}, {old}")).unwrap();
        let sign = |secrets: &SigningSecrets| secrets.sign("evt_1:receipt", 1, b"{}");
        let each = [&new, &old].map(|secret| sign(&secrets(secret).unwrap()));
        assert_eq!(sign(&both), each.join(" "));
    }

    #[test]
    fn what_makes_no_key_is_refused() {
        for list in ["", " , "] {
            assert_eq!(secrets(list).unwrap_err(), InvalidSigningSecret::None);
        }
        let (short, long) = ("A".repeat(28), "A".repeat(88));
        for list in ["whsec_!", "whsec_", &short, &long] {
            let refused = secrets(list).unwrap_err();
            assert_eq!(refused, InvalidSigningSecret::Malformed, "{list}");
        }
    }
}
