//! By which entry the catalog covers an action.

use std::fmt;

use billing::{ActionType, Catalog, CatalogMeter};
use serde::Serialize;

/// The entry that decides. Serialised as `{"rule": "prefix", "entry": "llm.*"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", content = "entry", rename_all = "snake_case")]
pub enum Rule {
    /// The action's own name.
    Name(String),
    /// The longest prefix of it that the catalog has, with its `*`.
    Prefix(String),
    /// None: it goes to the default meter.
    Default,
}

impl Rule {
    /// The meter that counts `action_type`, and by which entry; none where it is
    /// not covered.
    pub fn of<'a>(
        catalog: &'a Catalog,
        action_type: &ActionType,
    ) -> Option<(&'a CatalogMeter, Self)> {
        let meter = catalog.meter_of(action_type)?;
        let name = action_type.as_str();
        if meter.actions.iter().any(|action| action == name) {
            return Some((meter, Self::Name(name.to_owned())));
        }
        // The longest prefix of all decided, so it is the longest of the meter's.
        let prefixes = meter.actions.iter().filter(|action| covers(action, name));
        let rule = match prefixes.max_by_key(|prefix| prefix.len()) {
            Some(prefix) => Self::Prefix(prefix.clone()),
            None => Self::Default,
        };
        Some((meter, rule))
    }
}

/// The meter that counts what `entry` covers, a name or a prefix, unless a more
/// exact entry takes something out of it; none where that is refused.
pub(super) fn meter_of_entry<'a>(catalog: &'a Catalog, entry: &str) -> Option<&'a str> {
    let Some(beginning) = entry.strip_suffix('*') else {
        let action_type = ActionType::parse(entry).ok()?;
        return Some(&catalog.meter_of(&action_type)?.event_name);
    };
    let entries = catalog.meters().iter().flat_map(|meter| {
        let actions = meter.actions.iter();
        actions.map(move |action| (action, meter.event_name.as_str()))
    });
    let longest = entries
        .filter(|(action, _)| covers(action, beginning))
        .max_by_key(|(action, _)| action.len());
    longest
        .map(|(_, event_name)| event_name)
        .or(catalog.default_meter())
}

/// Whether `entry` is a prefix, and `name` begins with it.
fn covers(entry: &str, name: &str) -> bool {
    entry
        .strip_suffix('*')
        .is_some_and(|prefix| name.starts_with(prefix))
}

/// For people: `by the prefix llm.*`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(_) => f.write_str("by its name"),
            Self::Prefix(prefix) => write!(f, "by the prefix {prefix}"),
            Self::Default => f.write_str("by default"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use billing::CatalogTerms;

    use super::*;

    /// Meters by their names, with the actions that they count.
    pub(in super::super) fn catalog(
        meters: &[(&str, &[&str])],
        default_meter: Option<&str>,
    ) -> Catalog {
        let meters = meters.iter().map(|(event_name, actions)| CatalogMeter {
            event_name: (*event_name).to_owned(),
            lookup_key: format!("{event_name}_monthly"),
            product_id: format!("prod_{event_name}"),
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
        });
        let terms = CatalogTerms {
            meters: meters.collect(),
            default_meter: default_meter.map(str::to_owned),
        };
        Catalog::try_from(terms).unwrap()
    }

    #[test]
    fn the_rule_is_the_entry_that_decided() {
        let meters: [(&str, &[&str]); 2] = [
            ("documents", &["read", "llm.tokens.free"]),
            ("tokens", &["llm.*", "llm.tokens.*", "read*"]),
        ];
        let catalog = catalog(&meters, Some("documents"));
        for (action, event_name, rule) in [
            ("read", "documents", "by its name"),
            ("reads", "tokens", "by the prefix read*"),
            ("llm.tokens.free", "documents", "by its name"),
            ("llm.tokens.in", "tokens", "by the prefix llm.tokens.*"),
            ("llm.x", "tokens", "by the prefix llm.*"),
            ("write", "documents", "by default"),
        ] {
            let action_type = ActionType::parse(action).unwrap();
            let (meter, found) = Rule::of(&catalog, &action_type).unwrap();
            assert_eq!(meter.event_name, event_name, "{action}");
            assert_eq!(found.to_string(), rule, "{action}");
        }
        let without_default = self::catalog(&meters, None);
        let action_type = ActionType::parse("write").unwrap();
        assert_eq!(Rule::of(&without_default, &action_type), None);
    }

    #[test]
    fn an_entry_is_counted_by_what_covers_all_of_it() {
        let meters: [(&str, &[&str]); 2] =
            [("documents", &["llm."]), ("tokens", &["llm.*", "read.a*"])];
        let catalog = catalog(&meters, None);
        for (entry, event_name) in [
            ("llm.", Some("documents")),
            ("llm.*", Some("tokens")),
            ("llm.tokens.*", Some("tokens")),
            ("llm.x", Some("tokens")),
            ("llm*", None),
            ("read.*", None),
        ] {
            assert_eq!(meter_of_entry(&catalog, entry), event_name, "{entry}");
        }
    }
}
