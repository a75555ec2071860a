//! Signatures of webhooks (Stripe's documentation: Verify webhook signatures
//! manually).
//!
//! `Stripe-Signature: t=<unix seconds>,v1=<hex>[,v1=<hex>…]`: HMAC-SHA256
//! under the endpoint's secret over the time, a dot and the raw body.

use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};

use crate::mac::{MAC_BYTES, hmac_sha256};

/// How far the signature's time may lie from now, unless told otherwise: what
/// Stripe's own SDKs allow.
pub const TOLERANCE_S: u64 = 300;

/// No header of Stripe's is longer: a signature has 64 characters, and there
/// is one for each secret that is being rolled.
const HEADER_BYTES_MAX: usize = 4_096;

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `Stripe-Signature`.
    #[error("the Stripe-Signature header is missing")]
    Missing,
    /// Not `t=…,v1=…`.
    #[error("the Stripe-Signature header is malformed")]
    Malformed,
    /// Signed with another secret, or another body.
    #[error("no signature matches")]
    NoMatch,
    /// Signed, but too long ago: perhaps somebody repeats it.
    #[error("the signature is too old")]
    TooOld,
    /// Signed, but for a time too far ahead: one of the clocks is wrong.
    #[error("the signature is from the future")]
    TooNew,
}

/// Checks the raw `body` of a webhook against its `Stripe-Signature` header.
///
/// Any of `secrets` may have signed: while one is rolled, two are good. The
/// time must lie within `tolerance_s` seconds ([`TOLERANCE_S`]) of
/// `now_unix_s`, before or after. Stripe's SDKs look back only; forward is as
/// safe to allow and as wrong beyond, and a time that is far ahead would make
/// a recorded webhook good for all the time until then. But for that, nothing
/// is believed that the official SDK for Python refuses: `make conformance`
/// compares the two.
///
/// # Errors
/// [`SignatureError`]. The time is judged last, and only of what is signed.
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &[SecretString],
    now_unix_s: i64,
    tolerance_s: u64,
) -> Result<(), SignatureError> {
    let header = Header::parse(header)?;
    // Stripe's bodies are JSON, and its SDKs sign texts.
    if std::str::from_utf8(body).is_err() {
        return Err(SignatureError::NoMatch);
    }
    // Every signature is compared under every secret, whichever matches.
    let mut matches = Choice::from(0);
    for secret in secrets
        .iter()
        .filter(|secret| !secret.expose_secret().trim().is_empty())
    {
        let expected = signature(secret, header.time_unix_s, body);
        for given in &header.signatures {
            matches |= expected.ct_eq(given);
        }
    }
    if !bool::from(matches) {
        return Err(SignatureError::NoMatch);
    }
    if now_unix_s.abs_diff(header.time_unix_s) <= tolerance_s {
        Ok(())
    } else if header.time_unix_s < now_unix_s {
        Err(SignatureError::TooOld)
    } else {
        Err(SignatureError::TooNew)
    }
}

/// The `Stripe-Signature` of `body` at `unix_s`: what Stripe would send. For
/// tests and tools that play Stripe's part.
pub fn sign(body: &[u8], secret: &SecretString, unix_s: i64) -> String {
    format!(
        "t={unix_s},v1={}",
        hex::encode(signature(secret, unix_s, body))
    )
}

/// What a header says.
struct Header {
    time_unix_s: i64,
    signatures: Vec<[u8; MAC_BYTES]>,
}

impl Header {
    /// Schemes other than `v1` are left aside, as Stripe asks; of several times
    /// the first counts, as for its SDKs. Nothing is trimmed or guessed.
    fn parse(header: &str) -> Result<Self, SignatureError> {
        if header.trim().is_empty() {
            return Err(SignatureError::Missing);
        }
        if header.len() > HEADER_BYTES_MAX || !header.is_ascii() {
            return Err(SignatureError::Malformed);
        }
        let mut time = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.split_once('=') {
                Some(("t", value)) => time = time.or(Some(value)),
                Some(("v1", value)) => {
                    let mut signature = [0; MAC_BYTES];
                    let is_lower = !value.bytes().any(|byte| byte.is_ascii_uppercase());
                    if is_lower && hex::decode_to_slice(value, &mut signature).is_ok() {
                        signatures.push(signature);
                    }
                }
                None if part == "t" || part == "v1" => return Err(SignatureError::Malformed),
                _ => {}
            }
        }
        let time = time.ok_or(SignatureError::Malformed)?;
        let time_unix_s = time.parse().map_err(|_| SignatureError::Malformed)?;
        if signatures.is_empty() {
            return Err(SignatureError::Malformed);
        }
        Ok(Self {
            time_unix_s,
            signatures,
        })
    }
}

fn signature(secret: &SecretString, unix_s: i64, body: &[u8]) -> [u8; MAC_BYTES] {
    hmac_sha256(secret, &[unix_s.to_string().as_bytes(), b".", body])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &[u8] = br#"{"id": "evt_1", "object": "event"}"#;
    const NOW: i64 = 1_769_860_800;

    fn secrets<const N: usize>(secrets: [&str; N]) -> Vec<SecretString> {
        secrets.into_iter().map(SecretString::from).collect()
    }

    fn signed_at(unix_s: i64) -> String {
        sign(BODY, &"whsec_1".into(), unix_s)
    }

    fn verified(header: &str, body: &[u8], with: &[SecretString]) -> Result<(), SignatureError> {
        verify(header, body, with, NOW, TOLERANCE_S)
    }

    /// `printf '1769860800.{"id": "evt_1", "object": "event"}' | openssl dgst -sha256 -hmac …`
    #[test]
    fn signs_as_openssl_does() {
        let long = "whsec_".to_owned() + &"x".repeat(100);
        for (secret, signature) in [
            (
                "whsec_1",
                "b5a54d17a16f8e3b4173fd04d32aeb9bee3ef79810347c472660e9b9f9e93675",
            ),
            (
                long.as_str(),
                "7f0ce1553aae02c3226e2f8206979bc60fdb1fc5e68b848cc161009151755c73",
            ),
        ] {
            let header = sign(BODY, &secret.into(), NOW);
            assert_eq!(header, format!("t={NOW},v1={signature}"));
            assert_eq!(verified(&header, BODY, &secrets([secret])), Ok(()));
        }
    }

    #[test]
    fn either_secret_is_good_while_one_is_rolled() {
        let header = signed_at(NOW);
        assert_eq!(
            verified(&header, BODY, &secrets(["whsec_2", "whsec_1"])),
            Ok(())
        );
        let other = sign(BODY, &"whsec_2".into(), NOW);
        let other = other.split_once(',').unwrap().1;
        let both = header.replace(",v1", &format!(",{other},v0=00,v1"));
        assert_eq!(verified(&both, BODY, &secrets(["whsec_1"])), Ok(()));
        assert_eq!(verified(&both, BODY, &secrets(["whsec_2"])), Ok(()));
    }

    #[test]
    fn what_was_not_signed_is_not_believed() {
        let header = signed_at(NOW);
        let no_match = Err(SignatureError::NoMatch);
        assert_eq!(verified(&header, b"{}", &secrets(["whsec_1"])), no_match);
        assert_eq!(verified(&header, BODY, &secrets(["whsec_2"])), no_match);
        assert_eq!(verified(&header, BODY, &[]), no_match);
        let later = header.replace(&format!("t={NOW}"), &format!("t={}", NOW + 1));
        assert_eq!(verified(&later, BODY, &secrets(["whsec_1"])), no_match);
        // A secret that is missing from the settings must not become a known one.
        for unset in ["", " "] {
            let header = sign(BODY, &unset.into(), NOW);
            assert_eq!(verified(&header, BODY, &secrets([unset])), no_match);
        }
        let no_text = sign(b"\xff", &"whsec_1".into(), NOW);
        assert_eq!(verified(&no_text, b"\xff", &secrets(["whsec_1"])), no_match);
    }

    #[test]
    fn a_time_is_good_for_five_minutes_either_way() {
        let judged = |unix_s| verified(&signed_at(unix_s), BODY, &secrets(["whsec_1"]));
        for unix_s in [NOW - 300, NOW, NOW + 300] {
            assert_eq!(judged(unix_s), Ok(()), "{unix_s}");
        }
        for unix_s in [NOW - 301, 0, i64::MIN] {
            assert_eq!(judged(unix_s), Err(SignatureError::TooOld), "{unix_s}");
        }
        for unix_s in [NOW + 301, i64::MAX] {
            assert_eq!(judged(unix_s), Err(SignatureError::TooNew), "{unix_s}");
        }
        // What is forged is called so, whatever its time.
        let forged = verified(&signed_at(0), BODY, &secrets(["whsec_2"]));
        assert_eq!(forged, Err(SignatureError::NoMatch));
    }

    #[test]
    fn headers_of_another_form_are_refused() {
        let hex = "0".repeat(64);
        let judged = |header: &str| verified(header, BODY, &secrets(["whsec_1"]));
        for header in ["", "  "] {
            assert_eq!(judged(header), Err(SignatureError::Missing), "{header:?}");
        }
        for header in [
            "nonsense".to_owned(),
            format!("v1={hex}"),
            format!("t={NOW}"),
            format!("t={NOW},v0={hex}"),
            format!("t={NOW},v1={hex}00"),
            format!("t={NOW},v1=xyz"),
            format!("t=,v1={hex}"),
            format!("t={NOW},v1={hex},v1"),
            format!("t={NOW}, v1={hex}"),
            format!("t={NOW},v1={}", hex.replace('0', "A")),
            format!("t={NOW},v1={hex},é"),
            format!("t=1e9,v1={hex}"),
            format!("t={NOW},v1={hex}").repeat(60),
        ] {
            assert_eq!(
                judged(&header),
                Err(SignatureError::Malformed),
                "{header:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_is_judged(header: String, body: Vec<u8>) {
            prop_assert!(verified(&header, &body, &secrets(["whsec_1"])).is_err());
        }
    }
}
