//! The document that is checked in is the one that the code describes, and it is
//! whole.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn checked_in() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json")).unwrap()
}

fn document() -> Value {
    serde_json::to_value(api_document::document()).unwrap()
}

/// (name, operation) of every operation.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations.collect()
}

/// Every value of the member `name`, at any depth.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if key == name {
                    found.push(value);
                }
                members(value, name, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[test]
fn the_checked_in_document_is_that_of_the_code() {
    let is_current = checked_in() == api_document::document_text().unwrap();
    assert!(is_current, "openapi.json is stale: run `make openapi`");
}

#[test]
fn what_is_referred_to_is_there_and_what_is_there_is_referred_to() {
    let document = document();
    let mut references = Vec::new();
    members(&document, "$ref", &mut references);
    let named: BTreeSet<&str> = references
        .iter()
        .map(|reference| reference.as_str().unwrap())
        .map(|reference| reference.strip_prefix("#/components/schemas/").unwrap())
        .collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(named, there);
}

#[test]
fn every_operation_says_what_it_does_and_how_it_fails() {
    let document = document();
    let mut names = BTreeSet::new();
    for (operation, described) in operations(&document) {
        assert!(described["summary"].is_string(), "{operation}");
        assert!(
            names.insert(described["operationId"].as_str().unwrap()),
            "{operation}"
        );
        let answers = described["responses"].as_object().unwrap();
        for status in ["429", "500", "503"] {
            assert!(answers.contains_key(status), "{operation}: {status}");
        }
        let is_open = described["security"].as_array().unwrap().is_empty();
        let is_keyed = described["security"][0]["api_key"].is_array();
        assert!(is_open != is_keyed, "{operation}");
        for status in ["401", "403"] {
            assert!(
                is_open || answers.contains_key(status),
                "{operation}: {status}"
            );
        }
        if described["requestBody"].is_object() {
            for status in ["400", "413", "415"] {
                assert!(answers.contains_key(status), "{operation}: {status}");
            }
        }
    }
}

#[test]
fn no_amount_of_money_is_a_number_of_floating_point() {
    let document = document();
    let mut types = Vec::new();
    members(&document, "type", &mut types);
    let is_number = |kind: &&&Value| kind.as_str() == Some("number");
    assert_eq!(types.iter().filter(is_number).count(), 0);
}
