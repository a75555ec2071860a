//! `GET /openapi.json`: the API's description, as it is checked in. It is the
//! same for everybody, and no secret.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// `make openapi` writes it; a test says when it is stale.
static DOCUMENT: &str = include_str!("../../../openapi.json");

/// A deployment may change it: nobody is to read it for longer than minutes.
const CACHING: &str = "public, max-age=300";

static ENTITY_TAG: LazyLock<String> = LazyLock::new(|| {
    let digest = hex::encode(Sha256::digest(DOCUMENT));
    format!("\"{}\"", digest.get(..32).unwrap_or_default())
});

pub(crate) async fn show(headers: HeaderMap) -> Response {
    let caching = [(CACHE_CONTROL, CACHING), (ETAG, ENTITY_TAG.as_str())];
    if names_this_one(&headers) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let json = [(CONTENT_TYPE, "application/json")];
    (caching, json, DOCUMENT).into_response()
}

/// Whether the caller has it already. A tag that was weakened on its way, by
/// compression, names the same document.
fn names_this_one(headers: &HeaderMap) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter();
    let mut known = known
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(str::trim);
    known.any(|tag| tag == "*" || tag.trim_start_matches("W/") == *ENTITY_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    async fn status(if_none_match: &[&str]) -> u16 {
        let mut headers = HeaderMap::new();
        for tags in if_none_match {
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap());
        }
        let response = show(headers).await;
        assert_eq!(response.headers()[ETAG].to_str().unwrap(), *ENTITY_TAG);
        assert_eq!(response.headers()[CACHE_CONTROL], CACHING);
        response.status().as_u16()
    }

    #[tokio::test]
    async fn who_has_the_document_is_not_sent_it_again() {
        let weak = format!("W/{}", *ENTITY_TAG);
        let among_others = format!("\"a\", {}", *ENTITY_TAG);
        for known in [
            &[ENTITY_TAG.as_str()] as &[&str],
            &[&weak],
            &[&among_others],
            &["*"],
        ] {
            assert_eq!(status(known).await, 304, "{known:?}");
        }
        for unknown in [&[] as &[&str], &["\"a\""], &[""]] {
            assert_eq!(status(unknown).await, 200, "{unknown:?}");
        }
    }
}
