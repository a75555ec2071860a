//! What a request to `POST /v1/messages` may hold, and what it is refused for.
//!
//! Checked by hand on the JSON value, because the API's messages name the path
//! of the offending field (`messages.0.role: …`), which derived code cannot.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::extract;

/// What the simulator needs of a request that passed every check.
#[derive(Debug)]
pub(crate) struct MessagesRequest {
    /// As sent; it comes back in the answer.
    pub(crate) model: String,
    /// The bound of the answer, at least one.
    pub(crate) max_tokens: u64,
    /// Texts that end the answer.
    pub(crate) stop_sequences: Vec<String>,
    /// The longest text of the last user message: what there is to summarise.
    pub(crate) document: String,
    /// An estimate over `system` and every message.
    pub(crate) input_tokens: u64,
}

impl MessagesRequest {
    /// Reads a body, field by field as the API would.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| ApiError::invalid("The request body is not valid JSON"))?;
        let Value::Object(fields) = value else {
            return Err(ApiError::invalid(
                "The request body must be an object in JSON",
            ));
        };
        let model = required_text(&fields, "model")?.to_owned();
        let max_tokens = max_tokens(&fields)?;
        refuse_what_is_not_simulated(&fields)?;
        let stop_sequences = stop_sequences(&fields)?;
        let messages = messages(&fields)?;
        let system = match fields.get("system") {
            None | Some(Value::Null) => Vec::new(),
            Some(content) => texts(content, "system")?,
        };
        let spoken = messages.iter().flat_map(|message| &message.texts);
        let input_tokens = system
            .iter()
            .chain(spoken)
            .map(|t| extract::tokens(t))
            .sum();
        Ok(Self {
            model,
            max_tokens,
            stop_sequences,
            document: document(&messages)?,
            input_tokens,
        })
    }
}

struct Turn {
    from_user: bool,
    texts: Vec<String>,
}

fn required<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a Value, ApiError> {
    fields
        .get(name)
        .ok_or_else(|| ApiError::invalid(format!("{name}: Field required")))
}

fn required_text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, ApiError> {
    match required(fields, name)?.as_str() {
        None => Err(invalid(name, "Input should be a valid string")),
        Some("") => Err(invalid(name, "String should have at least 1 character")),
        Some(text) => Ok(text),
    }
}

fn max_tokens(fields: &Map<String, Value>) -> Result<u64, ApiError> {
    let value = required(fields, "max_tokens")?;
    match value.as_u64() {
        Some(tokens @ 1..) => Ok(tokens),
        Some(0) => Err(invalid(
            "max_tokens",
            "Input should be greater than or equal to 1",
        )),
        None => Err(invalid(
            "max_tokens",
            "Input should be a valid positive integer",
        )),
    }
}

/// A request that asks for more than an extract must hear so: an answer that
/// quietly ignores it would teach its sender something untrue about the API.
fn refuse_what_is_not_simulated(fields: &Map<String, Value>) -> Result<(), ApiError> {
    match fields.get("stream") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::Bool(true)) => {
            return Err(invalid(
                "stream",
                "this simulator does not stream yet; send the request without it",
            ));
        }
        Some(_) => return Err(invalid("stream", "Input should be a valid boolean")),
    }
    let choice = fields.get("tool_choice").and_then(|c| c.get("type"));
    if matches!(choice.and_then(Value::as_str), Some("any" | "tool")) {
        return Err(invalid("tool_choice", "this simulator calls no tools"));
    }
    Ok(())
}

fn stop_sequences(fields: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let name = "stop_sequences";
    let list = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(invalid(name, "Input should be a valid list")),
    };
    list.iter()
        .enumerate()
        .map(|(index, item)| match item.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
            Some(_) => Err(invalid(
                name,
                "each stop sequence must contain non-whitespace",
            )),
            None => Err(invalid(
                &format!("{name}.{index}"),
                "Input should be a valid string",
            )),
        })
        .collect()
}

fn messages(fields: &Map<String, Value>) -> Result<Vec<Turn>, ApiError> {
    let Value::Array(list) = required(fields, "messages")? else {
        return Err(invalid("messages", "Input should be a valid list"));
    };
    if list.is_empty() {
        return Err(invalid("messages", "at least one message is required"));
    }
    list.iter().enumerate().map(turn).collect()
}

fn turn((index, message): (usize, &Value)) -> Result<Turn, ApiError> {
    let path = format!("messages.{index}");
    let Value::Object(fields) = message else {
        return Err(invalid(&path, "Input should be a valid dictionary"));
    };
    let field_required = |name: &str| invalid(&format!("{path}.{name}"), "Field required");
    let role = fields.get("role").ok_or_else(|| field_required("role"))?;
    let from_user = match role.as_str() {
        Some("user") => true,
        Some("assistant") => false,
        _ => {
            let reason = "Input should be 'user' or 'assistant'";
            return Err(invalid(&format!("{path}.role"), reason));
        }
    };
    let content = fields
        .get("content")
        .ok_or_else(|| field_required("content"))?;
    let texts = texts(content, &format!("{path}.content"))?;
    if from_user && texts.is_empty() {
        let reason = "user messages must have non-empty content";
        return Err(invalid(&path, reason));
    }
    Ok(Turn { from_user, texts })
}

/// The texts of a content: a string, or a list of blocks.
fn texts(content: &Value, path: &str) -> Result<Vec<String>, ApiError> {
    match content {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(blocks) => blocks
            .iter()
            .enumerate()
            .map(|(index, block)| block_text(block, &format!("{path}.{index}")))
            .collect(),
        _ => Err(invalid(path, "Input should be a valid string or list")),
    }
}

fn block_text(block: &Value, path: &str) -> Result<String, ApiError> {
    let text_at = |pointer: &str| block.pointer(pointer).and_then(Value::as_str);
    let text = match (text_at("/type"), text_at("/source/type")) {
        (None, _) => return Err(invalid(&format!("{path}.type"), "Field required")),
        (Some("text"), _) => {
            text_at("/text").ok_or_else(|| invalid(&format!("{path}.text"), "Field required"))?
        }
        (Some("document"), Some("text")) => text_at("/source/data")
            .ok_or_else(|| invalid(&format!("{path}.source.data"), "Field required"))?,
        (Some(other), _) => {
            let reason = format!("this simulator reads text only, not a block of type '{other}'");
            return Err(invalid(path, &reason));
        }
    };
    if text.is_empty() {
        return Err(invalid(path, "text content blocks must be non-empty"));
    }
    Ok(text.to_owned())
}

fn document(messages: &[Turn]) -> Result<String, ApiError> {
    messages
        .iter()
        .rfind(|message| message.from_user)
        .and_then(|message| message.texts.iter().max_by_key(|text| text.len()))
        .cloned()
        .ok_or_else(|| invalid("messages", "at least one user message is required"))
}

fn invalid(path: &str, reason: &str) -> ApiError {
    ApiError::invalid(format!("{path}: {reason}"))
}
