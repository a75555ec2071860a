//! What the commands about keys take, read by clap.

use clap::ValueEnum;
use ledger::{PresentedApiKey, Scope};

const NAME_CHARS_MAX: usize = 100;

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ScopeArgument {
    /// Emit usage.
    Emit,
    /// Read usage, access and invoices.
    Read,
    /// Everything, onboarding included.
    Admin,
}

impl From<ScopeArgument> for Scope {
    fn from(scope: ScopeArgument) -> Self {
        match scope {
            ScopeArgument::Emit => Self::Emit,
            ScopeArgument::Read => Self::Read,
            ScopeArgument::Admin => Self::Admin,
        }
    }
}

/// A key's id. A whole key is refused: a command line is no place for a secret.
pub(super) fn parse_key_id(text: &str) -> Result<String, &'static str> {
    if PresentedApiKey::is_key_id(text) {
        return Ok(text.to_owned());
    }
    Err("a key's id is 16 hex digits in lower case: those between mk_ and the secret")
}

/// What people are to call a key.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let chars = text.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a name is 1 to {NAME_CHARS_MAX} characters, all of them printable"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_and_a_whole_key_is_not() {
        assert!(parse_key_id("0123456789abcdef").is_ok());
        let key = format!("mk_0123456789abcdef_{}", "ab".repeat(32));
        for text in ["", "0123", "0123456789ABCDEF", "counter#01234567", &key] {
            assert!(parse_key_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_line() {
        assert!(parse_name("Agent 7, Zürich").is_ok());
        for text in ["", "a\nb", &"x".repeat(101)] {
            assert!(parse_name(text).is_err(), "{text}");
        }
    }
}
