//! Which pages may show the dashboard in a frame of theirs.

use axum::http::uri::Authority;

/// Enough for an operator's sites, and short enough for a header.
const ORIGINS_MAX: usize = 8;

/// The origins whose pages may frame the dashboard: none unless the operator names some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameAncestors(Vec<String>);

/// What is no list of origins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrameAncestors {
    /// Not an origin.
    #[error(
        "DASHBOARD_FRAME_ANCESTORS has {0:?}, which is no origin such as https://app.example.com \
         (lower case, no path; http only for localhost and 127.0.0.1)"
    )]
    Origin(String),
    /// Too many.
    #[error("DASHBOARD_FRAME_ANCESTORS has more than {ORIGINS_MAX} origins")]
    TooMany,
}

impl FrameAncestors {
    /// Origins, with spaces between them; an empty text has none.
    ///
    /// # Errors
    /// [`InvalidFrameAncestors`]. Wildcards are refused: whoever gets a name below a
    /// domain could frame the page.
    pub fn parse(text: &str) -> Result<Self, InvalidFrameAncestors> {
        let origins: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if let Some(origin) = origins.iter().find(|origin| !is_origin(origin)) {
            return Err(InvalidFrameAncestors::Origin(origin.clone()));
        }
        if origins.len() > ORIGINS_MAX {
            return Err(InvalidFrameAncestors::TooMany);
        }
        Ok(Self(origins))
    }

    /// As `frame-ancestors` of a policy has it (W3C: Content Security Policy Level 3).
    pub(crate) fn source_list(&self) -> String {
        if self.0.is_empty() {
            return "'none'".to_owned();
        }
        self.0.join(" ")
    }
}

/// Only what cannot be anything else in a header: a scheme, a host, perhaps a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let is_plain = rest
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:".contains(&byte));
    let Some(authority) = rest.parse::<Authority>().ok().filter(|_| is_plain) else {
        return false;
    };
    let host = authority.host();
    let has_port = rest.len() > host.len();
    let is_host = !host.is_empty() && !host.starts_with(['.', '-']) && !host.contains("..");
    let is_local = matches!(host, "localhost" | "127.0.0.1");
    is_host
        && (!has_port || authority.port_u16().is_some_and(|port| port > 0))
        && (scheme == "https" || scheme == "http" && is_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_they_are() {
        for (text, list) in [
            ("", "'none'"),
            ("  ", "'none'"),
            ("https://app.example.com", "https://app.example.com"),
            (
                " https://a.example:8443  http://localhost:3000 ",
                "https://a.example:8443 http://localhost:3000",
            ),
        ] {
            assert_eq!(FrameAncestors::parse(text).unwrap().source_list(), list);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_by_name() {
        for text in [
            "*",
            "'self'",
            "https:",
            "app.example.com",
            "https://*.example.com",
            "https://App.example.com",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://user@app.example.com",
            "https://app.example.com:",
            "https://app.example.com:0",
            "https://app.example.com:99999",
            "https://.example.com",
            "https://a..b",
            "http://app.example.com",
            "ftp://app.example.com",
            "https://a.example;script-src",
            "https://a.example,https://b.example",
        ] {
            let refused = FrameAncestors::parse(text).unwrap_err();
            assert_eq!(refused, InvalidFrameAncestors::Origin(text.to_owned()));
        }
        let many = "https://a.example ".repeat(ORIGINS_MAX + 1);
        assert_eq!(
            FrameAncestors::parse(&many),
            Err(InvalidFrameAncestors::TooMany)
        );
    }
}
