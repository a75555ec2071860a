//! What several of Stripe's objects have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Key-value pairs of your own on a Stripe object (Stripe API reference: Metadata).
pub type Metadata = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(untagged)]
enum Expandable {
    Id(String),
    Object { id: String },
}

impl Expandable {
    fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

/// The id of what may arrive as an id or as the object (Stripe API reference:
/// Expanding responses).
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Expandable::deserialize(deserializer).map(Expandable::into_id)
}

/// As [`id`], for what may be null; absence needs `default` beside it.
pub(crate) fn optional_id<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let object: Option<Expandable> = Option::deserialize(deserializer)?;
    Ok(object.map(Expandable::into_id))
}

/// A value whose null means the same as its absence.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
