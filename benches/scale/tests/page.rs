//! The page says what is measured, set and published now.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::path::{Path, PathBuf};

use scale::facts::Facts;
use scale::page;
use yaml_serde::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// What the numbers of a list come to.
fn sum_of_numbers(text: &str) -> usize {
    let numbers = text.split([' ', ',']);
    numbers.filter_map(|word| word.parse::<usize>().ok()).sum()
}

#[test]
fn the_page_is_what_its_figures_come_to() {
    let fresh = page::fresh(&root()).unwrap();
    let page = read(page::FILE);
    assert!(
        page == fresh,
        "docs/scale.md is stale: something that it is reckoned from has changed. Run `make scale`."
    );
}

/// What is charged by the piece is counted by hand in the data file. There must be no
/// more pieces by now.
#[test]
fn alarms_and_metrics_are_as_many_as_the_data_file_says() {
    let facts = Facts::read(&root()).unwrap();
    let template: Value = yaml_serde::from_str(&read("template.yaml")).unwrap();
    let of_type = |kind: &str| -> Vec<&Value> {
        let resources = template["Resources"].as_mapping().unwrap().values();
        let of_kind = resources.filter(|resource| resource["Type"].as_str() == Some(kind));
        of_kind.map(|resource| &resource["Properties"]).collect()
    };

    let alarms = of_type("AWS::CloudWatch::Alarm");
    let looked_at = alarms
        .iter()
        .map(|alarm| match alarm["Metrics"].as_sequence() {
            Some(parts) => parts
                .iter()
                .filter(|it| !it["MetricStat"].is_null())
                .count(),
            None => 1,
        });
    let said = &facts.assumed["alarm_metrics"];
    assert_eq!(said.value, looked_at.sum::<usize>().to_string());
    let all = format!("the {} alarms", alarms.len());
    assert!(said.why.contains(&all), "{all}");

    let page = read("docs/operations.md");
    let table = page.split("## Metrics").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let documented = table.lines().filter(|line| line.starts_with("| `")).count();
    let counted_in_log = of_type("AWS::Logs::MetricFilter").len();
    let said = &facts.assumed["metrics"];
    let (_, by_function) = said.why.split_once('(').unwrap();
    let by_function = sum_of_numbers(by_function.split_once(')').unwrap().0);
    for part in [
        format!("the {documented} of docs/operations.md"),
        format!("{by_function} by function"),
        format!("the {counted_in_log} that are counted in the log"),
    ] {
        assert!(said.why.contains(&part), "{part}");
    }
    let all = documented + by_function + counted_in_log;
    assert_eq!(said.value, all.to_string());
}
