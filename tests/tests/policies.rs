//! Least privilege, both ways: what the functions do is what template.yaml's
//! policies let them do, no call less and no permission more.
//!
//! The calls are those that the whole system really makes: the story, and beside it
//! what goes wrong or comes seldom ([`plays`]). A permission that none of them needs
//! is one too many; whoever needs it adds the play that does.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed helper is a failed test"
)]

#[path = "../../local/stack/tests/support/mod.rs"]
mod support;

#[path = "policies/plays.rs"]
mod plays;
#[path = "policies/recorder.rs"]
mod recorder;
#[path = "policies/template.rs"]
mod template;

use std::collections::BTreeSet;
use std::fmt;

use recorder::Recorder;

/// What a function does, or may do: an action on a table or another resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    function: String,
    action: String,
    /// As the template names it.
    resource: String,
}

impl Permission {
    fn new(function: &str, action: &str, resource: &str) -> Self {
        Self {
            function: function.to_owned(),
            action: action.to_owned(),
            resource: resource.to_owned(),
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} on {}", self.function, self.action, self.resource)
    }
}

type Permissions = BTreeSet<Permission>;

/// What `needed` has that `granted` lacks, and the other way round, in words.
fn differences(needed: &Permissions, granted: &Permissions) -> Vec<String> {
    let missing = needed.difference(granted);
    let unused = granted.difference(needed);
    let missing = missing.map(|it| format!("missing {it}"));
    missing
        .chain(unused.map(|it| format!("unused {it}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_function_may_do_what_it_does_and_nothing_else() {
    let recorder = Recorder::default();
    plays::play_all(&recorder).await;
    let needed = recorder.needed();
    let granted = template::granted(template::read());
    assert_eq!(differences(&needed, &granted), [""; 0]);

    // The comparison would see a statement that somebody adds, or takes away.
    for one in &granted {
        let without: Permissions = granted.iter().filter(|it| *it != one).cloned().collect();
        assert_eq!(differences(&needed, &without), [format!("missing {one}")]);
    }
    let deletion = Permission::new("emission", "dynamodb:DeleteItem", "UsageEventsTable");
    let mut with = granted.clone();
    with.insert(deletion.clone());
    assert_eq!(differences(&needed, &with), [format!("unused {deletion}")]);
}

#[test]
fn no_statement_has_a_wildcard() {
    for permission in template::granted(template::read()) {
        assert!(!permission.action.contains('*'), "{permission}");
        assert!(!permission.resource.contains('*'), "{permission}");
    }
}

/// Secrets and topics are no tables, and not called here: a function that is told of
/// one may use it, and one that is not may not.
#[test]
fn a_function_may_read_the_secrets_and_use_the_topic_that_it_is_told_of() {
    let template = template::read();
    let granted = template::granted(template.clone());
    let besides = |it: &&Permission| !it.action.starts_with("dynamodb:");
    let granted: Permissions = granted.iter().filter(besides).cloned().collect();
    let told = template::told(&template);
    assert_eq!(differences(&told, &granted), [""; 0]);
    assert!(told.len() >= 8, "{told:?}");
}
