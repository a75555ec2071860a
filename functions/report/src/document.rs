//! `GET /openapi.json`: the API's description, as it is checked in. It is the
//! same for everybody, and no secret.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::entity_tag::EntityTag;

/// `make openapi` writes it; a test says when it is stale.
static DOCUMENT: &str = include_str!("../../../openapi.json");

/// A deployment may change it: nobody is to read it for longer than minutes.
const CACHING: &str = "public, max-age=300";

static ENTITY_TAG: LazyLock<EntityTag> = LazyLock::new(|| EntityTag::of(DOCUMENT.as_bytes()));

pub(crate) async fn show(headers: HeaderMap) -> Response {
    let caching = [
        (CACHE_CONTROL, HeaderValue::from_static(CACHING)),
        (ETAG, ENTITY_TAG.value()),
    ];
    if ENTITY_TAG.is_known(&headers) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let json = [(CONTENT_TYPE, "application/json")];
    (caching, json, DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::IF_NONE_MATCH;

    #[tokio::test]
    async fn who_has_the_document_is_not_sent_it_again() {
        let mut headers = HeaderMap::new();
        let first = show(headers.clone()).await;
        assert_eq!(first.status(), StatusCode::OK);
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let again = show(headers).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        for answer in [&first, &again] {
            assert_eq!(answer.headers()[CACHE_CONTROL], CACHING);
            assert_eq!(answer.headers()[ETAG], ENTITY_TAG.value());
        }
    }
}
