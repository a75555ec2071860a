//! Entity tags, so that nobody is sent what they have (RFC 9110, sections 8.8.3 and
//! 13.1.2).

use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// Of the digest, in hexadecimal digits: enough that no two contents share one.
const DIGITS: usize = 32;

/// The tag of one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag(String);

impl EntityTag {
    /// The tag of `content`: the same wherever it is made.
    pub(crate) fn of(content: &[u8]) -> Self {
        let digest = hex::encode(Sha256::digest(content));
        Self(format!("\"{}\"", digest.get(..DIGITS).unwrap_or_default()))
    }

    /// Whether the caller has this content already. A tag that was weakened on its way,
    /// by compression, names the same content.
    pub(crate) fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(IF_NONE_MATCH).iter();
        let mut known = known
            .filter_map(|tags| tags.to_str().ok())
            .flat_map(|tags| tags.split(','))
            .map(str::trim);
        known.any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.0)
    }

    /// As a header's value.
    pub(crate) fn value(&self) -> HeaderValue {
        // Quotes and hexadecimal digits are always one.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_content_names_it() {
        let tag = EntityTag::of(b"content");
        let is_known = |tags: &[&str]| {
            let mut headers = HeaderMap::new();
            for tags in tags {
                headers.append(IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap());
            }
            tag.is_known(&headers)
        };
        let (own, weak) = (tag.0.as_str(), format!("W/{}", tag.0));
        let among_others = format!("\"a\", {own}");
        for known in [
            &[own] as &[&str],
            &[&weak],
            &[&among_others],
            &["*"],
            &["\"a\"", own],
        ] {
            assert!(is_known(known), "{known:?}");
        }
        for unknown in [&[] as &[&str], &["\"a\""], &[""], &[own.trim_matches('"')]] {
            assert!(!is_known(unknown), "{unknown:?}");
        }
        assert_ne!(tag, EntityTag::of(b"other content"));
    }
}
