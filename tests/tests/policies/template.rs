//! What template.yaml lets each function do.

use std::fs;
use std::path::Path;

use yaml_serde::Value;

use super::{Permission, Permissions};

/// What Lambda calls to bring a function the records of a stream (AWS Lambda Developer Guide,
/// "Using AWS Lambda with Amazon DynamoDB").
pub(crate) const OF_STREAMS: [&str; 4] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    LIST_STREAMS,
];
/// The one of them that has no resource (Service Authorization Reference, "Actions, resources,
/// and condition keys for Amazon DynamoDB").
pub(crate) const LIST_STREAMS: &str = "dynamodb:ListStreams";
/// What the names of SES's resources begin with.
const SES: &str = "arn:AWS::Partition:ses:AWS::Region:AWS::AccountId";

pub(crate) fn read() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    yaml_serde::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every action of every statement that a function's role has of its own, on every resource.
pub(crate) fn granted(template: &Value) -> Permissions {
    let mut granted = Permissions::new();
    for (function, properties) in functions(template) {
        for policy in list(&role(template, properties)["Policies"]) {
            granted.extend(allowed(&function, &policy["PolicyDocument"]));
        }
    }
    granted
}

/// What a function's role has in common with others.
pub(crate) fn granted_to_all(template: &Value) -> Permissions {
    let mut granted = Permissions::new();
    for (function, properties) in functions(template) {
        for policy in list(&role(template, properties)["ManagedPolicyArns"]) {
            let policy = &template["Resources"][name(policy).as_str()];
            assert_eq!(policy["Type"].as_str(), Some("AWS::IAM::ManagedPolicy"));
            granted.extend(allowed(&function, &policy["Properties"]["PolicyDocument"]));
        }
    }
    granted
}

/// The resources that let anybody do anything, by their names, and whom a role is for.
pub(crate) fn of_iam(template: &Value) -> Vec<(String, Option<String>)> {
    let resources = template["Resources"].as_mapping().unwrap().iter();
    let of_iam = resources.filter(|(_, it)| it["Type"].as_str().unwrap().starts_with("AWS::IAM::"));
    let mut of_iam: Vec<_> = of_iam
        .map(|(name, it)| {
            let trust = &it["Properties"]["AssumeRolePolicyDocument"]["Statement"];
            let trusted = trust.as_sequence().map(|statements| {
                assert_eq!(statements.len(), 1);
                assert_eq!(statements[0]["Action"].as_str(), Some("sts:AssumeRole"));
                let service = &statements[0]["Principal"]["Service"];
                service.as_str().unwrap().to_owned()
            });
            (name.as_str().unwrap().to_owned(), trusted)
        })
        .collect();
    of_iam.sort();
    of_iam
}

/// Of a function that SAM makes no role for, which would have policies of AWS's.
fn role<'a>(template: &'a Value, properties: &Value) -> &'a Value {
    assert!(properties["Policies"].is_null(), "they are the role's");
    let role = &template["Resources"][name(&properties["Role"]).as_str()];
    assert_eq!(role["Type"].as_str(), Some("AWS::IAM::Role"));
    &role["Properties"]
}

fn allowed(function: &str, document: &Value) -> Permissions {
    let mut allowed = Permissions::new();
    for statement in list(&document["Statement"]) {
        let statement = chosen(statement);
        assert_eq!(statement["Effect"].as_str(), Some("Allow"), "{function}");
        for action in list(&statement["Action"]) {
            for resource in list(&statement["Resource"]) {
                let (action, resource) = (action.as_str().unwrap(), name(resource));
                allowed.insert(Permission::new(function, action, &resource));
            }
        }
    }
    allowed
}

/// What Lambda does in a function's name: reads the stream that it is invoked by, and keeps
/// what it gave up in a queue.
pub(crate) fn done_by_lambda(template: &Value) -> Permissions {
    let mut done = Permissions::new();
    for (function, properties) in functions(template) {
        let events = properties["Events"].as_mapping().unwrap().values();
        let streams = events.filter(|event| event["Type"].as_str() == Some("DynamoDB"));
        let sources: Vec<_> = streams.map(|event| &event["Properties"]).collect();
        for source in &sources {
            for action in OF_STREAMS {
                let resource = match action {
                    LIST_STREAMS => "*".to_owned(),
                    _ => name(&source["Stream"]),
                };
                done.insert(Permission::new(&function, action, &resource));
            }
        }
        for invoked in sources
            .into_iter()
            .chain([&properties["EventInvokeConfig"]])
        {
            let queue = &invoked["DestinationConfig"]["OnFailure"]["Destination"];
            if !queue.is_null() {
                done.insert(Permission::new(&function, "sqs:SendMessage", &name(queue)));
            }
        }
    }
    done
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
