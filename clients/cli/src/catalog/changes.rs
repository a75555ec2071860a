//! What a new catalog changes of the one before.

use std::collections::BTreeSet;
use std::fmt;

use billing::{Catalog, CatalogMeter};
use serde::Serialize;

use super::rule::meter_of_entry;

/// One thing that is otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A meter that was not there. Customers from before lack its item.
    MeterAdded {
        /// Its event name.
        event_name: String,
    },
    /// A meter that is gone. Customers keep its item, and what it has counted.
    MeterRemoved {
        /// Its event name.
        event_name: String,
    },
    /// New customers subscribe to another price of a meter.
    PriceChanged {
        /// The meter's event name.
        event_name: String,
        /// The lookup key before.
        from: String,
        /// The lookup key now.
        to: String,
    },
    /// A meter's price is another product's.
    ProductChanged {
        /// The meter's event name.
        event_name: String,
        /// The product before.
        from: String,
        /// The product now.
        to: String,
    },
    /// An action, or all that begin with a prefix, goes to another meter.
    ActionMoved {
        /// The name, or the prefix with its `*`.
        action: String,
        /// The meter that counted it; none where it was refused.
        from: Option<String>,
        /// The meter that counts it; none where it is refused.
        to: Option<String>,
    },
    /// What no entry covers goes elsewhere.
    DefaultChanged {
        /// The meter that counted it; none where it was refused.
        from: Option<String>,
        /// The meter that counts it; none where it is refused.
        to: Option<String>,
    },
}

impl Change {
    /// What `after` changes of `before`: meters, then actions, then the default.
    /// None where only the order or the writing is another.
    pub fn between(before: &Catalog, after: &Catalog) -> Vec<Self> {
        let mut changes = meters(before, after);
        changes.extend(actions(before, after));
        let (from, to) = (before.default_meter(), after.default_meter());
        if from != to {
            changes.push(Self::DefaultChanged {
                from: from.map(str::to_owned),
                to: to.map(str::to_owned),
            });
        }
        changes
    }
}

fn meters(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let mut changes = Vec::new();
    for meter in before.meters() {
        let event_name = meter.event_name.clone();
        let Some(now) = find(after, &event_name) else {
            changes.push(Change::MeterRemoved { event_name });
            continue;
        };
        if now.lookup_key != meter.lookup_key {
            changes.push(Change::PriceChanged {
                event_name: event_name.clone(),
                from: meter.lookup_key.clone(),
                to: now.lookup_key.clone(),
            });
        }
        if now.product_id != meter.product_id {
            changes.push(Change::ProductChanged {
                event_name,
                from: meter.product_id.clone(),
                to: now.product_id.clone(),
            });
        }
    }
    let added = after.meters().iter();
    let added = added.filter(|meter| find(before, &meter.event_name).is_none());
    changes.extend(added.map(|meter| Change::MeterAdded {
        event_name: meter.event_name.clone(),
    }));
    changes
}

fn actions(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let entries: BTreeSet<&String> = [before, after]
        .into_iter()
        .flat_map(|catalog| catalog.meters())
        .flat_map(|meter| &meter.actions)
        .collect();
    let moved = entries.into_iter().filter_map(|action| {
        let from = meter_of_entry(before, action);
        let to = meter_of_entry(after, action);
        (from != to).then(|| Change::ActionMoved {
            action: action.clone(),
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        })
    });
    moved.collect()
}

fn find<'a>(catalog: &'a Catalog, event_name: &str) -> Option<&'a CatalogMeter> {
    let mut meters = catalog.meters().iter();
    meters.find(|meter| meter.event_name == event_name)
}

/// For people.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeterAdded { event_name } => write!(f, "the meter {event_name} is new"),
            Self::MeterRemoved { event_name } => {
                write!(f, "the meter {event_name} is gone: customers keep its item")
            }
            Self::PriceChanged {
                event_name,
                from,
                to,
            } => write!(
                f,
                "new customers pay {to}, not {from}, for what {event_name} counts"
            ),
            Self::ProductChanged {
                event_name,
                from,
                to,
            } => write!(f, "{event_name} is of the product {to}, not {from}"),
            Self::ActionMoved { action, from, to } => {
                moved(f, action, from.as_deref(), to.as_deref())
            }
            Self::DefaultChanged { from, to } => {
                moved(f, "any other action", from.as_deref(), to.as_deref())
            }
        }
    }
}

fn moved(
    f: &mut fmt::Formatter<'_>,
    action: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> fmt::Result {
    match (from, to) {
        (Some(from), Some(to)) => write!(f, "{action} goes to {to}, not to {from}"),
        (Some(from), None) => write!(f, "{action} is refused, and went to {from}"),
        (None, Some(to)) => write!(f, "{action} goes to {to}, and was refused"),
        (None, None) => write!(f, "{action} is refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::catalog;
    use super::*;

    fn told(before: &Catalog, after: &Catalog) -> Vec<String> {
        let changes = Change::between(before, after);
        changes.iter().map(Change::to_string).collect()
    }

    #[test]
    fn an_action_that_moves_is_named_with_both_meters() {
        let before = catalog(
            &[("documents", &["read", "write"]), ("tokens", &["llm.*"])],
            None,
        );
        let after = catalog(
            &[("documents", &["read"]), ("tokens", &["llm.*", "write"])],
            None,
        );
        assert_eq!(
            told(&before, &after),
            ["write goes to tokens, not to documents"]
        );
        assert_eq!(told(&before, &before), Vec::<String>::new());
    }

    #[test]
    fn an_entry_counts_by_what_covered_it_before() {
        let before = catalog(&[("documents", &["read"]), ("tokens", &["llm.*"])], None);
        // Of a prefix that was there a part moves, of another all is new, and a
        // name of its own that changes nothing is no change.
        let after = catalog(
            &[
                ("documents", &["llm.out.*", "pages.*"]),
                ("tokens", &["llm.*", "llm.in"]),
            ],
            None,
        );
        assert_eq!(
            told(&before, &after),
            [
                "llm.out.* goes to documents, not to tokens",
                "pages.* goes to documents, and was refused",
                "read is refused, and went to documents",
            ]
        );
    }

    #[test]
    fn meters_prices_and_the_default_are_compared_too() {
        let before = catalog(
            &[("documents", &["read"]), ("pages", &["scan"])],
            Some("documents"),
        );
        let mut after = billing::CatalogTerms::from(catalog(
            &[("documents", &["read"]), ("tokens", &["llm.*"])],
            None,
        ));
        after.meters[0].lookup_key = "documents_2027".to_owned();
        let after = Catalog::try_from(after).unwrap();
        assert_eq!(
            told(&before, &after),
            [
                "new customers pay documents_2027, not documents_monthly, for what documents \
                 counts",
                "the meter pages is gone: customers keep its item",
                "the meter tokens is new",
                "llm.* goes to tokens, not to documents",
                "scan is refused, and went to pages",
                "any other action is refused, and went to documents",
            ]
        );
    }
}
