//! The events of a request, in any of the content modes that CloudEvents has
//! ("HTTP Protocol Binding for CloudEvents - Version 1.0.2", section 3).

use axum::extract::{DefaultBodyLimit, FromRequest, OptionalFromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use billing::FieldError;
use mime::Mime;
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use web::{JsonBody, Problem, ProblemType};

use super::event::is_json;
use crate::BATCH_BODY_BYTES_MAX;
use crate::request::{BATCH_EVENTS_MAX, refused_name};

pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
pub(crate) const BATCHED: &str = "application/cloudevents-batch+json";
/// What goes before an attribute's name in a header.
const HEADER_PREFIX: &str = "ce-";
/// The attribute that tells a CloudEvent in binary mode from any other request.
const SPEC_VERSION_HEADER: &str = "ce-specversion";

/// What a request holds, in the JSON Event Format, none of it read yet.
pub(crate) enum Message {
    /// One event, in structured or in binary mode.
    Event(Value),
    /// Up to 100.
    Batch(Vec<Value>),
}

/// How the events are laid out in the request.
enum ContentMode {
    Structured,
    Batched,
    Binary,
}

/// Refused are, besides what [`JsonBody`] refuses: with 415 the content types of
/// anything but CloudEvents in JSON, and with 400 a batch of none or too many, and
/// attributes in headers that cannot be decoded. The body of a batch may be larger
/// than that of one event.
impl<S: Send + Sync> FromRequest<S> for Message {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        match ContentMode::of(request.headers())? {
            ContentMode::Structured => {
                let body = <JsonBody<Value> as FromRequest<S>>::from_request(request, state);
                Ok(Self::Event(body.await?.0))
            }
            ContentMode::Batched => {
                DefaultBodyLimit::max(BATCH_BODY_BYTES_MAX).apply(&mut request);
                let body = <JsonBody<Value> as FromRequest<S>>::from_request(request, state);
                batch(body.await?.0)
            }
            ContentMode::Binary => {
                let mut event = attributes(request.headers())?;
                let body =
                    <JsonBody<Value> as OptionalFromRequest<S>>::from_request(request, state);
                if let Some(JsonBody(data)) = body.await? {
                    event.insert("data".to_owned(), data);
                }
                Ok(Self::Event(event.into()))
            }
        }
    }
}

impl ContentMode {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let media_type = types.next().map(media_type);
        let is_binary = headers.contains_key(SPEC_VERSION_HEADER);
        match media_type {
            _ if types.next().is_some() => Err(unsupported()),
            Some(Some(it)) if it.essence_str() == STRUCTURED => Ok(Self::Structured),
            Some(Some(it)) if it.essence_str() == BATCHED => Ok(Self::Batched),
            Some(Some(it)) if is_binary && is_json(&it) => Ok(Self::Binary),
            // An event without data has no body, and no type of one.
            None if is_binary => Ok(Self::Binary),
            _ => Err(unsupported()),
        }
    }
}

/// The media type that a header names, if what it describes is in UTF-8.
fn media_type(header: &HeaderValue) -> Option<Mime> {
    let media_type: Mime = header.to_str().ok()?.parse().ok()?;
    let charset = media_type.get_param(mime::CHARSET);
    let is_utf_8 = charset.is_none_or(|it| it.as_str().eq_ignore_ascii_case("utf-8"));
    is_utf_8.then_some(media_type)
}

fn unsupported() -> Problem {
    let detail = format!(
        "the content type must be {STRUCTURED} for one event, {BATCHED} for up to \
         {BATCH_EVENTS_MAX}, or, with attributes in {HEADER_PREFIX} headers, application/json \
         for the data of one; in UTF-8"
    );
    Problem::new(ProblemType::UnsupportedMediaType, detail)
}

fn batch(events: Value) -> Result<Message, Problem> {
    match events {
        Value::Array(events) if (1..=BATCH_EVENTS_MAX).contains(&events.len()) => {
            Ok(Message::Batch(events))
        }
        _ => {
            let detail = format!("a batch must be a list of 1 to {BATCH_EVENTS_MAX} CloudEvents");
            Err(Problem::new(ProblemType::InvalidRequest, detail))
        }
    }
}

/// The attributes in headers, section 3.1.3. The data's content type is that of the
/// body, which was looked at.
fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Problem> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        let value = decoded(value)
            .ok_or_else(|| refused_name(name, "must be percent-encoded UTF-8 in its header"))?;
        if attributes.insert(name.to_owned(), value.into()).is_some() {
            return Err(refused_name(name, "must be in one header"));
        }
    }
    if attributes.contains_key("data_base64") {
        let reason = "must not be in a header: the data are the body";
        return Err(FieldError::new("data_base64", reason).into());
    }
    attributes.remove("data");
    attributes.remove("datacontenttype");
    Ok(attributes)
}

/// The value of a header, as section 3.1.3.2 decodes it: out of double quotes, which
/// senders of older versions put around it, and then once out of percent-encoding.
fn decoded(value: &HeaderValue) -> Option<String> {
    let value = value.to_str().ok()?;
    let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let value = match quoted {
        Some(quoted) => unescaped(quoted),
        None => value.to_owned(),
    };
    let decoded = percent_decode(value.as_bytes()).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// The text of a quoted string (RFC 9110, section 5.6.4).
fn unescaped(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        let escaped = (character == '\\').then(|| characters.next()).flatten();
        text.push(escaped.unwrap_or(character));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_decoded_as_the_binding_says() {
        for (header, expected) in [
            ("job-7", Some("job-7")),
            (
                "Euro%20%E2%82%AC%20%F0%9F%98%80",
                Some("Euro \u{20ac} \u{1f600}"),
            ),
            ("%6Aob-7", Some("job-7")),
            ("100%25", Some("100%")),
            ("%2525", Some("%25")),
            ("\"a \\\"b\\\" \\\\ c\"", Some("a \"b\" \\ c")),
            ("\"a%20b\"", Some("a b")),
            ("\"", Some("\"")),
            ("", Some("")),
            // Longer than it may be, and the half of a pair.
            ("%C0%A0", None),
            ("%ED%A0%80", None),
        ] {
            let value = HeaderValue::from_static(header);
            assert_eq!(decoded(&value).as_deref(), expected, "{header}");
        }
        let raw = HeaderValue::from_bytes("\u{20ac}".as_bytes()).unwrap();
        assert_eq!(decoded(&raw), None);
    }
}
