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
    let granted = template::granted(&template::read());
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
fn no_statement_has_a_wildcard_but_for_the_list_of_streams() {
    for permission in template::granted(&template::read()) {
        assert!(!permission.action.contains('*'), "{permission}");
        if permission.action != template::LIST_STREAMS {
            assert!(!permission.resource.contains('*'), "{permission}");
        }
    }
}

/// X-Ray's actions have no resource (Service Authorization Reference, "Actions, resources, and
/// condition keys for AWS X-Ray").
#[test]
fn all_functions_may_write_their_log_and_traces_and_have_nothing_else_in_common() {
    let actions = [
        ("logs:CreateLogStream", "FunctionLogs"),
        ("logs:PutLogEvents", "FunctionLogs"),
        ("xray:PutTelemetryRecords", "*"),
        ("xray:PutTraceSegments", "*"),
    ];
    let of = |function: &str| actions.map(|(action, on)| Permission::new(function, action, on));
    let functions = [
        "emission",
        "onboarding",
        "redelivery",
        "report",
        "rollup",
        "webhook",
    ];
    let expected: Permissions = functions.iter().flat_map(|function| of(function)).collect();
    let granted = template::granted_to_all(&template::read());
    assert_eq!(differences(&expected, &granted), [""; 0]);
}

#[test]
fn nothing_else_lets_anybody_do_anything_and_only_lambda_takes_the_roles() {
    let lambda = || Some("lambda.amazonaws.com".to_owned());
    let expected = [
        ("EmissionRole", lambda()),
        ("FunctionTelemetry", None),
        ("OnboardingRole", lambda()),
        ("RedeliveryRole", lambda()),
        ("ReportRole", lambda()),
        ("RollupRole", lambda()),
        ("WebhookRole", lambda()),
    ];
    let expected = expected.map(|(name, trusted)| (name.to_owned(), trusted));
    assert_eq!(template::of_iam(&template::read()), expected);
}

/// What is not done on tables is not called here. A function that is told of a secret or a
/// topic may use it, and one that is not may not; and so for what Lambda does.
#[test]
fn a_function_may_use_what_it_is_told_of_and_have_lambda_do_what_it_needs() {
    let template = template::read();
    let besides = |it: &&Permission| {
        let action = it.action.as_str();
        !action.starts_with("dynamodb:") || template::OF_STREAMS.contains(&action)
    };
    let granted = template::granted(&template);
    let granted: Permissions = granted.iter().filter(besides).cloned().collect();
    let mut expected = template::told(&template);
    assert!(expected.len() >= 8, "{expected:?}");
    let done_by_lambda = template::done_by_lambda(&template);
    assert_eq!(done_by_lambda.len(), 7, "{done_by_lambda:?}");
    expected.extend(done_by_lambda);
    assert_eq!(differences(&expected, &granted), [""; 0]);
}
