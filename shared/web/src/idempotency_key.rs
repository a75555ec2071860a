//! The `Idempotency-Key` header, which names a request where its body does not.

use axum::http::HeaderMap;
use billing::FieldError;

const NAME: &str = "Idempotency-Key";

/// The key that `headers` give, if they do: 1 to `bytes_max` printable
/// characters of ASCII. One that could not be used is refused even where the
/// body has an id, for it was meant to be one.
///
/// # Errors
/// A [`FieldError`] for any other, and for several.
pub fn idempotency_key(headers: &HeaderMap, bytes_max: usize) -> Result<Option<&str>, FieldError> {
    let mut keys = headers.get_all(NAME).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let key = key.to_str().ok();
    let key = key.filter(|key| (1..=bytes_max).contains(&key.len()) && !key.contains('\t'));
    if key.is_some() && keys.next().is_none() {
        return Ok(key);
    }
    let reason = format!("must be one header of 1 to {bytes_max} printable characters of ASCII");
    Err(FieldError::new(NAME, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(keys: &[&str]) -> Result<Option<String>, FieldError> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(NAME, HeaderValue::from_bytes(key.as_bytes()).unwrap());
        }
        idempotency_key(&headers, 8).map(|key| key.map(str::to_owned))
    }

    #[test]
    fn a_key_is_one_and_short_and_plain() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["a key 12"]), Ok(Some("a key 12".to_owned())));
        for refused in [
            &["" as &str] as &[&str],
            &["a key 123"],
            &["ä"],
            &["a\tb"],
            &["a", "a"],
        ] {
            assert_eq!(read(refused).unwrap_err().field, NAME, "{refused:?}");
        }
    }
}
