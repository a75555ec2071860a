//! What an agent may hold of a spending limit before it acts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::usage_event::FieldError;

/// The longest reservation id, in characters.
pub const RESERVATION_ID_LENGTH_MAX: usize = 128;
/// For how long units are held where nothing is said, in seconds.
pub const EXPIRES_IN_S_DEFAULT: i64 = 300;
/// For how long they are held at most.
pub const EXPIRES_IN_S_MAX: i64 = 3_600;

/// The agent's own name for a reservation, unique for the customer. It is a part
/// of an address, and has only characters that stay what they are there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReservationId(String);

impl ReservationId {
    /// Takes 1 to 128 of `A-Z a-z 0-9 _ . : ~ -`, but not `.` and `..`.
    ///
    /// # Errors
    /// A [`FieldError`] for `reservation_id` for anything else.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:~-".contains(c);
        let is_plain = !text.is_empty() && text.chars().all(allowed);
        if !is_plain || text.len() > RESERVATION_ID_LENGTH_MAX || matches!(text, "." | "..") {
            let reason = format!(
                "must be 1 to {RESERVATION_ID_LENGTH_MAX} letters, digits or any of _ . : ~ -"
            );
            return Err(FieldError::new("reservation_id", reason));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id as the agent wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For how long units are held, in seconds: 1 to [`EXPIRES_IN_S_MAX`].
///
/// # Errors
/// A [`FieldError`] for `expires_in_s` for anything else.
pub fn expires_in_s(named: Option<i64>) -> Result<i64, FieldError> {
    let expires_in_s = named.unwrap_or(EXPIRES_IN_S_DEFAULT);
    if (1..=EXPIRES_IN_S_MAX).contains(&expires_in_s) {
        return Ok(expires_in_s);
    }
    Err(expires_in_s_error())
}

/// What is said of a time that is none.
pub fn expires_in_s_error() -> FieldError {
    let reason = format!("must be a whole number from 1 to {EXPIRES_IN_S_MAX}");
    FieldError::new("expires_in_s", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_what_it_is_in_an_address() {
        for text in ["a", "job-7", "A.b_c~d:e", &"x".repeat(128)] {
            assert_eq!(ReservationId::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a%20",
            "a#b",
            "ä",
            &"x".repeat(129),
        ] {
            assert!(ReservationId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn units_are_held_for_a_second_to_an_hour() {
        assert_eq!(expires_in_s(None), Ok(300));
        assert_eq!(expires_in_s(Some(3_600)), Ok(3_600));
        for named in [0, -1, 3_601, i64::MAX, i64::MIN] {
            assert!(expires_in_s(Some(named)).is_err(), "{named}");
        }
    }
}
