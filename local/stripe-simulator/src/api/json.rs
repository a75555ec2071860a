//! Reading and changing documents by JSON pointer.

use serde_json::{Map, Value};

/// The text at a pointer.
pub(crate) fn text<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer).and_then(Value::as_str)
}

/// The text at a pointer, empty where there is none.
pub(crate) fn text_or_empty(document: &Value, pointer: &str) -> String {
    text(document, pointer).unwrap_or_default().to_owned()
}

/// The number at a pointer.
pub(crate) fn integer(document: &Value, pointer: &str) -> Option<i64> {
    document.pointer(pointer).and_then(Value::as_i64)
}

/// The number at a pointer, 0 where there is none.
pub(crate) fn integer_or_zero(document: &Value, pointer: &str) -> i64 {
    integer(document, pointer).unwrap_or_default()
}

/// Whether the pointer holds `true`.
pub(crate) fn is_true(document: &Value, pointer: &str) -> bool {
    document.pointer(pointer) == Some(&Value::Bool(true))
}

/// The array at a pointer.
pub(crate) fn array<'a>(document: &'a Value, pointer: &str) -> &'a [Value] {
    document
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Puts a value at a pointer, making the objects on the way.
pub(crate) fn set(document: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut place = document;
    for key in pointer.trim_start_matches('/').split('/') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value.into();
}

/// What `old` held where `new` holds something else: an event's `previous_attributes`.
pub(crate) fn difference(old: &Value, new: &Value) -> Map<String, Value> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return Map::new();
    };
    let mut changed = Map::new();
    for (key, was) in old {
        let is = new.get(key).unwrap_or(&Value::Null);
        if was == is {
            continue;
        }
        let value = if was.is_object() && is.is_object() {
            Value::Object(difference(was, is))
        } else {
            was.clone()
        };
        changed.insert(key.clone(), value);
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        changed.insert(key.clone(), Value::Null);
    }
    changed
}
