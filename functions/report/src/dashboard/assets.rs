//! `GET /dashboard/assets/{version}/{name}`: the page's scripts and styles, which are in
//! the program. They are the same for everybody, and no secret.

use std::collections::HashMap;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use web::{Problem, ProblemType};

use crate::customer::unreadable_path;

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Whatever has this version in its address never changes.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// A page of another version asks, while a deployment has both. It gets what there is,
/// and must not take it for its own the next time.
const JUST_NOW: &str = "no-store";

/// A file of the page.
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
}

/// The address of the file `name`, relative to the page's.
pub(crate) fn address(name: &str) -> String {
    format!("dashboard/assets/{VERSION}/{name}")
}

pub(crate) async fn show(
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(path) = path.map_err(unreadable_path)?;
    let part = |name: &str| path.get(name).map_or("", String::as_str);
    let caching = match part("version") {
        VERSION => FOR_GOOD,
        version if is_version(version) => JUST_NOW,
        _ => return Err(no_such_file()),
    };
    let asset = ASSETS.iter().find(|asset| asset.name == part("name"));
    let asset = asset.ok_or_else(no_such_file)?;
    let is_packed = takes_gzip(&headers);
    let body = if is_packed { asset.gzip } else { asset.plain };
    let mut response = body.into_response();
    let headers: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, caching),
        (VARY, "Accept-Encoding"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    if is_packed {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

/// Whether a build of this page may have had the version `text`.
fn is_version(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() == VERSION.len() && text.bytes().all(is_digit)
}

fn no_such_file() -> Problem {
    Problem::new(
        ProblemType::NotFound,
        "the dashboard has no file of this version and name",
    )
}

/// Whether the caller unpacks gzip (RFC 9110, section 12.5.3). What only a wildcard
/// allows is not worth reading: every browser names it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter();
    let mut accepted = accepted
        .filter_map(|encodings| encodings.to_str().ok())
        .flat_map(|encodings| encodings.split(','));
    accepted.any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let is_refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a first visit loads, compressed; the promise is 100 kB.
    const FIRST_LOAD_BYTES_MAX: usize = 100_000;

    #[test]
    fn all_files_together_are_small_when_compressed() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.gzip.len()).sum();
        assert!(bytes < FIRST_LOAD_BYTES_MAX, "{bytes}");
        assert!(ASSETS.len() > 5);
    }

    #[test]
    fn no_file_runs_text_as_code_or_names_another_host() {
        for asset in ASSETS.iter().filter(|asset| !asset.name.ends_with(".txt")) {
            let text = String::from_utf8(asset.plain.to_vec()).unwrap();
            let own = !asset.name.starts_with("uPlot");
            for forbidden in [
                "eval(",
                "new Function",
                "innerHTML",
                "outerHTML",
                "document.write",
            ] {
                assert!(
                    !own || !text.contains(forbidden),
                    "{}: {forbidden}",
                    asset.name
                );
            }
            assert!(!own || !text.contains("://"), "{}", asset.name);
        }
    }

    #[test]
    fn who_takes_gzip_says_so() {
        for (accepted, taken) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, br", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(takes_gzip(&headers), taken, "{accepted}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
