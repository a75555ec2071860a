//! JSON whose objects have no key twice. Of two, one reader takes the first and
//! another the last: what a gateway, a log or a signer saw would not be what is
//! recorded (RFC 8259, section 4, calls the behaviour unpredictable).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The longest part of a key that a refusal shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Reads `json` for its keys alone.
///
/// # Errors
/// Where it is no JSON, nested deeper than 128 levels, or has a key twice.
pub(crate) fn check_unique_keys(json: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    UniqueKeys.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                let shown: String = key.chars().take(SHOWN_CHARS_MAX).collect();
                return Err(A::Error::custom(format!(
                    "the key {shown:?} is there twice"
                )));
            }
            keys.insert(key);
            map.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_refused_at_any_depth() {
        for (json, is_unique) in [
            (r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}"#, true),
            (r#"[1,-1,1.5,"a",true,null,{}]"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":2}"#, false),
            (r#"{"b":[{"a":1,"a":1}]}"#, false),
            (r#"{"a":1}{"a":1}"#, false),
            ("{", false),
        ] {
            assert_eq!(
                check_unique_keys(json.as_bytes()).is_ok(),
                is_unique,
                "{json}"
            );
        }
    }

    #[test]
    fn of_an_endless_key_the_refusal_shows_the_beginning() {
        let key = "k".repeat(10_000);
        let json = format!("{{\"{key}\":1,\"{key}\":1}}");
        let error = check_unique_keys(json.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
    }
}
