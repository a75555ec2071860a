//! The name before a sender's address, as a mail's header has it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a word of a header that is encoded: 75 characters with all around it
/// (RFC 2047, 2).
const WORD_BYTES_MAX: usize = 45;

/// `address` with `name` before it, where there is one.
pub(crate) fn mailbox(name: &str, address: &str) -> String {
    if name.is_empty() {
        address.to_owned()
    } else if name.is_ascii() {
        format!("\"{name}\" <{address}>")
    } else {
        format!("{} <{address}>", encoded(name))
    }
}

/// `text` in encoded words, none of which ends within a character.
fn encoded(text: &str) -> String {
    let mut words = vec![String::new()];
    for character in text.chars() {
        if let Some(word) = words.last_mut()
            && word.len() + character.len_utf8() <= WORD_BYTES_MAX
        {
            word.push(character);
        } else {
            words.push(character.to_string());
        }
    }
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_or_encoded() {
        assert_eq!(mailbox("", "a@b.example"), "a@b.example");
        assert_eq!(
            mailbox("Acme, Inc.", "a@b.example"),
            "\"Acme, Inc.\" <a@b.example>"
        );
        assert_eq!(
            mailbox("Müller", "a@b.example"),
            "=?UTF-8?B?TcO8bGxlcg==?= <a@b.example>"
        );
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let encoded = encoded(&"ä".repeat(64));
        for word in encoded.split(' ') {
            assert!(word.len() <= 75, "{word}");
            let text = word.trim_start_matches("=?UTF-8?B?").trim_end_matches("?=");
            let bytes = STANDARD.decode(text).unwrap();
            assert!(String::from_utf8(bytes).unwrap().chars().all(|c| c == 'ä'));
        }
    }
}
