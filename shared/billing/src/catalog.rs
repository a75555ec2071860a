//! The catalog: which meter counts an action, and by which price its usage is
//! billed.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::usage_event::ActionType;

/// Meters of a catalog, at most: a subscription takes as many items (Stripe API
/// reference: Subscriptions, `items`).
pub const CATALOG_METERS_MAX: usize = 20;
/// Names and prefixes of a catalog, at most. A thousand of the longest are a
/// sixth of what a row of DynamoDB's takes.
pub const CATALOG_ACTIONS_MAX: usize = 1_000;
/// The longest event name of a meter, in characters (Stripe API reference:
/// Create a billing meter, `event_name`).
pub const METER_EVENT_NAME_LENGTH_MAX: usize = 100;

/// Ends a prefix: `llm.*` covers every action that begins with `llm.`.
const PREFIX_MARK: char = '*';

/// Which meter counts an action. Its serialised form is that of
/// [`CatalogTerms`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CatalogTerms", into = "CatalogTerms")]
pub struct Catalog {
    terms: CatalogTerms,
    /// Exact names, and the index of their meter.
    names: HashMap<String, usize>,
    /// Prefixes without their mark, and the index of their meter.
    prefixes: HashMap<String, usize>,
    default_meter: Option<usize>,
}

/// What a catalog says, as it is written and stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogTerms {
    /// The meters, each with the price that new customers subscribe to.
    pub meters: Vec<CatalogMeter>,
    /// The event name of the meter for actions that no entry covers. Without
    /// one they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_meter: Option<String>,
}

/// A meter, what it counts, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogMeter {
    /// The event name that the meter listens to. For a price without a meter,
    /// which bills usage records, the name that its usage is told apart by.
    pub event_name: String,
    /// The lookup key of the price that new customers subscribe to.
    pub lookup_key: String,
    /// The product of that price.
    pub product_id: String,
    /// The action types that it counts: exact names, and prefixes that end in `*`.
    #[serde(default)]
    pub actions: Vec<String>,
}

/// Why a catalog cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCatalog {
    /// It has no meter.
    #[error("it has no meter")]
    NoMeter,
    /// It has more meters than a subscription has items.
    #[error("it has {0} meters, and a subscription takes {CATALOG_METERS_MAX} items")]
    TooManyMeters(usize),
    /// It has too many names and prefixes.
    #[error("it has {0} actions, and {CATALOG_ACTIONS_MAX} are the most; prefixes cover many")]
    TooManyActions(usize),
    /// An event name that Stripe, or a key of the tables, would not take.
    #[error(
        "the event name \"{0}\" must be 1 to {METER_EVENT_NAME_LENGTH_MAX} letters, digits or any \
         of _ - . :"
    )]
    EventName(String),
    /// A field that must not be empty is.
    #[error("{field} of the meter {event_name} must not be empty")]
    Empty {
        /// The meter.
        event_name: String,
        /// The field.
        field: &'static str,
    },
    /// Two meters have one event name.
    #[error("the event name {0} is there twice")]
    EventNameTwice(String),
    /// Two meters have one price.
    #[error("the lookup key {0} is there twice, and a price bills one meter")]
    LookupKeyTwice(String),
    /// An action type that no event can have.
    #[error(
        "the action \"{0}\" must be 1 to 64 letters, digits or any of _ - . :, and a * at its end \
         where it is a prefix"
    )]
    Action(String),
    /// `*` alone.
    #[error("\"*\" covers every action: name the meter as default_meter instead")]
    EveryAction,
    /// Two entries cover the same.
    #[error("the action {action} is there twice: for {first} and for {second}")]
    ActionTwice {
        /// The name or prefix.
        action: String,
        /// A meter that has it.
        first: String,
        /// The other one, perhaps the same.
        second: String,
    },
    /// A meter that would never count anything.
    #[error("the meter {0} counts no action, and is not the default_meter")]
    NoAction(String),
    /// The default is none of the meters.
    #[error("the default_meter {0} is none of the meters")]
    DefaultMeter(String),
}

impl Catalog {
    /// The meter that counts `action_type`; none where that is not covered. An
    /// exact name comes before a prefix, a longer prefix before a shorter one.
    pub fn meter_of(&self, action_type: &ActionType) -> Option<&CatalogMeter> {
        let name = action_type.as_str();
        let by_prefix = || {
            let lengths = (1..=name.len()).rev();
            lengths
                .filter_map(|length| name.get(..length))
                .find_map(|prefix| self.prefixes.get(prefix))
        };
        let index = self.names.get(name).or_else(by_prefix);
        self.terms
            .meters
            .get(*index.or(self.default_meter.as_ref())?)
    }

    /// Its meters, in the order that they were written in.
    pub fn meters(&self) -> &[CatalogMeter] {
        &self.terms.meters
    }

    /// The meter that counts what no entry covers, if one does.
    pub fn default_meter(&self) -> Option<&str> {
        self.terms.default_meter.as_deref()
    }
}

impl TryFrom<CatalogTerms> for Catalog {
    type Error = InvalidCatalog;

    fn try_from(terms: CatalogTerms) -> Result<Self, InvalidCatalog> {
        let actions: usize = terms.meters.iter().map(|meter| meter.actions.len()).sum();
        match terms.meters.len() {
            0 => return Err(InvalidCatalog::NoMeter),
            meters if meters > CATALOG_METERS_MAX => {
                return Err(InvalidCatalog::TooManyMeters(meters));
            }
            _ if actions > CATALOG_ACTIONS_MAX => {
                return Err(InvalidCatalog::TooManyActions(actions));
            }
            _ => {}
        }
        let default_meter = terms.default_meter.as_ref().map(|name| {
            let position = terms.meters.iter().position(|it| it.event_name == *name);
            position.ok_or_else(|| InvalidCatalog::DefaultMeter(name.clone()))
        });
        let mut catalog = Self {
            default_meter: default_meter.transpose()?,
            names: HashMap::new(),
            prefixes: HashMap::new(),
            terms,
        };
        catalog.check_meters()?;
        catalog.read_actions()?;
        Ok(catalog)
    }
}

impl Catalog {
    fn check_meters(&self) -> Result<(), InvalidCatalog> {
        let mut lookup_keys = BTreeMap::new();
        let mut event_names = BTreeMap::new();
        for (index, meter) in self.terms.meters.iter().enumerate() {
            let event_name = &meter.event_name;
            if !is_name(event_name, METER_EVENT_NAME_LENGTH_MAX) {
                return Err(InvalidCatalog::EventName(event_name.clone()));
            }
            for (field, text) in [
                ("lookup_key", &meter.lookup_key),
                ("product_id", &meter.product_id),
            ] {
                if text.is_empty() {
                    let event_name = event_name.clone();
                    return Err(InvalidCatalog::Empty { event_name, field });
                }
            }
            if event_names.insert(event_name, index).is_some() {
                return Err(InvalidCatalog::EventNameTwice(event_name.clone()));
            }
            if lookup_keys.insert(&meter.lookup_key, index).is_some() {
                return Err(InvalidCatalog::LookupKeyTwice(meter.lookup_key.clone()));
            }
            if meter.actions.is_empty() && self.default_meter != Some(index) {
                return Err(InvalidCatalog::NoAction(event_name.clone()));
            }
        }
        Ok(())
    }

    fn read_actions(&mut self) -> Result<(), InvalidCatalog> {
        for (index, meter) in self.terms.meters.iter().enumerate() {
            for action in &meter.actions {
                let (map, name) = match action.strip_suffix(PREFIX_MARK) {
                    Some("") => return Err(InvalidCatalog::EveryAction),
                    Some(prefix) => (&mut self.prefixes, prefix),
                    None => (&mut self.names, action.as_str()),
                };
                if ActionType::parse(name).is_err() {
                    return Err(InvalidCatalog::Action(action.clone()));
                }
                if let Some(other) = map.insert(name.to_owned(), index) {
                    let first = self.terms.meters.get(other).unwrap_or(meter);
                    return Err(InvalidCatalog::ActionTwice {
                        action: action.clone(),
                        first: first.event_name.clone(),
                        second: meter.event_name.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

impl From<Catalog> for CatalogTerms {
    fn from(catalog: Catalog) -> Self {
        catalog.terms
    }
}

/// For people, a line for each meter.
impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for meter in self.meters() {
            let (name, price) = (&meter.event_name, &meter.lookup_key);
            let mut actions = meter.actions.clone();
            if self.default_meter() == Some(name.as_str()) {
                actions.push("any other action".to_owned());
            }
            writeln!(f, "{name} at {price}: {}", actions.join(", "))?;
        }
        match self.default_meter() {
            Some(_) => Ok(()),
            None => writeln!(f, "any other action is refused"),
        }
    }
}

fn is_name(text: &str, length_max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    !text.is_empty() && text.len() <= length_max && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(event_name: &str, actions: &[&str]) -> CatalogMeter {
        CatalogMeter {
            event_name: event_name.to_owned(),
            lookup_key: format!("{event_name}_monthly"),
            product_id: format!("prod_{event_name}"),
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
        }
    }

    fn terms(meters: &[CatalogMeter], default_meter: Option<&str>) -> CatalogTerms {
        CatalogTerms {
            meters: meters.to_vec(),
            default_meter: default_meter.map(str::to_owned),
        }
    }

    fn refusal(meters: &[CatalogMeter]) -> InvalidCatalog {
        Catalog::try_from(terms(meters, None)).unwrap_err()
    }

    #[test]
    fn the_exact_name_wins_then_the_longest_prefix_then_the_default() {
        let meters = [
            meter("documents", &["document_processed", "llm.tokens.free"]),
            meter("tokens", &["llm.*", "llm.tokens.*"]),
            meter("output", &["llm.tokens.output*"]),
            meter("others", &[]),
        ];
        let catalog = Catalog::try_from(terms(&meters, Some("others"))).unwrap();
        for (action, event_name) in [
            ("document_processed", "documents"),
            ("llm.tokens.free", "documents"),
            ("llm.tokens.input", "tokens"),
            ("llm.x", "tokens"),
            ("llm.", "tokens"),
            ("llm.tokens.output", "output"),
            ("llm.tokens.output_cached", "output"),
            ("llm", "others"),
            ("document_processed_twice", "others"),
        ] {
            let action_type = ActionType::parse(action).unwrap();
            let meter = catalog.meter_of(&action_type).unwrap();
            assert_eq!(meter.event_name, event_name, "{action}");
        }
    }

    #[test]
    fn without_a_default_the_uncovered_has_no_meter() {
        let catalog = Catalog::try_from(terms(&[meter("tokens", &["llm.*"])], None)).unwrap();
        let action_type = ActionType::parse("document_processed").unwrap();
        assert_eq!(catalog.meter_of(&action_type), None);
        assert_eq!(
            catalog.to_string(),
            "tokens at tokens_monthly: llm.*\nany other action is refused\n"
        );
    }

    #[test]
    fn it_is_stored_as_it_was_written() {
        let catalog = Catalog::try_from(terms(&[meter("tokens", &["llm.*"])], Some("tokens")));
        let json = serde_json::to_value(catalog.as_ref().unwrap()).unwrap();
        assert_eq!(json["default_meter"], "tokens");
        assert_eq!(
            serde_json::from_value::<Catalog>(json).unwrap(),
            catalog.unwrap()
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        let twice = meter("tokens", &["a", "b*"]);
        assert_eq!(refusal(&[]), InvalidCatalog::NoMeter);
        let many: Vec<CatalogMeter> = (0..=CATALOG_METERS_MAX)
            .map(|n| meter(&format!("m{n}"), &[&format!("a{n}")]))
            .collect();
        assert_eq!(refusal(&many), InvalidCatalog::TooManyMeters(21));
        for (actions, told) in [
            (vec!["*"], InvalidCatalog::EveryAction),
            (vec!["a#b"], InvalidCatalog::Action("a#b".into())),
            (vec!["a*b"], InvalidCatalog::Action("a*b".into())),
            (vec![""], InvalidCatalog::Action(String::new())),
            (vec![], InvalidCatalog::NoAction("other".into())),
        ] {
            assert_eq!(refusal(&[twice.clone(), meter("other", &actions)]), told);
        }
        let of_both = refusal(&[twice.clone(), meter("other", &["b*"])]);
        assert_eq!(
            of_both.to_string(),
            "the action b* is there twice: for tokens and for other"
        );
        // A name and a prefix of it are two things.
        let names = terms(&[twice.clone(), meter("other", &["b"])], None);
        assert!(Catalog::try_from(names).is_ok());
        assert_eq!(
            refusal(&[twice.clone(), meter("tokens", &["c"])]),
            InvalidCatalog::EventNameTwice("tokens".into())
        );
        assert_eq!(
            refusal(&[
                twice.clone(),
                CatalogMeter {
                    event_name: "tok".into(),
                    actions: vec!["c".into()],
                    ..twice.clone()
                }
            ]),
            InvalidCatalog::LookupKeyTwice("tokens_monthly".into())
        );
        assert_eq!(
            refusal(&[meter("to#kens", &["a"])]),
            InvalidCatalog::EventName("to#kens".into())
        );
        assert_eq!(
            Catalog::try_from(terms(&[twice], Some("others"))).unwrap_err(),
            InvalidCatalog::DefaultMeter("others".into())
        );
    }
}
