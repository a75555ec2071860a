//! docs/operations.md against template.yaml and the code: no alarm without a page
//! to turn to, no metric that nobody writes, none that nobody explains.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

type Names = BTreeSet<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn template() -> Value {
    yaml_serde::from_str(&read("template.yaml")).unwrap()
}

fn of_type<'a>(template: &'a Value, kind: &str) -> Vec<(String, &'a Value)> {
    let resources = template["Resources"].as_mapping().unwrap().iter();
    resources
        .filter(|(_, resource)| resource["Type"].as_str() == Some(kind))
        .map(|(name, resource)| (name.as_str().unwrap().to_owned(), &resource["Properties"]))
        .collect()
}

fn alarms(template: &Value) -> Names {
    let alarms = of_type(template, "AWS::CloudWatch::Alarm");
    alarms.into_iter().map(|(name, _)| name).collect()
}

fn dashboard(template: &Value) -> serde_json::Value {
    let dashboards = of_type(template, "AWS::CloudWatch::Dashboard");
    let body = &dashboards[0].1["DashboardBody"]["Fn::Sub"];
    serde_json::from_str(body.as_str().unwrap()).unwrap()
}

/// The metrics of our namespace that `properties` look at.
fn watched(properties: &Value, names: &mut Names) {
    match properties {
        Value::Mapping(entries) => {
            if properties["Namespace"].as_str() == Some("Meterline") {
                names.insert(properties["MetricName"].as_str().unwrap().to_owned());
            }
            for entry in entries.values() {
                watched(entry, names);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| watched(item, names)),
        _ => {}
    }
}

/// The metrics that the documentation's table explains.
fn documented() -> Names {
    let page = read("docs/operations.md");
    let table = page.split("## Metrics").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

/// All of the functions' code, and of the crate that writes metrics.
fn code(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            code(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = fs::read_to_string(&path).unwrap();
            text.push_str(file.split("#[cfg(test)]").next().unwrap());
        }
    }
}

#[test]
fn every_alarm_has_a_section_and_every_section_an_alarm() {
    let page = read("docs/operations.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let sections: Names = headings.map(str::to_owned).collect();
    assert_eq!(sections, alarms(&template()));
}

#[test]
fn the_dashboard_shows_every_alarm_and_every_metric_that_is_documented() {
    let template = template();
    let dashboard = dashboard(&template);
    let widgets = dashboard["widgets"].as_array().unwrap();
    let mut shown = Names::new();
    let mut metrics = Names::new();
    for widget in widgets {
        let properties = &widget["properties"];
        for alarm in properties["alarms"].as_array().into_iter().flatten() {
            let name = alarm.as_str().unwrap().trim_start_matches("${");
            shown.insert(name.trim_end_matches(".Arn}").to_owned());
        }
        for metric in properties["metrics"].as_array().into_iter().flatten() {
            if metric[0] == "Meterline" {
                assert_eq!(metric[2], "stack", "{metric}");
                metrics.insert(metric[1].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(shown, alarms(&template));
    assert_eq!(metrics, documented());
}

#[test]
fn alarms_watch_metrics_that_are_documented_and_the_code_has_each_by_name() {
    let template = template();
    let mut named = Names::new();
    for (_, properties) in of_type(&template, "AWS::CloudWatch::Alarm") {
        watched(properties, &mut named);
    }
    let documented = documented();
    let unknown: Vec<_> = named.difference(&documented).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let mut text = String::new();
    for folder in ["functions", "shared/web", "shared/billing", "shared/limits"] {
        code(&root().join(folder), &mut text);
    }
    for name in &documented {
        assert!(
            text.contains(&format!("\"{name}\"")),
            "nobody writes {name}"
        );
    }
}

/// What is written with a unit is a metric: none of them goes without a word.
#[test]
fn every_metric_that_the_code_writes_is_documented() {
    let mut text = String::new();
    for folder in ["functions", "shared/web", "shared/limits"] {
        code(&root().join(folder), &mut text);
    }
    let documented = documented();
    let mut written = Names::new();
    for unit in [", Unit::Count", ", Unit::Milliseconds"] {
        for before in text.split(unit) {
            let Some(before) = before.strip_suffix('"') else {
                continue;
            };
            written.insert(before.rsplit('"').next().unwrap().to_owned());
        }
    }
    for call in ["count(\"", "Some(\"stripe_", "=> \"held_", "=> \"webhook_"] {
        let prefix = call.split('"').nth(1).unwrap();
        for after in text.split(call).skip(1) {
            written.insert(format!("{prefix}{}", after.split('"').next().unwrap()));
        }
    }
    assert!(written.len() > 20, "{written:?}");
    let missing: Vec<_> = written.difference(&documented).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
