//! What template.yaml lets each function do.

use std::fs;
use std::path::Path;

use yaml_serde::Value;

use super::{Permission, Permissions};

/// What the names of SES's resources begin with.
const SES: &str = "arn:AWS::Partition:ses:AWS::Region:AWS::AccountId";

pub(crate) fn read() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    yaml_serde::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every action of every statement, on every resource.
pub(crate) fn granted(template: Value) -> Permissions {
    let mut granted = Permissions::new();
    for (function, properties) in functions(&template) {
        for policy in list(&properties["Policies"]) {
            for statement in list(&policy["Statement"]) {
                let statement = chosen(statement);
                assert_eq!(statement["Effect"].as_str(), Some("Allow"), "{function}");
                for action in list(&statement["Action"]) {
                    for resource in list(&statement["Resource"]) {
                        let (action, resource) = (action.as_str().unwrap(), name(resource));
                        granted.insert(Permission::new(&function, action, &resource));
                    }
                }
            }
        }
    }
    granted
}

/// What the variables of a function name: secrets by `…_ARN`, topics by `…_TOPIC_ARN`.
pub(crate) fn told(template: &Value) -> Permissions {
    let mut told = Permissions::new();
    for (function, properties) in functions(template) {
        let variables = &properties["Environment"]["Variables"];
        for (variable, value) in variables.as_mapping().unwrap() {
            let action = match variable.as_str().unwrap() {
                variable if variable.ends_with("_TOPIC_ARN") => "sns:Publish",
                variable if variable.ends_with("_ARN") => "secretsmanager:GetSecretValue",
                _ => continue,
            };
            told.insert(Permission::new(&function, action, &name(value)));
            // Who is told how notifications go out sends the mails among them.
            if variable.as_str() == Some("NOTIFICATION_SETTINGS_ARN") {
                for resource in [
                    "identity/EmailIdentity",
                    "configuration-set/EmailConfigurationSet",
                ] {
                    let resource = format!("{SES}:{resource}");
                    told.insert(Permission::new(&function, "ses:SendEmail", &resource));
                }
            }
        }
    }
    told
}

/// By the names of their crates.
fn functions(template: &Value) -> Vec<(String, &Value)> {
    let resources = template["Resources"].as_mapping().unwrap().values();
    let properties = resources.map(|resource| &resource["Properties"]);
    properties
        .filter_map(|properties| {
            let code = properties["CodeUri"].as_str()?;
            Some((code.trim_start_matches("functions/").to_owned(), properties))
        })
        .collect()
}

/// Of `!If [condition, value, otherwise]` the value: what there is with everything on.
fn chosen(value: &Value) -> &Value {
    match value {
        Value::Tagged(tagged) if tagged.tag == "!If" => &tagged.value[1],
        other => other,
    }
}

fn list(value: &Value) -> Vec<&Value> {
    match value.as_sequence() {
        Some(values) => values.iter().collect(),
        None => vec![value],
    }
}

/// `UsageEventsTable`, or `UsageEventsTable/index/by-customer`, of `!Ref`, `!GetAtt` and `!Sub`.
fn name(resource: &Value) -> String {
    let text = match chosen(resource) {
        Value::Tagged(tagged) => tagged.value.as_str().unwrap(),
        other => other.as_str().unwrap(),
    };
    let text = text.replace("${", "").replace('}', "");
    text.replace(".Arn", "").replace(".Id", "")
}
