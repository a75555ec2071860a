//! What template.yaml has to keep to and no linter knows.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use yaml_serde::Value;

/// What of a function is not part of its versions.
const NOT_OF_A_VERSION: [&str; 4] = [
    "DeploymentPreference",
    "Events",
    "ReservedConcurrentExecutions",
    "VersionDescription",
];
/// The most that Lambda takes (AWS CloudFormation Template Reference:
/// "AWS::Lambda::Version", Description).
const DESCRIPTION_CHARACTERS_MAX: usize = 256;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn template() -> Value {
    yaml_serde::from_str(&read("template.yaml")).unwrap()
}

/// The functions, by their names.
fn functions(template: &Value) -> Vec<(String, &Value)> {
    let resources = template["Resources"].as_mapping().unwrap().iter();
    let functions = resources
        .filter(|(_, resource)| resource["Type"].as_str() == Some("AWS::Serverless::Function"));
    functions
        .map(|(name, function)| (name.as_str().unwrap().to_owned(), &function["Properties"]))
        .collect()
}

/// The parameters that `value` names: by `!Ref`, `${…}`, or a condition.
fn parameters_of(value: &Value, template: &Value) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    collect(value, template, &mut named);
    let parameters = template["Parameters"].as_mapping().unwrap();
    named.retain(|name| parameters.contains_key(name.as_str()));
    named
}

fn collect(value: &Value, template: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            named.insert(text.clone());
            let inserted = text.split("${").skip(1);
            named.extend(inserted.map(|rest| rest.split('}').next().unwrap().to_owned()));
        }
        Value::Sequence(items) => {
            for item in items {
                collect(item, template, named);
                let condition = item.as_str().map(|name| &template["Conditions"][name]);
                if let Some(condition) = condition.filter(|condition| !condition.is_null()) {
                    collect(condition, template, named);
                }
            }
        }
        Value::Mapping(entries) => {
            for entry in entries.values() {
                collect(entry, template, named);
            }
        }
        Value::Tagged(tagged) => collect(&tagged.value, template, named),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// SAM makes a version when the code or the text of the template changes. A new
/// value of a parameter changes neither: without this, it would reach nobody.
#[test]
fn a_new_setting_of_a_function_makes_a_new_version_of_it() {
    let template = template();
    let functions = functions(&template);
    assert_eq!(functions.len(), 6);
    let globals = parameters_of(&template["Globals"]["Function"], &template);
    assert!(globals.contains("Architecture"));
    for (name, properties) in functions {
        let described = parameters_of(&properties["VersionDescription"], &template);
        let mut needed = globals.clone();
        for (property, value) in properties.as_mapping().unwrap() {
            if !NOT_OF_A_VERSION.contains(&property.as_str().unwrap()) {
                needed.extend(parameters_of(value, &template));
            }
        }
        assert_eq!(described, needed, "{name}");
    }
}

#[test]
fn the_description_of_a_version_fits_whatever_the_parameters_are() {
    let template = template();
    let characters_max = |parameter: &str| {
        let parameter = &template["Parameters"][parameter];
        if let Some(values) = parameter["AllowedValues"].as_sequence() {
            let lengths = values.iter().map(|value| value.as_str().unwrap().len());
            return lengths.max().unwrap();
        }
        if let Some(most) = parameter["MaxValue"].as_u64() {
            return most.to_string().len();
        }
        if let Some(most) = parameter["MaxLength"].as_u64() {
            return usize::try_from(most).unwrap();
        }
        // The pattern says how long, behind what is fixed.
        let pattern = parameter["AllowedPattern"].as_str().unwrap();
        if pattern.contains("://") {
            return "https://".len() + 40;
        }
        if pattern.contains("secretsmanager") {
            return 50;
        }
        let most = pattern.rsplit(',').next().unwrap();
        most.split('}').next().unwrap().parse().unwrap()
    };
    for (name, properties) in functions(&template) {
        let parts = parameters_of(&properties["VersionDescription"], &template);
        let characters: usize = parts.iter().map(|part| characters_max(part) + 1).sum();
        assert!(
            characters <= DESCRIPTION_CHARACTERS_MAX,
            "{name}: {characters}"
        );
    }
}

/// A version that answers 500 to everything has failed no call, as far as Lambda knows:
/// its answers are counted in the log, by the line that each of them has.
#[test]
fn a_gradual_deployment_goes_back_for_failed_calls_and_for_answers_that_say_so() {
    let template = template();
    let gradual = functions(&template)
        .into_iter()
        .filter_map(|(name, function)| {
            let alarms = function["DeploymentPreference"]["Alarms"].as_sequence()?;
            Some((name, alarms.iter().map(named).collect::<Vec<_>>()))
        });
    let gradual: Vec<_> = gradual.collect();
    assert_eq!(gradual.len(), 4);
    for (name, alarms) in gradual {
        assert_eq!(
            alarms,
            ["FunctionsFailAlarm", "ServerErrorsAlarm"],
            "{name}"
        );
    }

    let properties = |name: &str| &template["Resources"][name]["Properties"];
    let filter = properties("ServerErrorsMetric");
    assert_eq!(named(&filter["LogGroupName"]), "FunctionLogs");
    let pattern = r#"{ $.message = "answered" && $.status >= 500 }"#;
    assert_eq!(filter["FilterPattern"].as_str(), Some(pattern));
    let line = r#"tracing::info!(status, duration_ms, "answered")"#;
    assert!(read("shared/web/src/service.rs").contains(line));
    let (counted, alarm) = (
        &filter["MetricTransformations"][0],
        properties("ServerErrorsAlarm"),
    );
    assert_eq!(alarm["MetricName"], counted["MetricName"]);
    assert_eq!(alarm["Namespace"], counted["MetricNamespace"]);
}

/// What `!Ref` names.
fn named(value: &Value) -> String {
    let Value::Tagged(tagged) = value else {
        return String::new();
    };
    tagged.value.as_str().unwrap().to_owned()
}

/// FILL stands in for figures that are still on their way, too: an alarm that looks at
/// the latest minute would see nothing else.
#[test]
fn no_alarm_fills_in_what_is_only_late() {
    let template = template();
    let mut expressions = 0;
    for (name, resource) in template["Resources"].as_mapping().unwrap() {
        let metrics = resource["Properties"]["Metrics"].as_sequence();
        for metric in metrics.into_iter().flatten() {
            let Some(expression) = metric["Expression"].as_str() else {
                continue;
            };
            expressions += 1;
            assert!(!expression.contains("FILL"), "{name:?}: {expression}");
            // And nothing that is fetched is left out of the sum.
            let ids = metrics
                .into_iter()
                .flatten()
                .filter(|it| !it["MetricStat"].is_null());
            let ids: BTreeSet<&str> = ids.map(|it| it["Id"].as_str().unwrap()).collect();
            assert_eq!(
                expression.split(" + ").collect::<BTreeSet<_>>(),
                ids,
                "{name:?}"
            );
        }
    }
    assert!(expressions > 4);
}
