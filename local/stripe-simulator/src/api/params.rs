//! Typed parameters. What nobody asked for is unknown, and the request is refused.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{Result, StripeError};
use super::form::{self, Node};

/// The year 3000.
const MOMENT_MAX: i64 = 32_503_680_000;

/// What metadata holds at most (Stripe API reference: Metadata).
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// The parameters of v2 requests that are lists.
const LISTS_V2: [&str; 2] = ["include", "types"];

/// The parameters of a request, or of one of its hashes, each taken once.
#[derive(Debug)]
pub(crate) struct Params {
    prefix: String,
    entries: Vec<(String, Node)>,
}

impl Params {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self {
            prefix: String::new(),
            entries: form::parse(encoded),
        }
    }

    /// The query of a v2 request, whose lists some official SDKs write as a repeated name.
    pub(crate) fn parse_v2(query: &str) -> Self {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if LISTS_V2.contains(&key.as_ref()) {
                encoded.append_pair(&format!("{key}[]"), &value);
            } else {
                encoded.append_pair(&key, &value);
            }
        }
        Self::parse(encoded.finish().as_bytes())
    }

    /// The parameter as its sender wrote it: `recurring[meter]`.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.prefix.is_empty() {
            key.to_owned()
        } else {
            format!("{}[{key}]", self.prefix)
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name == key)
    }

    /// Takes a parameter if it is exactly this text.
    pub(crate) fn is(&mut self, key: &str, text: &str) -> bool {
        let wanted = Node::Leaf(text.to_owned());
        let found = self
            .entries
            .iter()
            .position(|(name, node)| name == key && *node == wanted);
        found.map(|index| self.entries.remove(index)).is_some()
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let index = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(index).1)
    }

    /// A text; empty where the sender wants it unset.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Node::Leaf(text)) => Ok(Some(text)),
            Some(Node::Branch(_)) => Err(self.wrong(key, "Invalid string")),
        }
    }

    /// A text that is there and not empty.
    pub(crate) fn required(&mut self, key: &str) -> Result<String> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(StripeError::invalid_param(
                self.name(key),
                format!("You passed an empty string for '{}'. We assume empty values are an attempt to unset a parameter; however '{}' cannot be unset.", self.name(key), self.name(key)),
            )
            .code("parameter_invalid_empty")),
            None => Err(StripeError::missing(&self.name(key))),
        }
    }

    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<i64>> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| self.no_integer(key, &format!("Invalid integer: {text}")))
    }

    /// A number within bounds.
    pub(crate) fn bounded(&mut self, key: &str, range: RangeInclusive<i64>) -> Result<Option<i64>> {
        let number = self.integer(key)?;
        match number {
            Some(number) if number < *range.start() => {
                let message = format!(
                    "This value must be greater than or equal to {}.",
                    range.start()
                );
                Err(self.no_integer(key, &message))
            }
            Some(number) if number > *range.end() => {
                let message = format!("This value must be less than or equal to {}.", range.end());
                Err(self.no_integer(key, &message))
            }
            number => Ok(number),
        }
    }

    /// A moment in unix seconds: far enough from the ends of time to reckon with.
    pub(crate) fn moment(&mut self, key: &str) -> Result<Option<i64>> {
        self.bounded(key, 0..=MOMENT_MAX)
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<Option<bool>> {
        match self.text(key)?.as_deref() {
            None => Ok(None),
            // Older official SDKs for Python write them with a capital.
            Some("true" | "True") => Ok(Some(true)),
            Some("false" | "False") => Ok(Some(false)),
            Some(other) => Err(self.wrong(key, &format!("Invalid boolean: {other}"))),
        }
    }

    /// One of a few words.
    pub(crate) fn choice(&mut self, key: &str, choices: &[&str]) -> Result<Option<String>> {
        match self.text(key)? {
            Some(text) if !choices.contains(&text.as_str()) => {
                let message = format!(
                    "Invalid {}: must be one of {}",
                    self.name(key),
                    choices.join(", ")
                );
                Err(self.wrong(key, &message))
            }
            choice => Ok(choice),
        }
    }

    /// A hash; `None` also where it is passed empty.
    pub(crate) fn hash(&mut self, key: &str) -> Result<Option<Params>> {
        let prefix = self.name(key);
        match self.take(key) {
            Some(Node::Branch(entries)) => Ok(Some(Params { prefix, entries })),
            Some(Node::Leaf(text)) if !text.is_empty() => Err(self.wrong(key, "Invalid object")),
            _ => Ok(None),
        }
    }

    /// A hash, where the parameter is one; a text stays for its reader.
    pub(crate) fn hash_or_leaf(&mut self, key: &str) -> Result<Option<Params>> {
        match self.entries.iter().find(|(name, _)| name == key) {
            Some((_, Node::Branch(_))) => self.hash(key),
            _ => Ok(None),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        let elements = match self.take(key) {
            Some(Node::Branch(elements)) => elements,
            Some(Node::Leaf(text)) if !text.is_empty() => {
                return Err(self.wrong(key, "Invalid array"));
            }
            Some(Node::Leaf(_)) => Vec::new(),
            None => return Ok(None),
        };
        let mut texts = Vec::with_capacity(elements.len());
        for (_, element) in elements {
            match element {
                Node::Leaf(text) => texts.push(text),
                Node::Branch(_) => return Err(self.wrong(key, "Invalid string")),
            }
        }
        Ok(Some(texts))
    }

    /// A list of hashes.
    pub(crate) fn hashes(&mut self, key: &str) -> Result<Option<Vec<Params>>> {
        let name = self.name(key);
        let Some(list) = self.hash(key)? else {
            return Ok(None);
        };
        let mut hashes = Vec::with_capacity(list.entries.len());
        for (index, element) in list.entries {
            match element {
                Node::Branch(entries) => hashes.push(Params {
                    prefix: format!("{name}[{index}]"),
                    entries,
                }),
                Node::Leaf(_) => return Err(self.wrong(key, "Invalid object")),
            }
        }
        Ok(Some(hashes))
    }

    /// A hash of texts, such as a meter event's payload.
    pub(crate) fn texts_by_key(&mut self, key: &str) -> Result<Option<Map<String, Value>>> {
        let Some(hash) = self.hash(key)? else {
            return Ok(None);
        };
        let mut texts = Map::new();
        for (name, node) in hash.entries {
            match node {
                Node::Leaf(text) => texts.insert(name, text.into()),
                Node::Branch(_) => return Err(self.wrong(key, "Invalid string")),
            };
        }
        Ok(Some(texts))
    }

    /// Changes `metadata` of an object: an empty value takes its key away, an empty hash takes
    /// all away (Stripe API reference: Metadata).
    pub(crate) fn metadata(&mut self, object: &mut Value) -> Result<()> {
        if matches!(self.entries.iter().find(|(name, _)| name == "metadata"),
            Some((_, Node::Leaf(text))) if text.is_empty())
        {
            self.take("metadata");
            object["metadata"] = Value::Object(Map::new());
            return Ok(());
        }
        let changes = self.texts_by_key("metadata")?.unwrap_or_default();
        let mut metadata = object["metadata"].as_object().cloned().unwrap_or_default();
        for (key, value) in changes {
            if value.as_str() == Some("") {
                metadata.remove(&key);
            } else {
                metadata.insert(key, value);
            }
        }
        check_metadata(&metadata)?;
        object["metadata"] = Value::Object(metadata);
        Ok(())
    }

    /// Copies texts that the sender gave; an empty one unsets.
    pub(crate) fn copy_texts(&mut self, keys: &[&str], object: &mut Value) -> Result<()> {
        for key in keys {
            if let Some(text) = self.text(key)? {
                object[*key] = if text.is_empty() {
                    Value::Null
                } else {
                    text.into()
                };
            }
        }
        Ok(())
    }

    /// Takes parameters of Stripe's that change nothing here.
    pub(crate) fn discard(&mut self, keys: &[&str]) {
        self.entries
            .retain(|(name, _)| !keys.contains(&name.as_str()));
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.entries.iter().map(|(key, _)| self.name(key)).collect();
        Err(StripeError::unknown(&names))
    }

    fn no_integer(&self, key: &str, message: &str) -> StripeError {
        self.wrong(key, message).code("parameter_invalid_integer")
    }

    fn wrong(&self, key: &str, message: &str) -> StripeError {
        StripeError::invalid_param(self.name(key), message)
    }
}

fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    let too_long = |text: &str, chars_max: usize| text.chars().count() > chars_max;
    let message = if metadata.len() > METADATA_KEYS_MAX {
        format!("You may only specify up to {METADATA_KEYS_MAX} metadata keys.")
    } else if let Some(key) = metadata
        .keys()
        .find(|key| too_long(key, METADATA_KEY_CHARS_MAX))
    {
        format!("Metadata keys can be up to {METADATA_KEY_CHARS_MAX} characters: {key}")
    } else if let Some((key, _)) = metadata
        .iter()
        .find(|(_, value)| too_long(value.as_str().unwrap_or_default(), METADATA_VALUE_CHARS_MAX))
    {
        format!("Metadata values can have up to {METADATA_VALUE_CHARS_MAX} characters: {key}")
    } else {
        return Ok(());
    };
    Err(StripeError::invalid_param("metadata", message))
}
