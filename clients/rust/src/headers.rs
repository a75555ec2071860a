//! Headers of the caller's own, such as those that carry a trace on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// What the client says itself, and what the two ends of a connection say to each other.
const NOT_THE_CALLERS: [HeaderName; 12] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

type Source = dyn Fn() -> HashMap<String, String> + Send + Sync;

/// Where the headers of a request come from that are the caller's own.
#[derive(Clone, Default)]
pub(crate) struct OwnHeaders(Option<Arc<Source>>);

impl OwnHeaders {
    pub(crate) fn new(
        source: impl Fn() -> HashMap<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(source)))
    }

    /// Of the next request. A header that HTTP has no room for, or that is not the caller's to
    /// say, is left out: no trace is worth an event.
    pub(crate) fn next(&self) -> HeaderMap {
        let Some(source) = &self.0 else {
            return HeaderMap::new();
        };
        let own = source().into_iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            let value = HeaderValue::try_from(value).ok()?;
            (!NOT_THE_CALLERS.contains(&name)).then_some((name, value))
        });
        own.collect()
    }
}

impl fmt::Debug for OwnHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnHeaders")
            .field(&self.0.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_header_or_is_not_the_callers_to_say_is_left_out() {
        let headers = OwnHeaders::new(|| {
            let all = [
                ("traceparent", "00-a-b-01"),
                ("Authorization", "Bearer other"),
                ("content-length", "7"),
                ("Transfer-Encoding", "chunked"),
                ("not a name", "x"),
                ("baggage", "a\nb"),
            ];
            HashMap::from(all.map(|(name, value)| (name.to_owned(), value.to_owned())))
        });
        let next = headers.next();
        assert_eq!(next.len(), 1);
        assert_eq!(next["traceparent"], "00-a-b-01");
        assert!(OwnHeaders::default().next().is_empty());
    }
}
